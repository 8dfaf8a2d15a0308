"""BED files in: regions and what their fourth column calls them."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from genoformer.errors import DataError
from genoformer.genome.interval import Interval

_HEADER_WORDS = ("track", "browser")
_NO_NAME = "."


@dataclass(frozen=True)
class Region:
    """A line of a BED file; `name` is its fourth column, None where there is none."""

    interval: Interval
    name: str | None
    line: int


def read_bed(path: str | Path) -> list[Region]:
    """Regions of a BED file (plain or gzip), in the order of the file, which need not be sorted.

    Raises:
        DataError: the file cannot be read, has no region, or a line that is none.
    """
    regions = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if fields and fields[0] not in _HEADER_WORDS and not line.startswith("#"):
            regions.append(_region(path, number, [field.strip() for field in fields]))
    if not regions:
        raise DataError(f"{path}: has no regions; expected BED lines: chrom, start, end")
    return regions


def _region(path: str | Path, number: int, fields: list[str]) -> Region:
    if len(fields) < 3 or not fields[0] or not (fields[1].isdecimal() and fields[2].isdecimal()):
        raise DataError(f"{path} line {number}: {fields[:3]}; expected chrom, start, end (0-based)")
    start, end = int(fields[1]), int(fields[2])
    if start >= end:
        raise DataError(f"{path} line {number}: starts at {start} and ends at {end}; expected an end after the start")
    name = fields[3] if len(fields) > 3 and fields[3] not in ("", _NO_NAME) else None
    return Region(Interval(fields[0], start, end), name, number)


def _read_text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
