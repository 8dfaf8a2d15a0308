"""What the tests and the benchmark of the alignment loss share: inputs, brute force, and the wavefront by autograd."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_PROB = 1e-7
TEMPERATURES = (None, 0.1, 1.0)
GOLDEN_CASES = [(temperature, deletion) for temperature in TEMPERATURES for deletion in (1.0, 10.0)]
GOLDEN_TOLERANCE = 2e-5
# (M, L): empty labels, single columns, odd and unequal lengths, the kernels' smallest block, one less and one more.
SHAPES = [(0, 3), (1, 1), (3, 1), (1, 4), (5, 7), (7, 5), (31, 33), (32, 32), (33, 31)]


def random_probs(batch: int, length: int, *, sharpness: float = 1.0, seed: int = 0) -> Tensor:
    """Predictions [B, L, 5], float64; a sharpness of 1 is like an untrained model, of 10 like a certain one."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, length, 5, generator=generator, dtype=torch.float64) * sharpness
    return logits.softmax(dim=-1)


def random_labels(batch: int, length: int, *, seed: int = 0) -> Tensor:
    """Labels [B, M] with gaps; the first four, if there are as many, are all gaps, all bases, one base, ragged."""
    generator = torch.Generator().manual_seed(seed + 1)
    bases = torch.randint(1, 5, (batch, length), generator=generator)
    labels = bases * (torch.rand(batch, length, generator=generator) > 0.15)
    if batch >= 4 and length:
        labels[0] = 0
        labels[1] = bases[1]
        labels[2] = 0
        labels[2, length // 2] = bases[2, length // 2]
        labels[3, length // 2 :] = 0
    return labels


def certain_probs(labels: Tensor, length: int, *, error: float, seed: int = 0) -> Tensor:
    """Predictions [B, L, 5], float64, that put 1 - error on the label's symbol, shuffled in a tenth of the columns."""
    generator = torch.Generator().manual_seed(seed + 2)
    symbols = F.pad(labels, (0, max(0, length - labels.shape[1])))[:, :length]
    noise = torch.randint(0, 5, symbols.shape, generator=generator)
    symbols = torch.where(torch.rand(symbols.shape, generator=generator) < 0.1, noise, symbols)
    return F.one_hot(symbols, 5).double() * (1 - 1.25 * error) + error / 4


def alignments(num_bases: int, num_columns: int) -> Iterator[list[tuple[int | None, int | None]]]:
    """Every alignment as (base, column) pairs; None stands for no base or no column."""
    if not num_bases and not num_columns:
        yield []
    if num_bases and num_columns:
        for start in alignments(num_bases - 1, num_columns - 1):
            yield [*start, (num_bases - 1, num_columns - 1)]
    if num_columns:
        for start in alignments(num_bases, num_columns - 1):
            yield [*start, (None, num_columns - 1)]
    if num_bases:
        for start in alignments(num_bases - 1, num_columns):
            yield [*start, (num_bases - 1, None)]


def brute_force(probs: Tensor, label: list[int], deletion: float, temperature: float | None) -> tuple[Tensor, Tensor]:
    """The loss of one example by listing all alignments, and the posterior [bases, L]; probs [L, 5], float64."""
    costs = -(probs / probs.sum(dim=-1, keepdim=True)).clamp(MIN_PROB, 1 - MIN_PROB).log()
    bases = [symbol for symbol in label if symbol]
    listed = list(alignments(len(bases), len(probs)))
    totals = []
    for alignment in listed:
        total = costs.new_zeros(())
        for base, column in alignment:
            total = total + (deletion if column is None else costs[column, 0 if base is None else bases[base]])
        totals.append(total)
    values = torch.stack(totals)
    if temperature is None:
        return values.min(), costs.new_full((len(bases), len(probs)), float("nan"))
    shares = (-values.detach() / temperature).softmax(dim=0)
    posterior = costs.new_zeros(len(bases), len(probs))
    for share, alignment in zip(shares, listed, strict=True):
        for base, column in alignment:
            if base is not None and column is not None:
                posterior[base, column] += share
    return -temperature * torch.logsumexp(-values / temperature, dim=0), posterior


def repeated_columns(length: int) -> Tensor:
    """A prediction [1, L, 5], float64, whose columns are of two kinds, so that many alignments cost the same."""
    kinds = torch.tensor([[0.7, 0.1, 0.1, 0.05, 0.05], [0.05, 0.8, 0.05, 0.05, 0.05]], dtype=torch.float64)
    return kinds[torch.arange(length) % 3 % 2][None]


def hard_posterior(probs: Tensor, label: list[int], deletion: float) -> Tensor:
    """The posterior under the minimum, [bases, L], from whole numbers, in which equal paths tie; probs [L, 5]."""
    costs = [[round(-math.log(prob) * 2**40) for prob in column] for column in probs.tolist()]
    bases, columns, deletion = [symbol for symbol in label if symbol], range(1, len(probs) + 1), round(deletion * 2**40)
    values = {(0, 0): 0} | {(i + 1, 0): (i + 1) * deletion for i in range(len(bases))}
    moves: dict[tuple[int, int], list[tuple[int, int]]] = {}  # where a cell's value comes from
    for j in columns:
        values[0, j] = values[0, j - 1] + costs[j - 1][0]
        for i, base in enumerate(bases, start=1):
            totals = {
                (i - 1, j - 1): values[i - 1, j - 1] + costs[j - 1][base],
                (i, j - 1): values[i, j - 1] + costs[j - 1][0],
                (i - 1, j): values[i - 1, j] + deletion,
            }
            values[i, j] = min(totals.values())
            moves[i, j] = [start for start, total in totals.items() if total == values[i, j]]
    visits = dict.fromkeys(values, 0.0) | {(len(bases), len(probs)): 1.0}
    posterior = torch.zeros(len(bases), len(probs), dtype=torch.float64)
    for i, j in sorted(moves, reverse=True):
        for start in moves[i, j]:
            share = visits[i, j] / len(moves[i, j])
            visits[start] += share
            if start == (i - 1, j - 1):
                posterior[i - 1, j - 1] = share
    return posterior


def _skewed(table: Tensor) -> tuple[Tensor, ...]:
    """The anti-diagonals of a table [M, L, B], each [M, B]: row i of number k is column k - i, or 0."""
    num_rows, num_columns, batch = table.shape
    padded = F.pad(table, (0, 0, 0, num_rows)).flatten(0, 1)  # [M (L + M), B]
    width = num_columns + num_rows - 1
    return padded[: num_rows * width].view(num_rows, width, batch).unbind(dim=1)


def wavefront_by_autograd(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> Tensor:
    """The loss of each example, [B], by anti-diagonals in torch operations that autograd differentiates.

    Source: DeepConsensus v1.2, `AlignmentLoss.alignment`, operation by operation.
    """
    outside = 1e9
    labels = torch.stack([torch.cat([row[row != 0], row[row == 0]]) for row in labels.long()]).t()  # [M, B]
    lengths = (labels != 0).sum(dim=0)
    costs = -(probs / probs.sum(dim=-1, keepdim=True)).clamp(MIN_PROB, 1 - MIN_PROB).log()
    costs = costs.permute(2, 1, 0)  # [5, L, B]
    num_bases, (_, num_columns, batch) = labels.shape[0], costs.shape
    substitution = costs[1]
    for symbol in (2, 3, 4):
        substitution = torch.where((labels == symbol)[:, None], costs[symbol], substitution)  # [M, L, B]
    substitutions = _skewed(substitution)
    insertions = _skewed(costs[0].expand(num_bases + 1, -1, -1))
    row = torch.arange(num_bases + 1)[:, None]
    infinite = costs.new_full((num_bases + 1, batch), outside)
    before = torch.where(row == 0, 0.0, infinite)
    previous = torch.where(row == 0, insertions[0], torch.where(row == 1, deletion_cost, infinite))
    ends = [previous[0]] * (num_columns == 1) + [previous[1]] * (num_columns == 0)
    for k in range(2, num_bases + num_columns + 1):
        moves = [before[:-1] + substitutions[k - 2], None, previous[:-1] + deletion_cost]
        inserted = previous + insertions[k - 1] if k <= len(insertions) else infinite
        moves[1] = inserted[1:]
        stacked = torch.stack(moves)
        if temperature is None:
            least = stacked.amin(dim=0)
        else:
            least = -temperature * torch.logsumexp(-stacked / temperature, dim=0)
        current = torch.cat([inserted[:1], least])
        current = torch.where((row <= k) & (k - row <= num_columns), current, outside)
        if k >= num_columns:
            ends.append(current[k - num_columns])
        before, previous = previous, current
    return torch.stack(ends).gather(0, lengths[None])[0]
