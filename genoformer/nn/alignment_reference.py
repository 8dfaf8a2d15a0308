"""The alignment loss as one would write it on paper: cell by cell, differentiated by autograd; the truth for tests."""

from __future__ import annotations

import torch
from torch import Tensor

GAP = 0  # class of a prediction that emits nothing, and symbol of a label column without a base
NUM_CLASSES = 5
MIN_PROB = 1e-7  # probabilities are clipped to [MIN_PROB, 1 - MIN_PROB]


def remove_label_gaps(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels with their bases moved left and gaps after them, [B, M] int64, and the number of bases, [B] int64."""
    is_base = labels != GAP
    rank = is_base.cumsum(dim=1) - 1  # [B, M]
    place = torch.where(is_base, rank, labels.shape[1])  # all gaps go into one more column, which is dropped
    bases = labels.new_full((labels.shape[0], labels.shape[1] + 1), GAP, dtype=torch.int64)
    return bases.scatter_(1, place, labels.long())[:, :-1], is_base.sum(dim=1)


def column_costs(probs: Tensor) -> Tensor:
    """-log of each class's probability in each column, [B, L, 5]: classes renormalised, then clipped."""
    renormalised = probs / probs.sum(dim=-1, keepdim=True)  # [B, L, 5]
    return -renormalised.clamp(MIN_PROB, 1 - MIN_PROB).log()


def substitution_costs(costs: Tensor, bases: Tensor) -> Tensor:
    """S[i, j]: what it costs that column j emits base i, [B, M, L]; costs [B, L, 5], bases [B, M]."""
    index = bases[:, :, None].expand(-1, -1, costs.shape[1])  # [B, M, L]
    return costs.transpose(1, 2).gather(1, index)


def soft_minimum(values: list[Tensor], temperature: float | None) -> Tensor:
    """-T log sum exp(-v / T); for T None the minimum, whose gradient is shared equally by all that attain it.

    Sums that are equal but for the rounding of their order are not told to be so here, as they are by the backends.
    """
    stacked = torch.stack(values)
    if temperature is None:
        return stacked.amin(dim=0)
    return -temperature * torch.logsumexp(-stacked / temperature, dim=0)


def align(
    substitution: Tensor, insertion: Tensor, lengths: Tensor, *, deletion_cost: float, temperature: float | None
) -> Tensor:
    """V[s, L] of every example, [B], from V[i, j], the cost of aligning i bases to j columns.

    Args:
        substitution: S, [B, M, L].
        insertion: I[j], what it costs that column j emits a gap, [B, L].
        lengths: s, the number of bases of each label, [B].
    Source:
        DeepConsensus v1.2, `losses_and_metrics.AlignmentLoss.alignment`:
            V[0, j] = I[1] + ... + I[j];  V[i, 0] = i D;
            V[i, j] = smin(V[i-1, j-1] + S[i, j], V[i, j-1] + I[j], V[i-1, j] + D).
    """
    batch, num_bases, num_columns = substitution.shape
    zero = insertion.new_zeros(batch)  # [B]
    above = [zero, *insertion.cumsum(dim=1).unbind(dim=1)]  # V[0, :], each [B]
    ends = [above[-1]]
    for i in range(num_bases):
        row = [zero + (i + 1) * deletion_cost]
        for j in range(num_columns):
            moves = [above[j] + substitution[:, i, j], row[j] + insertion[:, j], above[j + 1] + deletion_cost]
            row.append(soft_minimum(moves, temperature))
        ends.append(row[-1])
        above = row
    return torch.stack(ends).gather(0, lengths[None])[0]  # [B]


def reference_loss(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> Tensor:
    """The loss of each example, [B], in the dtype of `probs` [B, L, 5]; labels [B, M]."""
    bases, lengths = remove_label_gaps(labels)
    costs = column_costs(probs)
    return align(
        substitution_costs(costs, bases),
        costs[..., GAP],
        lengths,
        deletion_cost=deletion_cost,
        temperature=temperature,
    )


def reference_posterior(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> Tensor:
    """d loss / d S of each example, [B, M, L]; rows beyond a label's bases are zero."""
    bases, lengths = remove_label_gaps(labels)
    costs = column_costs(probs.detach())
    if not labels.shape[1]:
        return costs.new_zeros(labels.shape[0], 0, probs.shape[1])
    with torch.enable_grad():
        substitution = substitution_costs(costs, bases).requires_grad_()
        loss = align(substitution, costs[..., GAP], lengths, deletion_cost=deletion_cost, temperature=temperature)
        (posterior,) = torch.autograd.grad(loss.sum(), substitution, materialize_grads=True)
    return posterior
