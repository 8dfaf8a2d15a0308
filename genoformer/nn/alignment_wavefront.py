"""The alignment loss and its gradient in plain torch, all cells of an anti-diagonal and all examples at once.

Cell (i, j) of the table (i bases aligned to j columns) lies on anti-diagonal k = i + j. Tensors hold the batch in the
last dimension, so that the cells i = low .. high of an anti-diagonal are one block of memory, and what belongs to
columns is kept in reverse order, so that column j = k - i runs forward with i too. The weights of the soft minimum are
saved on the way forward and the way back only multiplies by them: a recomputation from float32 values loses 1e-3.

Values of the table are float64: a weight depends on the difference of two values over the temperature, and float32
would round values of some hundred nats by as much as 1e-4 of a weight at a temperature of 0.1. The weights themselves,
and all that the way back adds up, have the dtype of the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genoformer.nn.alignment_reference import GAP, MIN_PROB, NUM_CLASSES, remove_label_gaps

NUM_MOVES = 3  # substitution, insertion, deletion
LN2 = math.log(2)
HARD_STEPS = 2.0**40  # a nat, under the minimum: sums of steps are exact below 2^13 nats, so that equal paths tie


@dataclass(frozen=True)
class AlignmentResult:
    """What one pass over a batch gives.

    Attributes:
        loss: [B].
        gradient: d loss / d probs, [B, L, 5], or None where it was not asked for; all NaN where the loss is.
        posterior: d loss / d S, [B, M, L], or None where it was not asked for.
    """

    loss: Tensor
    gradient: Tensor | None = None
    posterior: Tensor | None = None


@dataclass(frozen=True)
class _Columns:
    """The prediction, prepared."""

    total: Tensor  # sum of a column's probabilities, [L, B]
    renormalised: Tensor  # [5, L, B]
    cost: Tensor  # over the unit, float64; columns reversed, [5, L, B]


@dataclass(frozen=True)
class _Diagonal:
    """Cells i = low .. high of anti-diagonal k, without row 0 and column 0."""

    k: int
    low: int
    high: int
    start: int  # cells on the anti-diagonals before


class _Table:
    """What forward and backward pass share: costs in, softmin weights between them."""

    def __init__(self, columns: _Columns, bases: Tensor, lengths: Tensor, temperature: float | None) -> None:
        self.columns, self.lengths, self.temperature = columns, lengths, temperature
        self.bases = bases.t().contiguous()  # [M, B]
        self.num_bases, self.batch = self.bases.shape
        self.num_columns = columns.total.shape[0]
        self.diagonals = _diagonals(self.num_bases, self.num_columns)
        self.weights: Tensor | None = None

    def saved(self, diagonal: _Diagonal) -> Tensor:
        """The weights of an anti-diagonal's cells, a view [3, cells, B]; scratch space where they are not kept."""
        size = diagonal.high - diagonal.low + 1
        if self.weights is None:
            return self.columns.total.new_empty(NUM_MOVES, size, self.batch)
        start = NUM_MOVES * diagonal.start
        return self.weights[start : start + NUM_MOVES * size].view(NUM_MOVES, size, self.batch)

    def reversed_columns(self, diagonal: _Diagonal) -> slice:
        """Where the columns of an anti-diagonal's cells stand in reversed order."""
        first = self.num_columns - diagonal.k + diagonal.low
        return slice(first, first + diagonal.high - diagonal.low + 1)


def _unit(temperature: float | None) -> float:
    """What table values are counted in, in nats: a factor of two in a weight, since exp2 is faster than exp."""
    return 1.0 if temperature is None else temperature * LN2


def _prepare(probs: Tensor, temperature: float | None) -> _Columns:
    columns = probs.permute(2, 1, 0).contiguous()  # [5, L, B]
    total = columns.sum(dim=0)  # [L, B]
    renormalised = columns / total  # [5, L, B]
    cost = renormalised.clamp(MIN_PROB, 1 - MIN_PROB).double().log_().div_(-_unit(temperature))  # [5, L, B]
    if temperature is None:
        cost.mul_(HARD_STEPS).round_().div_(HARD_STEPS)
    return _Columns(total, renormalised, cost.flip(1))


def _diagonals(num_bases: int, num_columns: int) -> list[_Diagonal]:
    found, start = [], 0
    for k in range(2, num_bases + num_columns + 1 if num_bases else 0):
        low, high = max(1, k - num_columns), min(num_bases, k - 1)
        found.append(_Diagonal(k, low, high, start))
        start += high - low + 1
    return found


def _skewed_table(table: _Table) -> tuple[Tensor, Tensor]:
    """One piece of memory as rows, [M, L, B], and as anti-diagonals, [M + L + 1, M + 1, B].

    Read with rows one column short of their length, a table's anti-diagonals are rows. Of the second view only the
    cells of a `_Diagonal` have meaning: [k, i] is cell (i, k - i).
    """
    num_bases, num_columns, batch = table.num_bases, table.num_columns, table.batch
    before = num_columns + 1  # so that cell (i, j) lies at before + (i - 1) L + (j - 1) = k + i (L - 1)
    memory = table.columns.cost.new_empty(before + num_bases * num_columns, batch)
    shape = (num_bases + num_columns + 1, num_bases + 1, batch)
    skewed = memory.as_strided(shape, (batch, (num_columns - 1) * batch, 1))
    return memory[before:].view(num_bases, num_columns, batch), skewed


def _skewed_substitution_costs(table: _Table) -> Tensor:
    """S by anti-diagonals, as in `_skewed_table`."""
    cost = table.columns.cost.flip(1)  # [5, L, B]
    rows, skewed = _skewed_table(table)
    rows.copy_(cost[1].expand_as(rows))
    for symbol in range(2, NUM_CLASSES):
        torch.where((table.bases == symbol)[:, None], cost[symbol], rows, out=rows)  # [M, L, B]
    return skewed


def _forward(table: _Table, deletion: float) -> Tensor:
    """V[s, L] over the unit, [B] float64; fills `table.weights` unless that is None."""
    num_bases, num_columns = table.num_bases, table.num_columns
    insertion = table.columns.cost[GAP]  # reversed, [L, B]
    substitution = _skewed_substitution_costs(table)
    top = torch.cat([insertion.new_zeros(1, table.batch), insertion.flip(0).cumsum(dim=0)])  # V[0, :], [L + 1, B]
    last = insertion.new_empty(num_bases + 1, table.batch)  # V[:, L], [M + 1, B]
    last[0] = top[num_columns]
    before, previous, current = insertion.new_empty(3, num_bases + 1, table.batch).unbind()  # diagonals k - 2, k - 1, k
    before[0], previous[0], previous[1:2] = 0.0, top[1], deletion
    scratch = insertion.new_empty(NUM_MOVES, min(num_bases, num_columns), table.batch)
    for cells in table.diagonals:
        k, low, high = cells.k, cells.low, cells.high
        moves = scratch[:, : high - low + 1]  # [3, cells, B]
        torch.add(before[low - 1 : high], substitution[k, low : high + 1], out=moves[0])
        torch.add(previous[low : high + 1], insertion[table.reversed_columns(cells)], out=moves[1])
        torch.add(previous[low - 1 : high], deletion, out=moves[2])
        _write_minimum_and_weights(moves, current[low : high + 1], table.saved(cells), table.temperature)
        if low == 1 and k <= num_columns:
            current[0] = top[k]
        if high < num_bases:
            current[high + 1] = deletion * (high + 1)
        if k > num_columns:
            last[low] = current[low]
        before, previous, current = previous, current, before
    return last.gather(0, table.lengths[None])[0]  # [B]


def _write_minimum_and_weights(moves: Tensor, value: Tensor, weights: Tensor, temperature: float | None) -> None:
    """Writes the minimum of three moves, [cells, B], and the weight of each, [3, cells, B]."""
    least = moves.amin(dim=0)  # [cells, B]
    if temperature is None:
        value.copy_(least)
        attained = (moves == least).to(weights.dtype)  # [3, cells, B]
        torch.div(attained, attained.sum(dim=0), out=weights)
        return
    torch.sub(least, moves, out=weights).exp2_()
    total = weights.sum(dim=0)  # [cells, B]
    weights.div_(total)
    # log1p is many times faster than log2 where torch leaves that to MKL.
    torch.sub(least, total.sub_(1.0).log1p_(), alpha=1 / LN2, out=value)


def _backward_(table: _Table) -> Tensor:
    """How often each column emits each class, [5, L, B]; turns the weights into how often each move is taken."""
    num_bases, num_columns = table.num_bases, table.num_columns
    zeros = table.columns.total.new_zeros
    is_base = torch.stack([table.bases == symbol for symbol in range(1, NUM_CLASSES)])  # [4, M, B]
    is_base = is_base.to(table.columns.total.dtype)
    emitted = zeros(NUM_CLASSES, num_columns, table.batch)  # columns reversed
    reached_top = zeros(num_columns + 1, table.batch)  # how often row 0 is entered at column L - n
    visits, before, earlier = zeros(3, num_bases + 1, table.batch).unbind()  # diagonals k, k - 1, k - 2
    ends = torch.zeros_like(visits).scatter_(0, table.lengths[None], 1.0)  # [M + 1, B]
    reached_top[0] = ends[0]
    for cells in reversed(table.diagonals):
        k, low, high = cells.k, cells.low, cells.high
        here = table.reversed_columns(cells)
        if k > num_columns:
            visits[low] += ends[low]
        moves = table.saved(cells).mul_(visits[low : high + 1])  # [3, cells, B]
        earlier[low - 1 : high] += moves[0]
        before[low : high + 1] += moves[1]
        before[low - 1 : high] += moves[2]
        emitted[1:, here].addcmul_(is_base[:, low - 1 : high], moves[0])
        emitted[GAP, here] += moves[1]
        if low == 1:
            reached_top[num_columns + 1 - k] += before[0]
        visits.zero_()
        visits, before, earlier = before, earlier, visits
    emitted[GAP] += reached_top[:num_columns].cumsum(dim=0)
    return emitted.flip(1)


def _gradient(columns: _Columns, emitted: Tensor) -> Tensor:
    """d loss / d probs, [B, L, 5], through -log, clipping (nothing passes outside) and renormalisation."""
    inside = (columns.renormalised >= MIN_PROB) & (columns.renormalised <= 1 - MIN_PROB)
    emitted = torch.where(inside, emitted, 0.0)  # [5, L, B]
    gradient = (emitted.sum(dim=0) - emitted / columns.renormalised.clamp_min(MIN_PROB)) / columns.total
    return gradient.permute(2, 1, 0)


def _posterior(table: _Table) -> Tensor:
    """How often base i is emitted by column j, [B, M, L], once `_backward_` has run."""
    rows, skewed = _skewed_table(table)
    for cells in table.diagonals:
        skewed[cells.k, cells.low : cells.high + 1] = table.saved(cells)[0]
    return rows.permute(2, 0, 1).contiguous()


def solve_by_wavefront(
    probs: Tensor,
    labels: Tensor,
    *,
    deletion_cost: float,
    temperature: float | None,
    gradient: bool = False,
    posterior: bool = False,
) -> AlignmentResult:
    """The loss of each example and what else is asked for, in the dtype of `probs`.

    Args:
        probs: [B, L, 5], float32 or float64.
        labels: [B, M].
    """
    columns = _prepare(probs, temperature)
    table = _Table(columns, *remove_label_gaps(labels), temperature)
    if gradient or posterior:
        table.weights = probs.new_empty(NUM_MOVES * table.num_bases * table.num_columns, table.batch)
    unit = _unit(temperature)
    deletion = deletion_cost / unit
    if temperature is None:
        deletion = round(deletion * HARD_STEPS) / HARD_STEPS
    loss = _forward(table, deletion).mul_(unit).to(probs.dtype)  # [B]
    if table.weights is None:
        return AlignmentResult(loss)
    emitted = _backward_(table)  # [5, L, B]
    not_a_number = (loss - loss)[:, None, None]  # 0, or NaN where the loss is
    return AlignmentResult(
        loss,
        _gradient(columns, emitted) + not_a_number if gradient else None,
        _posterior(table) + not_a_number if posterior else None,
    )
