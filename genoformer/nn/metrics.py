"""How well a called sequence matches the truth."""

from __future__ import annotations

from dataclasses import dataclass

from Bio.Align import PairwiseAligner

# Scores of the original, chosen after pbmm2's; a gap's first base costs 9, each further one 4.
_MATCH, _MISMATCH, _GAP_OPEN, _GAP_EXTEND = 2, -5, -9, -4


@dataclass(frozen=True)
class AlignmentCounts:
    """Columns of a global alignment of a called sequence to its truth."""

    matches: int
    mismatches: int
    insertions: int  # called bases that the truth lacks
    deletions: int  # truth bases that were not called

    @property
    def length(self) -> int:
        """Number of columns."""
        return self.matches + self.mismatches + self.insertions + self.deletions

    @property
    def errors(self) -> int:
        """Columns that are not matches."""
        return self.length - self.matches

    @property
    def identity(self) -> float:
        """Matches over columns; 1 where both sequences are empty."""
        return self.matches / self.length if self.length else 1.0


def align_globally(*, called: str, truth: str) -> AlignmentCounts:
    """Counts of the best affine-gap global alignment; lower case is as upper case.

    Source: DeepConsensus v1.2, `losses_and_metrics.AlignmentMetric`.
    """
    if not called or not truth:
        return AlignmentCounts(0, 0, len(called), len(truth))
    aligner = PairwiseAligner(
        mode="global", match_score=_MATCH, mismatch_score=_MISMATCH,
        open_gap_score=_GAP_OPEN, extend_gap_score=_GAP_EXTEND,
    )  # fmt: skip
    counts = aligner.align(truth.upper(), called.upper())[0].counts()
    return AlignmentCounts(counts.identities, counts.mismatches, counts.insertions, counts.deletions)
