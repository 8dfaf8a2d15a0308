"""Totals over the reads of one file, as `assess` reports them; they add up read by read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genoformer.errors import AlignmentError, DataError
from genoformer.genome.calibration import NUM_QUALITIES, SOURCES, QualityCounts
from genoformer.genome.quality import MAX_FASTQ_QUALITY, error_prob, phred
from genoformer.genome.read_errors import ERROR_KINDS, MAX_RUN, ErrorCounts
from genoformer.workflows.score_reads import Placement, QualityScore, ReadScore

YIELD_PHREDS = (20, 30, 40)
# Where calibration is judged: qualities of at least 10 with at least 100 errors expected.
JUDGED_PHRED, JUDGED_ERRORS = 10, 100

_IDENTITY_SLACK = 1e-12  # 999 of 1,000 columns are Q30, whatever the last bit says


@dataclass
class QualityTotals:
    """Predicted against empirical quality, of bases and of reads; a read counts by its whole predicted Phred."""

    counts: QualityCounts = field(default_factory=QualityCounts.zero)
    reads: np.ndarray = field(default_factory=lambda: np.zeros(NUM_QUALITIES, np.int64))
    read_errors: np.ndarray = field(default_factory=lambda: np.zeros(NUM_QUALITIES, np.int64))
    read_columns: np.ndarray = field(default_factory=lambda: np.zeros(NUM_QUALITIES, np.int64))

    def add_(self, score: QualityScore, errors: ErrorCounts) -> None:
        """Adds an aligned read."""
        self.counts += score.counts
        quality = min(int(score.predicted_phred), MAX_FASTQ_QUALITY)
        self.reads[quality] += 1
        self.read_errors[quality] += errors.errors
        self.read_columns[quality] += errors.columns

    def summary(self) -> dict[str, Any]:
        """Rows of both tables as JSON values, and how far bases are off where they are judged."""
        return {
            "bases": [
                {"source": source, "quality": quality, "bases": bases, "errors": errors,
                 "empirical": empirical_phred(errors, bases)}
                for row, source in enumerate(SOURCES)
                for quality, bases, errors in _rows(self.counts.bases[row], self.counts.errors[row])
            ],
            "reads": [
                {"quality": quality, "reads": int(self.reads[quality]), "columns": columns, "errors": errors,
                 "empirical": empirical_phred(errors, columns)}
                for quality, columns, errors in _rows(self.read_columns, self.read_errors)
            ],
            "largest_deviation": {source: self._largest_deviation(row) for row, source in enumerate(SOURCES)},
        }  # fmt: skip

    def _largest_deviation(self, row: int) -> float | None:
        """Phreds between empirical and predicted in the worst judged bin; None where no bin has enough bases."""
        quality = np.arange(NUM_QUALITIES)
        bases, errors = self.counts.bases[row], self.counts.errors[row]
        is_judged = (quality >= JUDGED_PHRED) & (bases * error_prob(quality) >= JUDGED_ERRORS)
        if not is_judged.any():
            return None
        observed = phred(np.maximum(errors[is_judged], 0.5) / bases[is_judged])  # no error at all: as if half of one
        return round(float(np.abs(observed - quality[is_judged]).max()), 3)


def _rows(totals: np.ndarray, errors: np.ndarray) -> list[tuple[int, int, int]]:
    return [(int(quality), int(totals[quality]), int(errors[quality])) for quality in np.flatnonzero(totals)]


def empirical_phred(errors: int, total: int) -> float | None:
    """Phred of errors among a total, three decimals; None where there is no error to tell it by."""
    return round(float(phred(errors / total)), 3) if errors and total else None


@dataclass
class FileTotals:
    """All reads of one file. Yield counts aligned reads whose predicted Phred is at least `min_quality`."""

    min_quality: float
    reads: int = 0
    bases: int = 0
    placements: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, Placement), 0))
    clipped_reads: int = 0
    clipped_bases: int = 0
    errors: ErrorCounts = field(default_factory=ErrorCounts.zero)
    below_min_quality: int = 0
    yield_reads: dict[int, int] = field(default_factory=lambda: dict.fromkeys(YIELD_PHREDS, 0))
    yield_bases: dict[int, int] = field(default_factory=lambda: dict.fromkeys(YIELD_PHREDS, 0))
    without_qualities: int = 0
    without_copied: int = 0
    qualities: QualityTotals = field(default_factory=QualityTotals)
    calibrated: QualityTotals = field(default_factory=QualityTotals)

    def add_(self, score: ReadScore) -> None:
        """Adds a read."""
        self.reads += 1
        self.bases += score.length
        self.placements[score.placement] += 1
        self.without_qualities += score.qualities is None
        self.without_copied += not score.knows_copied
        if score.placement is not Placement.ALIGNED:
            return
        self.clipped_reads += score.num_clipped > 0
        self.clipped_bases += score.num_clipped
        self.errors += score.errors
        self._add_yield_(score)
        for totals, quality in ((self.qualities, score.qualities), (self.calibrated, score.calibrated)):
            if quality is not None:
                totals.add_(quality, score.errors)

    def _add_yield_(self, score: ReadScore) -> None:
        if score.qualities is not None and round(score.qualities.predicted_phred, 5) < self.min_quality:
            self.below_min_quality += 1
            return
        for threshold in YIELD_PHREDS:
            if score.errors.identity >= 1 - 10 ** (-threshold / 10) - _IDENTITY_SLACK:
                self.yield_reads[threshold] += 1
                self.yield_bases[threshold] += score.length

    def summary(self) -> dict[str, Any]:
        """The totals as JSON values, without calibration."""
        errors = self.errors
        return {
            "reads": self.reads,
            "bases": self.bases,
            **self.placements,
            "clipped_reads": self.clipped_reads,
            "clipped_bases": self.clipped_bases,
            "without_qualities": self.without_qualities,
            "matches": errors.matches,
            **{name: errors.of_kind(kind) for kind, name in enumerate(ERROR_KINDS)},
            "errors": errors.errors,
            "identity": round(errors.identity, 7),
            "empirical_phred": empirical_phred(errors.errors, errors.columns),
            "homopolymers": [
                {"run": run, "truth_bases": int(errors.truth_by_run[run])}
                | {name: int(errors.by_run[kind, run]) for kind, name in enumerate(ERROR_KINDS)}
                for run in range(MAX_RUN + 1)
            ],
        }


def check_aligned(totals: FileTotals, path: str, truth: str) -> None:
    """Raises DataError where a file holds no read, or none that could be aligned to the truth."""
    if totals.reads == 0:
        raise AlignmentError(f"{path}: holds no reads; nothing can be said about it")
    if totals.placements[Placement.ALIGNED] == 0:
        raise DataError(
            f"{path}: none of its {totals.reads:,} reads aligns to {truth} ({totals.placements[Placement.NO_TRUTH]:,} "
            "have no truth there); is it the truth of these reads?"
        )
