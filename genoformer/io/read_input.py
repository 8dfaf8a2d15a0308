"""Reads in, one by one: names, letters, qualities and which bases are copied, from FASTQ, FASTA or BAM.

Reads come in the sense of sequencing: aligned records of the reverse strand are turned back, secondary and
supplementary ones left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import AlignmentError
from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.calibration import copied_mask
from genoformer.io.bam import FLAG_SECONDARY, FLAG_SUPPLEMENTARY, BamReader, BamRecord
from genoformer.io.fasta import read_fasta
from genoformer.io.reads import read_sequences

COPIED_TAG = "cp"  # run lengths of predicted and copied bases in turn, predicted first; written by `correct`

_FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")


@dataclass(frozen=True)
class InputRead:
    """A read: `sequence` upper-case letters [n]; `quals` uint8 [n] and `is_copied` bool [n], None where not known."""

    name: str
    sequence: bytes
    quals: np.ndarray | None
    is_copied: np.ndarray | None


def iterate_reads(path: str | Path) -> Iterator[InputRead]:
    """Reads of a BAM, FASTA(.gz) or FASTQ(.gz) file, by the ending of its name; FASTA is held in memory.

    Raises:
        DataError: damaged or truncated input, or a tag that does not fit its read.
    """
    if str(path).endswith(".bam"):
        yield from _iterate_bam(Path(path))
    elif str(path).endswith(_FASTA_SUFFIXES):
        for name, letters in read_fasta(path).items():
            yield InputRead(name, letters, None, None)
    else:
        for read in read_sequences(path):
            yield InputRead(read.name.split(maxsplit=1)[0], read.sequence.upper(), read.quals, None)


def _iterate_bam(path: Path) -> Iterator[InputRead]:
    with BamReader(path) as reader:
        for raw in reader:
            record = BamRecord(raw, path)
            if record.flag & (FLAG_SECONDARY | FLAG_SUPPLEMENTARY):
                continue
            sequence, quals, turn = record.sequence, record.quals, slice(None)
            if record.is_reverse:
                sequence, turn = reverse_complement(sequence), slice(None, None, -1)
            yield InputRead(record.name, sequence, None if quals is None else quals[turn], _is_copied(record, path))


def _is_copied(record: BamRecord, path: Path) -> np.ndarray | None:
    if not record.has_tag(COPIED_TAG):
        return None
    runs = record.array_tag(COPIED_TAG, "u1", "u2", "u4")
    num_bases = int(runs.sum(dtype=np.int64))
    if num_bases != record.length:
        raise AlignmentError(
            f"{path}: read {record.name}: tag {COPIED_TAG} covers {num_bases} bases, the read has {record.length}; "
            "a program that cut the read has left it; remove the tag"
        )
    return copied_mask(runs)
