"""Errors of a read against its truth: by kind, by the homopolymer they stand in, and base by base.

A gap in a homopolymer can stand at any of its bases. Alignments come with their gaps as far left as they go along the
read (`edit_path.align_gaps_left`), as pileups have them, so an error in a run is always its first base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.genome.cigar import CIGAR_DELETION, CIGAR_DIFFERENT, CIGAR_EQUAL, CIGAR_INSERTION

MAX_RUN = 10  # the class of runs of this length or longer
NO_RUN = 0  # the class of inserted bases that differ from both their neighbours
MISMATCH, INSERTION, DELETION = range(3)  # rows of `by_run`
ERROR_KINDS = ("mismatches", "insertions", "deletions")

_OPS = (CIGAR_DIFFERENT, CIGAR_INSERTION, CIGAR_DELETION)
_N = ord("N")


@dataclass(frozen=True)
class ErrorCounts:
    """Columns of alignments, which add up: `by_run` int64 [3, MAX_RUN + 1], `truth_by_run` int64 [MAX_RUN + 1].

    A row of `by_run` is a kind of error, a column the length of the homopolymer of the truth in which it stands. An
    inserted base belongs to a neighbouring run of its own letter, the longer of two, or to none (`NO_RUN`).
    `truth_by_run` counts the truth's bases by the run they stand in.
    """

    matches: int
    by_run: np.ndarray
    truth_by_run: np.ndarray

    @classmethod
    def zero(cls) -> ErrorCounts:
        """Counts of nothing."""
        return cls(0, np.zeros((3, MAX_RUN + 1), np.int64), np.zeros(MAX_RUN + 1, np.int64))

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.matches + other.matches, self.by_run + other.by_run, self.truth_by_run + other.truth_by_run
        )

    def of_kind(self, kind: int) -> int:
        """Errors of one kind: MISMATCH, INSERTION or DELETION; those are inserted and missing bases, not events."""
        return int(self.by_run[kind].sum())

    @property
    def errors(self) -> int:
        """Columns that are not matches."""
        return int(self.by_run.sum())

    @property
    def columns(self) -> int:
        """All columns."""
        return self.matches + self.errors

    @property
    def identity(self) -> float:
        """Matches over columns; 0 where there is none."""
        return self.matches / self.columns if self.columns else 0.0


@dataclass(frozen=True)
class BaseErrors:
    """Bases of the aligned part of a read, bool [bases].

    `is_wrong`: the base is another than the truth's or one too many, or bases are missing before it (at the end of
    the alignment: behind it). `is_known`: false where the truth is N.
    """

    is_wrong: np.ndarray
    is_known: np.ndarray


def run_lengths(sequence: bytes) -> np.ndarray:
    """Length of the homopolymer that each base stands in, int64 [len].

    AACCCT     2 2 3 3 3 1
    """
    letters = np.frombuffer(sequence, dtype=np.uint8)
    starts = np.flatnonzero(np.diff(letters, prepend=0))
    lengths = np.diff(starts, append=len(letters))
    return np.repeat(lengths, lengths)


def count_errors(cigar: np.ndarray, truth: bytes, read: bytes) -> tuple[ErrorCounts, BaseErrors]:
    """Errors of an alignment of all of `read` to all of `truth`. Columns with N in the truth do not count.

        truth  AACC-TG      one insertion, in a run of one T; one deletion, in a run of one G;
        read   AACCTT-      wrong bases: the first T and, for the missing G, the second

    Args:
        cigar: uint32 [ops], =, X, I, D, gaps to the left.
        truth, read: upper-case letters, on the read's strand.
    Raises:
        ValueError: a CIGAR of other lengths than the sequences, or with other operations.
    """
    op = np.repeat(cigar & 15, cigar >> 4)
    in_truth, in_read = op != CIGAR_INSERTION, op != CIGAR_DELETION
    if not np.isin(op, (CIGAR_EQUAL, *_OPS)).all() or (in_truth.sum(), in_read.sum()) != (len(truth), len(read)):
        raise ValueError(f"CIGAR does not fit a truth of {len(truth)} and a read of {len(read)} bases")
    truth_at, read_at = in_truth.cumsum() - in_truth, in_read.cumsum() - in_read  # of the next base, in a gap
    letters, bases = np.frombuffer(truth, np.uint8), np.frombuffer(read, np.uint8)
    is_known = np.ones(len(op), dtype=bool)
    is_known[in_truth] = letters != _N
    runs = np.minimum(run_lengths(truth), MAX_RUN)
    class_of = np.empty(len(op), dtype=np.int64)
    class_of[in_truth] = runs
    class_of[~in_truth] = _inserted_runs(letters, runs, truth_at[~in_truth], bases[read_at[~in_truth]])
    by_run = [np.bincount(class_of[is_known & (op == kind)], minlength=MAX_RUN + 1) for kind in _OPS]
    counts = ErrorCounts(
        int((is_known & (op == CIGAR_EQUAL)).sum()),
        np.stack(by_run).astype(np.int64),
        np.bincount(runs[letters != _N], minlength=MAX_RUN + 1).astype(np.int64),
    )
    is_wrong = np.zeros(len(read), dtype=bool)
    if len(read):
        is_wrong[np.minimum(read_at[is_known & (op != CIGAR_EQUAL)], len(read) - 1)] = True
    return counts, BaseErrors(is_wrong, is_known[in_read])


def _inserted_runs(letters: np.ndarray, runs: np.ndarray, right: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Class of inserted bases before the truth's bases `right`."""
    letters, runs = np.pad(letters, 1), np.pad(runs, 1)  # nothing to the left of the first, to the right of the last
    on_left = np.where(letters[right] == bases, runs[right], NO_RUN)
    on_right = np.where(letters[right + 1] == bases, runs[right + 1], NO_RUN)
    return np.maximum(on_left, on_right)
