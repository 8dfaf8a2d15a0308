"""Targets tables in and out: the tracks of a data set, in the columns of Basenji and Baskerville."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from genoformer.errors import DataError
from genoformer.genome.track import SUM_STATS, Track

_REQUIRED = ("identifier", "file")
_WRITTEN = ("file", "clip", "clip_soft", "scale", "sum_stat", "strand_pair", "description")
_DEFAULTS = {"description": "", "sum_stat": "sum", "scale": "1", "clip": "", "clip_soft": "", "strand_pair": ""}


def read_targets(path: str | Path) -> list[Track]:
    """The tracks of a table, in its order.

    The table is tab-separated and has a header. Its first column, which may have no name, is the index that
    `strand_pair` refers to; `identifier` and `file` must be there, `description`, `sum_stat`, `scale`, `clip`,
    `clip_soft` and `strand_pair` may be, and other columns are not looked at. A relative `file` is taken from the
    folder of the table.

    Raises:
        DataError: no such table, or a line that does not fit.
    """
    header, rows = _read_rows(Path(path))
    missing = [name for name in _REQUIRED if name not in header[1:]]
    if missing:
        raise DataError(f"{path} line 1: has no column '{missing[0]}'; expected index, identifier, file, ...")
    position: dict[str, int] = {}
    for number, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{path} line {number}: has {len(fields)} fields, the header has {len(header)}")
        if fields[0] in position:
            raise DataError(f"{path} line {number}: index {fields[0]} is there twice")
        position[fields[0]] = len(position)
    tracks = []
    for number, fields in rows:
        try:
            values = _DEFAULTS | dict(zip(header[1:], fields[1:], strict=True))
            tracks.append(_track(values, fields[0], position, Path(path).parent))
        except DataError as error:
            raise DataError(f"{path} line {number}: {error}") from None
    _check_pairs(path, rows, tracks)
    return tracks


def target_lines(tracks: Sequence[Track]) -> Iterator[str]:
    """The lines of a table that `read_targets` reads as these tracks, with their line ends."""
    yield "\t".join(["", "identifier", *_WRITTEN]) + "\n"
    for index, track in enumerate(tracks):
        values = [getattr(track, name) for name in _WRITTEN]
        yield "\t".join([str(index), track.identifier, *("" if v is None else str(v) for v in values)]) + "\n"


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows with their line numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
    if len(rows) < 2:
        raise DataError(f"{path}: has no tracks; expected a header and a line for each track")
    header = rows.pop(0)[1]
    doubled = next((name for name in header if header.count(name) > 1), None)
    if doubled is not None:
        raise DataError(f"{path} line 1: column '{doubled}' is there twice")
    return header, rows


def _track(values: dict[str, str], index: str, position: dict[str, int], folder: Path) -> Track:
    if not values["identifier"]:
        raise DataError("has no identifier")
    if values["sum_stat"] not in SUM_STATS:
        raise DataError(f"sum_stat is '{values['sum_stat']}'; expected one of {', '.join(SUM_STATS)}")
    pair = values["strand_pair"] or index
    if pair not in position:
        raise DataError(f"strand_pair is {pair}, an index that the table does not have")
    scale = _number(values, "scale")
    return Track(
        identifier=values["identifier"],
        description=values["description"],
        file=str(folder / values["file"]) if values["file"] else "",
        sum_stat=values["sum_stat"],
        scale=1.0 if scale is None else scale,
        clip_soft=_number(values, "clip_soft"),
        clip=_number(values, "clip"),
        strand_pair=position[pair],
    )


def _number(values: dict[str, str], name: str) -> float | None:
    """A positive number; None where the field is empty."""
    text = values[name]
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise DataError(f"{name} is '{text}'; expected a positive number")
    return number


def _check_pairs(path: str | Path, rows: list[tuple[int, list[str]]], tracks: list[Track]) -> None:
    """Raises unless the track of the other strand of the other strand is the track itself."""
    for place, ((number, _), track) in enumerate(zip(rows, tracks, strict=True)):
        pair = tracks[track.strand_pair]
        if pair.strand_pair != place:
            raise DataError(
                f"{path} line {number}: strand_pair of '{track.identifier}' is '{pair.identifier}', not paired with it"
            )
