"""Reads held against their truth: what is wrong with each, streamed through worker processes or threads.

The truth is one sequence a molecule, named movie/hole/..., or a genome. Molecules are aligned end to end by edlib,
which holds Python's lock, so in processes; a genome by minimap2, which does not and whose index is large, in threads.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np

from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.genome.calibration import CalibrationTables, QualityCounts
from genoformer.genome.quality import mean_error_phred
from genoformer.genome.read_errors import ErrorCounts, count_errors
from genoformer.io.aligner import aligner_versions
from genoformer.io.fasta import read_fasta, read_fasta_names
from genoformer.io.read_input import InputRead, iterate_reads
from genoformer.io.truth_aligner import GenomeAligner, TruthAlignment, align_to_molecule
from genoformer.io.zmws import zmw_key
from genoformer.workflows.ordered_map import ordered_map

TruthKind = Literal["read", "genome"]

_AHEAD_PER_WORKER = 8  # reads


class Placement(StrEnum):
    """Whether a read could be held against its truth."""

    ALIGNED = "aligned"
    UNALIGNED = "unaligned"
    NO_TRUTH = "no_truth"


@dataclass(frozen=True)
class QualityScore:
    """Predicted Phred of a read, of its mean error probability, and counts of its aligned bases by their quality."""

    predicted_phred: float
    counts: QualityCounts


@dataclass(frozen=True)
class ReadScore:
    """What a read is worth, `qualities` as they stand and `calibrated`; None without qualities or without tables.

    `knows_copied`: the file says which bases are copied from the CCS read.
    """

    name: str
    length: int
    placement: Placement
    num_clipped: int
    errors: ErrorCounts
    qualities: QualityScore | None
    calibrated: QualityScore | None
    knows_copied: bool


@dataclass(frozen=True)
class _Task:
    read: InputRead
    truth: bytes | None


@dataclass(frozen=True)
class Truth:
    """What reads are compared with. `description` says what it was taken for, and why; one of the other two is set."""

    kind: TruthKind
    description: str
    molecules: dict[bytes, bytes] | None
    genome: GenomeAligner | None

    @classmethod
    def open(cls, path: str, kind: TruthKind | None) -> Truth:
        """The truth of a FASTA file; without a kind, one a read where all names have the form movie/hole/...

        Raises:
            UsageError: the extra `align` is not installed.
            DataError: a damaged file, two truths of one molecule, or names of another form for one a read.
        """
        aligner_versions()
        names = read_fasta_names(path)
        found: TruthKind = "read" if all(map(_is_molecule, names)) else "genome"
        reason = "as asked for" if kind else f"its names are {'' if found == 'read' else 'not '}movie/hole/..."
        if (kind or found) == "read":
            description = f"one truth a molecule, aligned end to end by edlib ({reason})"
            return cls("read", description, _molecules(path), None)
        return cls("genome", f"a genome, aligned to by minimap2 ({reason})", None, GenomeAligner(path, set(names)))

    def score(self, path: str, threads: int | None, tables: CalibrationTables | None = None) -> Iterator[ReadScore]:
        """Scores of the reads of a file, in its order.

        Args:
            tables: calibration to look at as well.
        Raises:
            DataError: damaged input, or a read that is not named movie/hole/... where truths are.
        """
        threads = threads or len(os.sched_getaffinity(0))
        num_workers = 0 if threads == 1 else threads
        function = functools.partial(_score, genome=self.genome, tables=tables)
        in_threads = self.genome is not None
        scores = ordered_map(function, self._tasks(path), num_workers, _AHEAD_PER_WORKER * threads, in_threads)
        with contextlib.closing(scores):
            yield from scores

    def _tasks(self, path: str) -> Iterator[_Task]:
        for read in iterate_reads(path):
            truth = None
            if self.molecules is not None:
                truth = self.molecules.get(zmw_key(read.name.encode(), Path(path)))
            yield _Task(read, truth)


def check_threads(threads: int | None) -> None:
    """Raises UsageError for a number of threads below 1."""
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; expected at least 1")


def _is_molecule(name: str) -> bool:
    try:
        zmw_key(name.encode(), Path())
    except AlignmentError:
        return False
    return True


def _molecules(path: str) -> dict[bytes, bytes]:
    molecules: dict[bytes, bytes] = {}
    for name, letters in read_fasta(path).items():
        key = zmw_key(name.encode(), Path(path))
        if key in molecules:
            raise DataError(f"{path}: '{name}' is the second truth of {key.decode()}; expected one a molecule")
        molecules[key] = letters
    return molecules


def _score(task: _Task, genome: GenomeAligner | None, tables: CalibrationTables | None) -> ReadScore:
    read, size = task.read, len(task.read.sequence)
    placement, alignment = _place(task, genome)
    errors, num_clipped = ErrorCounts.zero(), 0
    is_known, is_wrong = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    if alignment is not None:
        aligned = slice(alignment.read_start, alignment.read_end)
        errors, of_bases = count_errors(alignment.cigar, alignment.truth, read.sequence[aligned])
        is_known[aligned], is_wrong[aligned] = of_bases.is_known, of_bases.is_wrong
        num_clipped = size - (alignment.read_end - alignment.read_start)
    is_copied = np.zeros(size, dtype=bool) if read.is_copied is None else read.is_copied

    def quality_score(quals: np.ndarray) -> QualityScore:
        counts = QualityCounts.of(quals[is_known], is_copied[is_known], is_wrong[is_known])
        return QualityScore(mean_error_phred(quals), counts)

    qualities = calibrated = None
    if read.quals is not None:
        qualities = quality_score(read.quals)
        calibrated = None if tables is None else quality_score(tables.apply(read.quals, is_copied))
    knows_copied = read.is_copied is not None
    return ReadScore(read.name, size, placement, num_clipped, errors, qualities, calibrated, knows_copied)


def _place(task: _Task, genome: GenomeAligner | None) -> tuple[Placement, TruthAlignment | None]:
    if genome is not None:
        alignment = genome.align(task.read.sequence)
    elif task.truth is None:
        return Placement.NO_TRUTH, None
    else:
        alignment = align_to_molecule(task.read.sequence, task.truth)
    return (Placement.UNALIGNED if alignment is None else Placement.ALIGNED), alignment
