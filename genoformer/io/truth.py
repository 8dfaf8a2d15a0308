"""The truth of CCS reads: where it lies in a genome, to which split that belongs, and how it aligns to the CCS read.

Source: DeepConsensus v1.2, `pre_lib.read_truth_bedfile`, `read_truth_split` and `fetch_label_alignment`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.io.bam import (
    FLAG_SUPPLEMENTARY,
    FLAG_UNMAPPED,
    BamReader,
    BamRecord,
    record_flag,
    record_reference,
)
from genoformer.io.reads import write_text
from genoformer.io.subreads import Subread, decode_subread

SPLITS = ("train", "eval", "test")

# Chromosomes of each split, without their 'chr'.
SPLIT_CHROMS = {
    "human": {"train": [*map(str, range(1, 19)), "X", "Y"], "eval": ["21", "22"], "test": ["19", "20"]},
    "maize": {"train": [*map(str, range(1, 9))], "eval": ["9"], "test": ["10"]},
}


def read_truth_bed(path: str | Path) -> dict[str, str]:
    """Contig of the truth of each CCS read, by the CCS read's name.

    Raises:
        DataError: a line without contig, begin, end and name, or no line.
    """
    contigs = {}
    for number, fields in _lines(path):
        if len(fields) < 4 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise DataError(f"{path} line {number}: {fields[:4]}; expected contig, begin, end, CCS read name")
        contigs[fields[3]] = fields[0]
    if not contigs:
        raise DataError(f"{path}: the file is empty; expected contig, begin, end, CCS read name a line")
    return contigs


def read_truth_split(path: str | Path, genome: str) -> dict[str, str]:
    """Split of each contig whose chromosome belongs to one.

    Args:
        path: contig and chromosome a line.
        genome: "human" or "maize"; says which chromosomes train, evaluate and test.
    Raises:
        UsageError: another genome.
        DataError: a line with other than two fields, or no chromosome that belongs to a split.
    """
    if genome not in SPLIT_CHROMS:
        raise UsageError(f"genome is '{genome}'; expected one of {', '.join(SPLIT_CHROMS)}")
    split_of = {chrom: split for split, chroms in SPLIT_CHROMS[genome].items() for chrom in chroms}
    contigs = {}
    for number, fields in _lines(path):
        if len(fields) != 2:
            raise DataError(f"{path} line {number}: {fields}; expected contig and chromosome")
        contig, chrom = (field.strip() for field in fields)
        if chrom.removeprefix("chr") in split_of:
            contigs[contig] = split_of[chrom.removeprefix("chr")]
    if not contigs:
        raise DataError(f"{path}: none of its chromosomes belongs to a split of {genome}; is it of another genome?")
    return contigs


def write_truth_bed(path: str | Path, places: Iterable[tuple[str, int, int, str]]) -> None:
    """Writes contig, begin, end and CCS read name of each truth.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, "".join(f"{contig}\t{start}\t{end}\t{name}\n" for contig, start, end, name in places))


def write_truth_split(path: str | Path, splits: dict[str, str]) -> None:
    """Writes the split of each contig, as a human chromosome that belongs to it.

    Raises:
        OutputError: the file cannot be written.
    """
    chrom = {split: f"chr{chroms[0]}" for split, chroms in SPLIT_CHROMS["human"].items()}
    write_text(path, "".join(f"{contig}\t{chrom[split]}\n" for contig, split in splits.items()))


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; expected tab-separated lines") from None
    return [
        (number, line.split("\t") if "\t" in line else line.split())
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


class TruthFinder:
    """First alignment of the truth to each CCS read, by the CCS read's name; one pass finds where they are.

    Raises:
        AlignmentError: damaged input, or no alignment in it.
    """

    def __init__(self, path: str | Path) -> None:
        self._reader = BamReader(path)
        header = self._reader.header
        self._ref_ids = {header.reference_name(ref_id): ref_id for ref_id in range(header.num_references)}
        self._first = np.full((header.num_references, 2), -1, dtype=np.int64)  # position, virtual offset
        try:
            self._find_first(path)
        except BaseException:
            self._reader.file.close()
            raise

    def _find_first(self, path: str | Path) -> None:
        while True:
            offset = self._reader.tell()
            record = self._reader.read_record()
            if record is None:
                break
            ref_id = record_reference(record)
            if not 0 <= ref_id < len(self._first) or record_flag(record) & FLAG_UNMAPPED:
                continue
            start = BamRecord(record, path).start
            if self._first[ref_id, 1] < 0 or start < self._first[ref_id, 0]:
                self._first[ref_id] = start, offset
        if (self._first[:, 1] < 0).all():
            raise AlignmentError(f"{path}: holds no alignment; expected the truth of each CCS read, aligned to it")

    def __enter__(self) -> TruthFinder:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._reader.__exit__(kind, value, trace)

    def find(self, ccs_name: str) -> bytes | None:
        """The raw record of the truth of a CCS read; None where there is none."""
        ref_id = self._ref_ids.get(ccs_name, -1)
        if ref_id < 0 or self._first[ref_id, 1] < 0:
            return None
        self._reader.seek(int(self._first[ref_id, 1]))
        return self._reader.read_record()


def is_supplementary(record: bytes) -> bool:
    """Whether the truth of a CCS read is in pieces, so that it has no label."""
    return bool(record_flag(record) & FLAG_SUPPLEMENTARY)


def decode_truth(record: bytes, source: str | Path) -> Subread | None:
    """The alignment of a truth; kinetics are zero."""
    return decode_subread(record, source, with_kinetics=False)
