"""A genome in a FASTA file, plain or bgzip, read window by window through its index.

A missing index is built; it appears whole or not at all, so that several processes may start at once.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from types import TracebackType

import numpy as np
import pyfaidx

from genoformer.errors import DataError
from genoformer.genome.alphabet import NO_CODE, genome_codes
from genoformer.genome.interval import Interval, renamed_contig

logger = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"
_NAMES_SHOWN = 3

# What pyfaidx and the BGZF reader below it raise for files that are damaged or no FASTA.
_READ_ERRORS = (OSError, ValueError, IndexError, RuntimeError, StopIteration, EOFError, struct.error, zlib.error,
                pyfaidx.FastaIndexingError)  # fmt: skip


class Genome:
    """A genome's contigs, open for reading in one thread of one process.

    Attributes:
        path: the FASTA file.
        lengths: bases of each contig by name, in the order of the file.
    Raises:
        DataError: no FASTA file, gzip that is not bgzip, or an index that is missing and cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        is_bgzip = _is_compressed(self.path)
        _ensure_index(self.path, is_bgzip)
        try:
            with warnings.catch_warnings():  # of an index older than its file, which the log has named
                warnings.simplefilter("ignore", RuntimeWarning)
                self._file = pyfaidx.Faidx(self.path, as_raw=True, rebuild=False, build_index=False)
        except _READ_ERRORS as error:
            raise DataError(
                f"{path}: cannot be read by its index {path}.fai ({error}); if the file is whole, remove the index"
            ) from None
        self.lengths: dict[str, int] = {name: record.rlen for name, record in self._file.index.items()}

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()

    def length(self, chrom: str) -> int:
        """Bases of a contig.

        Raises:
            DataError: no such contig; the text says how it may be called there.
        """
        if chrom not in self.lengths:
            raise DataError(f"{self.path}: has no contig '{chrom}'; {contig_hint(chrom, self.lengths)}")
        return self.lengths[chrom]

    def check_holds(self, interval: Interval, where: str) -> None:
        """Raises DataError, naming `where` the interval stands, unless it lies within a contig of the genome."""
        length = self.length(interval.chrom)
        if interval.end > length:
            raise DataError(
                f"{where}: {interval} reaches past the end of {interval.chrom}, {length} bp in {self.path}; check the "
                "genome build"
            )

    def letters(self, interval: Interval) -> bytes:
        """The letters of an interval in upper case, with N past the contig's ends.

        Raises:
            DataError: no such contig, or a file that is damaged or is not the one of its index.
        """
        start, end = max(interval.start, 0), min(interval.end, self.length(interval.chrom))
        if start >= end:
            return b"N" * interval.length
        try:
            letters = self._file.fetch(interval.chrom, start + 1, end).upper().encode()
        except _READ_ERRORS as error:
            raise DataError(f"{self.path}: {interval} cannot be read ({error}); the file is damaged") from None
        if len(letters) != end - start:
            raise DataError(
                f"{self.path}: {interval} has {len(letters)} bases, by the index it has {end - start}; the file is cut "
                f"off or was changed; remove {self.path}.fai"
            )
        return b"N" * (start - interval.start) + letters + b"N" * (interval.end - end)

    def codes(self, interval: Interval) -> np.ndarray:
        """Genome codes of an interval, uint8 [length]; N for IUPAC ambiguity letters and past the contig's ends.

        Raises:
            DataError: as `letters`, or a letter that is no base; the text names its position.
        """
        letters = self.letters(interval)
        codes = genome_codes(letters)
        wrong = np.flatnonzero(codes == NO_CODE)
        if len(wrong):
            at = int(wrong[0])
            raise DataError(
                f"{self.path}: {chr(letters[at])!r} at {interval.chrom}:{interval.start + at + 1}; expected A, C, G, "
                "T, N or an IUPAC letter"
            )
        return codes


def contig_hint(chrom: str, lengths: dict[str, int]) -> str:
    """What to say of a contig that is not among others: how it is called there, or what is there."""
    renamed = renamed_contig(chrom)
    if renamed in lengths:
        return f"it has '{renamed}': rename the contigs in one of the files"
    shown, more = ", ".join(list(lengths)[:_NAMES_SHOWN]), len(lengths) - _NAMES_SHOWN
    return f"it has {shown}{f' and {more} more' if more > 0 else ''}"


def _is_compressed(path: Path) -> bool:
    """Whether a file is gzip; by its first bytes and, as pyfaidx takes it, by its name."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GZIP_MAGIC))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    has_suffix = path.name.lower().endswith((".gz", ".bgz"))
    if (magic == _GZIP_MAGIC) != has_suffix:
        raise DataError(
            f"{path}: is {'' if magic == _GZIP_MAGIC else 'not '}compressed, its name says otherwise; rename it"
        )
    return has_suffix


def _ensure_index(path: Path, is_bgzip: bool) -> None:
    """Builds what is missing of PATH.fai and, for bgzip, PATH.gzi, and builds them anew where the file is newer."""
    suffixes = (".fai", ".gzi") if is_bgzip else (".fai",)
    indices = {suffix: Path(f"{path}{suffix}") for suffix in suffixes}
    missing = [index for index in indices.values() if not index.exists()]
    if not missing and all(index.stat().st_mtime >= path.stat().st_mtime for index in indices.values()):
        return
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.index.") as folder:
            logger.info("%s: building its index", path)
            built = {suffix: Path(folder) / suffix[1:] for suffix in suffixes}
            pyfaidx.Faidx(path, indexname=built[".fai"], gzi_indexname=built.get(".gzi")).close()
            for suffix, index in indices.items():
                os.replace(built[suffix], index)
    except _READ_ERRORS as error:
        if getattr(error, "errno", None) is None:  # the FASTA file's fault, not the folder's
            raise DataError(f"{path}: cannot be indexed: {error}") from None
        if missing:
            raise DataError(
                f"{missing[0]}: is missing and cannot be written; make it with 'samtools faidx', or link the FASTA "
                "file into a folder of your own"
            ) from None
        logger.warning("%s: is newer than its index, which cannot be written; using the index as it is", path)
