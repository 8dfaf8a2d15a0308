"""From predicted qualities to qualities that were observed: a monotone table, fitted on counts of bases and errors.

A base is predicted by the model or copied from the CCS read; the two have tables of their own. Which is which is
written as run lengths, predicted and copied in turn, predicted first:

    bases     ACGTACGTAC     runs [4, 3, 3]: ACGT and TAC predicted, ACG copied
              pppp ccc ppp
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.genome.quality import MAX_FASTQ_QUALITY, phred

NUM_QUALITIES = MAX_FASTQ_QUALITY + 1
PREDICTED, COPIED = range(2)
SOURCES = ("predicted", "copied")

# Jeffreys' prior of a binomial proportion: half an error in one base more than were seen. A stretch of qualities
# without any error thus gets no more than its number of bases supports.
_PRIOR_ERRORS, _PRIOR_BASES = 0.5, 1.0


@dataclass(frozen=True)
class QualityCounts:
    """Bases, and how many of them are wrong, by source and predicted quality; int64 [2, 94]."""

    bases: np.ndarray
    errors: np.ndarray

    @classmethod
    def zero(cls) -> QualityCounts:
        """Counts of nothing."""
        shape = (len(SOURCES), NUM_QUALITIES)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    @classmethod
    def of(cls, quals: np.ndarray, is_copied: np.ndarray, is_wrong: np.ndarray) -> QualityCounts:
        """Counts of one read's bases: qualities uint8 [n], above 93 as 93, and bool [n]."""
        cell = np.minimum(quals, MAX_FASTQ_QUALITY).astype(np.int64) + NUM_QUALITIES * is_copied
        shape = (len(SOURCES), NUM_QUALITIES)
        size = len(SOURCES) * NUM_QUALITIES
        bases, errors = (np.bincount(cells, minlength=size).reshape(shape) for cells in (cell, cell[is_wrong]))
        return cls(bases, errors)

    def __add__(self, other: QualityCounts) -> QualityCounts:
        return QualityCounts(self.bases + other.bases, self.errors + other.errors)


@dataclass(frozen=True)
class CalibrationTables:
    """Calibrated quality of each predicted one, float64 [2, 94], one row a source; rows do not decrease."""

    phred: np.ndarray

    def rounded(self, max_quality: int = MAX_FASTQ_QUALITY) -> np.ndarray:
        """The tables as whole numbers, uint8 [2, 94], at most `max_quality`."""
        return np.clip(np.rint(self.phred), 0, max_quality).astype(np.uint8)

    def apply(self, quals: np.ndarray, is_copied: np.ndarray) -> np.ndarray:
        """Calibrated qualities, uint8 [n], of qualities uint8 [n], above 93 as 93."""
        return self.rounded()[is_copied.astype(np.intp), np.minimum(quals, MAX_FASTQ_QUALITY)]


def copied_runs(is_copied: np.ndarray) -> np.ndarray:
    """Run lengths of predicted and copied bases in turn, uint32; empty for no bases.

    Args:
        is_copied: bool [n].
    """
    starts = np.flatnonzero(np.diff(is_copied.astype(np.int8), prepend=0))
    runs = np.diff(np.concatenate([[0], starts, [len(is_copied)]]))
    return runs[: len(runs) if len(is_copied) else 0].astype(np.uint32)


def copied_mask(runs: np.ndarray) -> np.ndarray:
    """Which bases are copied, bool [sum of runs]; the reverse of `copied_runs`."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence that is nearest to the values in weighted least squares, float64 [n].

    Args:
        values: float [n].
        weights: float [n], above 0.
    Source: pool adjacent violators; Ayer et al., Ann. Math. Stat. 26:641 (1955).
    """
    means: list[float] = []
    totals: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        size = 1
        while means and means[-1] >= value:
            last_mean, last_total = means.pop(), totals.pop()
            value = (last_mean * last_total + value * weight) / (last_total + weight)
            weight, size = weight + last_total, size + sizes.pop()
        means.append(value)
        totals.append(weight)
        sizes.append(size)
    return np.repeat(np.array(means, dtype=np.float64), sizes)


def fit_calibration(counts: QualityCounts) -> CalibrationTables:
    """The tables that say what was observed; a source without bases keeps its qualities."""
    rows = [_fit_source(bases, errors) for bases, errors in zip(counts.bases, counts.errors, strict=True)]
    return CalibrationTables(np.stack(rows))


def _fit_source(bases: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Calibrated Phred of each quality, float64 [94].

    The error probability falls with quality: isotonic in the observed ones, then once more on the pooled stretches
    with the prior added. Qualities that were not seen lie on the line between those that were; below the first they
    keep their own where it is lower, above the last they get the last.
    """
    quality = np.arange(NUM_QUALITIES, dtype=np.float64)
    seen = np.flatnonzero(bases)
    if not len(seen):
        return quality
    falling = -isotonic(-errors[seen] / bases[seen], bases[seen])
    stretch = np.cumsum(np.diff(falling, prepend=falling[0]) != 0)
    num_errors = np.bincount(stretch, weights=errors[seen]) + _PRIOR_ERRORS
    num_bases = np.bincount(stretch, weights=bases[seen]) + _PRIOR_BASES
    observed = phred(-isotonic(-num_errors / num_bases, num_bases))[stretch]
    table = np.interp(quality, seen, observed)
    table[: seen[0]] = np.minimum(quality[: seen[0]], observed[0])
    return np.clip(table, 0, MAX_FASTQ_QUALITY)
