"""How every single edit of a template changes the likelihood of the passes that lie along it.

A pass is a walk through the lattice of template and read: a step along both reads a base, right or wrong; one along the
read inserts a base, one along the template deletes one. The likelihood of a pass is the sum over all walks. With the
sums over the walks to each point (forward) and from it (backward), the likelihood of a template with one base more,
less, or another one, needs a single new column in between: no walk is summed anew.

Stretches of templates and passes are done side by side as the last axis of all arrays, S of them, diagonal by diagonal.

Source: the idea is that of Quiver (Chin et al., Nature Methods 10:563, 2013), here with walks summed, odds by base and
single-state gaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from genoformer.genome.alphabet import NUM_PILEUP_CODES

LETTER_CODES = range(1, NUM_PILEUP_CODES)
NUM_EDITS = 1 + 2 * len(LETTER_CODES)

_SCALE = 1.6  # times every walk at every read base: usual sums stay near 1, within float32
_LEAST_LIKELIHOOD = 1e-30  # of a pass that still says something
_MAX_CHANGE = 8.0  # of ln(likelihood) by a pass: beyond, it is wrong in a way that the odds do not know


@dataclass(frozen=True)
class Stretches:
    """S pairs of a stretch of a template, at most W bases, and of a pass, at most R bases.

    `template` uint8 [W, S], without N, and `read` uint8 [R, S] hold pileup codes, then zeros; `template_length` and
    `read_length` [S] say how many of them count. `substitution`, `insertion` float32 [R, S] and `deletion` [5, S] are
    the odds of `ReadOdds`.
    """

    template: np.ndarray
    read: np.ndarray
    template_length: np.ndarray
    read_length: np.ndarray
    substitution: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray


def edit_scores(stretches: Stretches, first: int, count: int) -> np.ndarray:
    """Changes of ln(likelihood) of each pass by edits at C template bases, [NUM_EDITS, C, S].

    Edit 0 leaves the base out, 1 to 4 make it that code, 5 to 8 put code 1 to 4 before it. A change is 0 where there is
    no base, or where pass and template are too far apart to tell. The bases are `first` and those behind it, `count` of
    them or as many as the longest template has.
    """
    lattice = _Lattice(stretches)
    end = min(first + count, len(stretches.template))
    before, after = _columns(lattice.forward()), _columns(lattice.backward())
    likelihood = after[0, 0]
    before, here, beyond = before[first:end], after[first:end], after[first + 1 : end + 1]
    arrived = before.copy()  # without the walks that insert a base in this very column
    arrived[:, 1:] -= before[:, :-1] * lattice.insertion
    edited = np.concatenate([
        np.einsum("cis,cis->cs", arrived, beyond)[None],
        lattice.with_letter(before, beyond),
        lattice.with_letter(before, here),
    ])  # fmt: skip
    is_known = likelihood > _LEAST_LIKELIHOOD
    is_base = np.arange(first, end)[:, None] < stretches.template_length  # [C, S]
    ratio = edited / np.where(is_known, likelihood, 1)
    change = np.log(np.clip(ratio, math.exp(-_MAX_CHANGE), math.exp(_MAX_CHANGE)))
    return np.where(is_known & is_base, change, 0)


class _Lattice:
    """Sums over walks, kept as [k, i, S]: the point before read base i and template base j = k - i stands in row k.

    So a diagonal is a row, and each of the three steps into it comes from the row before or the one before that. Along
    a diagonal i rises and j falls: the template is kept reversed.
    """

    def __init__(self, stretches: Stretches) -> None:
        self.stretches = stretches
        self.num_template, self.num_read = len(stretches.template), len(stretches.read)
        self.reversed_template = stretches.template[::-1]
        self.reversed_deletion = np.take_along_axis(stretches.deletion, stretches.template, axis=0)[::-1]
        self.substitution, self.insertion = stretches.substitution * _SCALE, stretches.insertion * _SCALE
        self.pairing = [self._pairing(*self._pairs(k), k) for k in range(self.num_template + self.num_read - 1)]

    def _zeros(self) -> np.ndarray:
        num_diagonals = self.num_template + self.num_read + 1
        return np.zeros((num_diagonals + 1, self.num_read + 2, self.stretches.template.shape[1]), np.float32)

    def _template(self, k: int, first: int, end: int) -> slice:
        """Of the reversed template, the bases j = k - i of i in [first, end)."""
        return slice(self.num_template - 1 - k + first, self.num_template - 1 - k + end)

    def _pairs(self, k: int) -> tuple[int, int]:
        """The read bases i, [first, end), for which there is a template base k - i."""
        return max(0, k - self.num_template + 1), min(self.num_read - 1, k) + 1

    def _pairing(self, first: int, end: int, k: int) -> np.ndarray:
        """Odds of reading template base k - i as read base i, for i in [first, end)."""
        is_equal = self.reversed_template[self._template(k, first, end)] == self.stretches.read[first:end]
        return np.where(is_equal, np.float32(_SCALE), self.substitution[first:end])

    def forward(self) -> np.ndarray:
        """Sums over the walks from the start to each point."""
        sums = self._zeros()
        sums[0, 0] = 1
        for k in range(1, self.num_template + self.num_read + 1):
            first, end = max(0, k - self.num_template), min(self.num_read, k - 1) + 1
            sums[k, first:end] = sums[k - 1, first:end] * self.reversed_deletion[self._template(k - 1, first, end)]
            end = min(self.num_read, k)
            below = max(first - 1, 0)
            sums[k, below + 1 : end + 1] += sums[k - 1, below:end] * self.insertion[below:end]
            if k > 1:
                first, end = self._pairs(k - 2)
                sums[k, first + 1 : end + 1] += sums[k - 2, first:end] * self.pairing[k - 2]
        return sums

    def backward(self) -> np.ndarray:
        """Sums over the walks from each point to the end."""
        sums = self._zeros()
        last = self.stretches.template_length + self.stretches.read_length
        by_end = np.argsort(last, kind="stable").tolist()
        for k in range(self.num_template + self.num_read, -1, -1):
            if k < self.num_template + self.num_read:
                first, end = max(0, k - self.num_template + 1), min(self.num_read, k) + 1
                sums[k, first:end] = sums[k + 1, first:end] * self.reversed_deletion[self._template(k, first, end)]
                below, end = max(0, k - self.num_template), min(self.num_read - 1, k) + 1
                sums[k, below:end] += sums[k + 1, below + 1 : end + 1] * self.insertion[below:end]
            if k < len(self.pairing):
                first, end = self._pairs(k)
                sums[k, first:end] += sums[k + 2, first + 1 : end + 1] * self.pairing[k]
            while by_end and last[by_end[-1]] == k:
                which = by_end.pop()
                sums[k, self.stretches.read_length[which], which] = 1
        return sums

    def with_letter(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Sums over the walks through a new template base between the columns, for each letter, [4, C, S]."""
        paired, passed_over = before[:, :-1] * after[:, 1:], np.einsum("cis,cis->cs", before, after)
        wrong = np.einsum("cis,is->cs", paired, self.substitution)
        gain = _SCALE - self.substitution
        return np.stack([
            wrong + passed_over * self.stretches.deletion[code]
            + np.einsum("cis,is->cs", paired, gain * (self.stretches.read == code))
            for code in LETTER_CODES
        ])  # fmt: skip


def _columns(sums: np.ndarray) -> np.ndarray:
    """The sums by column of the template, [j, i, S], without a copy."""
    num_diagonals, num_rows, num_stretches = sums.shape
    along_k, along_i, along_stretches = sums.strides
    shape = (num_diagonals - num_rows + 1, num_rows - 1, num_stretches)
    return as_strided(sums, shape, (along_k, along_k + along_i, along_stretches), writeable=False)
