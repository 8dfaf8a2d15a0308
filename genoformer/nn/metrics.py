"""How well a called sequence matches the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from Bio.Align import PairwiseAligner
from torch import Tensor

from genoformer.errors import UsageError

_SYMBOLS = " ATCG"  # the consensus model's classes

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


@dataclass(frozen=True)
class BatchAlignment:
    """Columns of a batch's alignments; each count is a tensor [B], int64.

    Attributes:
        correct: whether all bases of the window are those of the label, [B] bool.
    """

    matches: Tensor
    mismatches: Tensor
    insertions: Tensor
    deletions: Tensor
    correct: Tensor

    @property
    def lengths(self) -> Tensor:
        """Columns of each alignment, [B]."""
        return self.matches + self.mismatches + self.insertions + self.deletions

    @property
    def identity(self) -> Tensor:
        """Matches over columns of each example, [B] float32; 1 where both sequences are empty."""
        return torch.where(self.lengths > 0, self.matches / self.lengths.clamp_min(1), 1.0)

    @property
    def batch_identity(self) -> float:
        """Matches over columns of the whole batch; 1 where all sequences are empty."""
        length = int(self.lengths.sum())
        return int(self.matches.sum()) / length if length else 1.0

    @property
    def per_example_accuracy(self) -> float:
        """The share of examples without an error; NaN for an empty batch."""
        return self.correct.float().mean().item()


def align_batch(*, probs: Tensor, labels: Tensor) -> BatchAlignment:
    """Alignments of the most probable bases to the labels, example by example.

    Args:
        probs: [B, L, 5], gap first; probabilities or logits.
        labels: [B, M], whole numbers, 0 for a gap; gaps of either side are left out.
    Raises:
        UsageError: shapes that do not fit.
    Source:
        DeepConsensus v1.2, `AlignmentMetric`, `per_batch_identity` and `PerExampleAccuracy`.
    """
    if probs.ndim != 3 or labels.ndim != 2 or len(probs) != len(labels) or probs.shape[2] != len(_SYMBOLS):
        shapes = f"probs are {list(probs.shape)} and labels {list(labels.shape)}"
        raise UsageError(f"{shapes}; expected [B, L, {len(_SYMBOLS)}] and [B, M]")
    called, truth = _sequences(probs.argmax(dim=-1)), _sequences(labels)
    counts = [align_globally(called=call, truth=true) for call, true in zip(called, truth, strict=True)]
    return BatchAlignment(
        matches=torch.tensor([count.matches for count in counts], dtype=torch.int64),
        mismatches=torch.tensor([count.mismatches for count in counts], dtype=torch.int64),
        insertions=torch.tensor([count.insertions for count in counts], dtype=torch.int64),
        deletions=torch.tensor([count.deletions for count in counts], dtype=torch.int64),
        correct=torch.tensor([call == true for call, true in zip(called, truth, strict=True)], dtype=torch.bool),
    )


def _sequences(symbols: Tensor) -> list[str]:
    """Rows [B, L] as letters without gaps."""
    return ["".join(_SYMBOLS[symbol] for symbol in row if symbol) for row in symbols.long().tolist()]
