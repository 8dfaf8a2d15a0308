"""VCF files in: plain, gzip or bgzip, also those without a header or with fewer columns that the field passes around.

htslib refuses such files and calls an intact one "truncated", so lines are taken apart here: chromosome, position, name
and alleles are checked, and every complaint names file, record and line. All other columns are counted and kept as
they are.

Source: VCF specification 4.3, sections 1.4 (columns), 1.6.1 (names of contigs) and 5 (alleles that are no letters).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

from genoformer.errors import AlignmentError, DataError
from genoformer.genome.variant import Variant
from genoformer.io.reads import decompressed

STDIN, STDIN_NAME = "-", "standard input"
MAX_LINE_BYTES = 1 << 28  # a genotype of four letters for each of 50 million samples; more is hostile or no VCF
MAX_POSITION = (1 << 31) - 1
_TELOMERE = 0  # a position before the first base, of alleles that are no letters
MAX_NAME = 1 << 12  # letters of CHROM or ID: HDF5 gives every row the room of the longest
MIN_COLUMNS, VCF_COLUMNS = 5, 8  # CHROM POS ID REF ALT, and QUAL FILTER INFO

_CONTIG = re.compile(r"[^\s,<>]+|<[^\s,<>]+>")
_LETTERS = re.compile("[ACGTNRYSWKMBDHV]+")
_BASES = re.compile("[ACGT]+")
_WHOLE_NUMBER = re.compile("[0-9]{1,20}")  # Python refuses to convert thousands of digits, zeros in front included
_SYMBOL = re.compile(r"<[^<>]+>")
_BREAKEND = re.compile(r"[^\[\]]*[\[\]][^\[\]]+[\[\]][^\[\]]*|\.[ACGTN]+|[ACGTN]+\.", re.IGNORECASE)
_BINARY_STARTS = {b"BCF": "BCF; make VCF of it with 'bcftools view'", b"BAM\1": "BAM", b"CRAM": "CRAM"}
_SHOWN = 40  # letters of a value in a message

OnNote = Callable[[str], None]


class Unscored(StrEnum):
    """Why an ALT allele is no variant with a sequence of its own."""

    MISSING = "missing"  # .
    OVERLAPPED = "overlapped"  # *, deleted by a variant upstream
    SYMBOLIC = "symbolic"  # <DEL>
    BREAKEND = "breakend"
    SAME = "same as REF"
    AMBIGUOUS = "ambiguous letters"  # other than A, C, G and T, in REF or ALT


@dataclass(frozen=True)
class VcfRecord:
    """A line of a VCF file.

    Attributes:
        number: of the record, from 1.
        line: of the file, from 1.
        start: of REF, 0-based; -1 at a telomere.
        name: "" where the file has ".".
        ref: in upper case.
        alts: as in the file, at least one.
        columns: of the line as they are in the file, those after INFO in one, parted by tabs.
    """

    number: int
    line: int
    chrom: str
    start: int
    name: str
    ref: str
    alts: tuple[str, ...]
    columns: tuple[bytes, ...] = field(default=(), repr=False, compare=False)

    def variants(self) -> Iterator[Variant | Unscored]:
        """What each ALT is, in their order."""
        for alt in self.alts:
            reason = _unscored(self.ref, alt.upper())
            yield reason or Variant(self.chrom, self.start, self.ref, alt.upper(), self.name)


def _unscored(ref: str, alt: str) -> Unscored | None:
    if alt in (".", "*"):
        return Unscored.MISSING if alt == "." else Unscored.OVERLAPPED
    if _SYMBOL.fullmatch(alt):
        return Unscored.SYMBOLIC
    if not _LETTERS.fullmatch(alt):
        return Unscored.BREAKEND
    if alt == ref:
        return Unscored.SAME
    return None if _BASES.fullmatch(ref) and _BASES.fullmatch(alt) else Unscored.AMBIGUOUS


@contextlib.contextmanager
def seekable_vcf(path: str | Path) -> Iterator[Path]:
    """A path that can be read several times: that of the file, or of a temporary copy of standard input for "-"."""
    if str(path) != STDIN:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="genoformer.") as folder:
        copy = Path(folder) / "stdin"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield copy


def read_vcf(path: str | Path, on_note: OnNote | None = None, name: str | None = None) -> Iterator[VcfRecord]:
    """Records of a VCF file in its order, which need not be that of the genome.

    Columns are parted by tabs, or by any white space where a line has no tab; there must be the same number in all
    records, at least CHROM, POS, ID, REF and ALT.

    Args:
        on_note: told once what is not as VCF asks for.
        name: what messages call the file; None: its path.
    Raises:
        DataError: no such file, not VCF, damaged or cut off, or a record that is none. The text names the record.
    """
    reader = _Reader(name or str(path), on_note or (lambda note: None))
    with reader.opened(path) as lines:
        yield from reader.records(lines)


@dataclass(frozen=True)
class VcfPart:
    """Some records of a VCF file, which can be gone through several times.

    Attributes:
        name: what messages call the file.
        numbers: of the records, from 1; None: all.
    """

    path: Path
    name: str
    numbers: range | None = None

    def header(self) -> Iterator[bytes]:
        """The lines before the first record, without their ends."""
        reader = _Reader(self.name, lambda note: None)
        with reader.opened(self.path) as lines:
            yield from itertools.takewhile(lambda line: line.startswith(b"#"), reader.lines(lines))

    def records(self) -> Iterator[VcfRecord]:
        """The records, in order."""
        for record in read_vcf(self.path, name=self.name):
            if self.numbers is not None and record.number >= self.numbers.stop:
                return
            if self.numbers is None or record.number in self.numbers:
                yield record


class _Reader:
    """Takes the lines of one file apart."""

    def __init__(self, name: str, on_note: OnNote) -> None:
        self.name, self.on_note = name, on_note
        self.num_lines = self.num_records = self.num_columns = 0

    @contextlib.contextmanager
    def opened(self, path: str | Path) -> Iterator[BufferedReader | GzipFile]:
        try:
            with open(path, "rb") as file:
                yield decompressed(file, Path(self.name))
        except AlignmentError as error:
            raise DataError(str(error)) from None
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.name}: cannot be read after {self.num_records} records: {reason}") from None

    def lines(self, file: BufferedReader | GzipFile) -> Iterator[bytes]:
        """Lines that are not empty, without their ends."""
        while line := file.readline(MAX_LINE_BYTES):
            self.num_lines += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                raise self._error(f"has more than {MAX_LINE_BYTES} bytes")
            if self.num_lines == 1:
                self._check_start(line)
            if not line.isspace():
                yield line.rstrip(b"\r\n")
            if not line.endswith(b"\n"):
                self.on_note(f"{self.name}: its last line has no end; if that is no whole record, the file is cut off")
        if not self.num_lines:
            raise DataError(f"{self.name}: the file is empty; expected VCF")

    def records(self, file: BufferedReader | GzipFile) -> Iterator[VcfRecord]:
        has_header = names_columns = False
        for line in self.lines(file):
            if line.startswith(b"#"):
                has_header, names_columns = True, not line.startswith(b"##")
                continue
            if not self.num_records and not has_header:
                self.on_note(f"{self.name}: has no header; taking its columns for CHROM, POS, ID, REF, ALT")
            self.num_records += 1
            yield self._record(line)
        if not self.num_records and not names_columns:
            raise DataError(f"{self.name}: ends before the line #CHROM of its header; it is cut off, or is no VCF")

    def _check_start(self, line: bytes) -> None:
        kind = next((kind for start, kind in _BINARY_STARTS.items() if line.startswith(start)), None)
        if kind is not None:
            raise DataError(f"{self.name}: expected VCF, found {kind}")

    def _record(self, line: bytes) -> VcfRecord:
        if b"\t" not in line:
            line = b"\t".join(line.split())
        columns = line.split(b"\t", VCF_COLUMNS)  # the rest is not taken apart: there may be many samples
        self._check_columns(len(columns) + sum(rest.count(b"\t") for rest in columns[VCF_COLUMNS:]))
        chrom, position, name, ref, alts = (text.decode("utf-8", "replace").strip() for text in columns[:MIN_COLUMNS])
        if len(chrom) > MAX_NAME or not chrom.isprintable() or not _CONTIG.fullmatch(chrom):
            raise self._error(f"CHROM is '{_shown(chrom)}'; expected the name of a contig")
        lowest = 1 if any(map(_LETTERS.fullmatch, alts.upper().split(","))) else _TELOMERE
        if not (_WHOLE_NUMBER.fullmatch(position) and lowest <= int(position) <= MAX_POSITION):
            raise self._error(f"POS is '{_shown(position)}'; expected a whole number from 1 to {MAX_POSITION}")
        if not name.isprintable() or len(name) > MAX_NAME:
            raise self._error(f"ID is '{_shown(name)}'; expected at most {MAX_NAME} printable letters")
        if not _LETTERS.fullmatch(ref.upper()):
            raise self._error(f"REF is '{_shown(ref)}'; expected bases")
        for alt in alts.split(","):
            if not any(form.fullmatch(alt.upper()) for form in (_LETTERS, _SYMBOL, _BREAKEND)) and alt not in (
                ".",
                "*",
            ):
                raise self._error(f"ALT is '{_shown(alt)}'; expected bases, a symbol such as <DEL>, '*' or '.'")
        return VcfRecord(
            self.num_records, self.num_lines, chrom, int(position) - 1, "" if name == "." else name, ref.upper(),
            tuple(alts.split(",")), tuple(columns),
        )  # fmt: skip

    def _check_columns(self, found: int) -> None:
        expected = self.num_columns or found
        if found < MIN_COLUMNS:
            raise self._error(f"has {found} columns; expected at least CHROM, POS, ID, REF and ALT")
        if found != expected:
            raise self._error(f"has {found} columns, the records before it {expected}; the file is damaged or cut off")
        if not self.num_columns and found < VCF_COLUMNS:
            self.on_note(f"{self.name}: its records have {found} columns, VCF asks for {VCF_COLUMNS}; reading them")
        self.num_columns = found

    def _error(self, complaint: str) -> DataError:
        return DataError(f"{self.name} record {self.num_records} (line {self.num_lines}): {complaint}")


def _shown(text: str) -> str:
    """A value for a message: not too long, and without what a terminal would obey."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} letters)"
    return "".join(letter if letter.isprintable() else "?" for letter in short)
