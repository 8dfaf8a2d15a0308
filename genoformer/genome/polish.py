"""A template corrected by the passes that lie along it, until no single edit makes them likelier.

Each round scores every edit of every base (`edit_scores`) in stretches of the template, makes those that gain, the best
first and none near another, and scores anew what lies around them. What the remaining edits would lose says how sure
each base is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genoformer.genome.edit_scores import LETTER_CODES, NUM_EDITS, Stretches, edit_scores
from genoformer.genome.read_odds import ReadOdds

CORE_BP, FLANK_BP = 40, 10  # of a stretch: what is scored, and what keeps its ends away
_LEAST_LENGTH, _MOST_LENGTH = 0.5, 1.5  # of a pass by the template's; a stretch with fewer or more does not count
_STRETCHES_AT_ONCE = 256  # so many lattices stay in a core's cache
_SPACING_BP = 8  # between the edits of a round
_LEAST_GAIN = 0.1
_MAX_ROUNDS = 10

# The odds are rough, and wrong alike for all passes: with these two, drafts of six real molecules (75 kb, 163 errors)
# have about as many errors at each quality as it says.
_EVIDENCE_WEIGHT = 0.7
_LEAST_ERROR_PROB = 1e-4

_DELETE = 0
_FIRST_INSERT = 1 + len(LETTER_CODES)


@dataclass(frozen=True)
class PlacedPass:
    """A pass along a template of n bases.

    `codes` are its bases along the template, `odds` their odds. Before template base j it has read `place[j]` of them,
    int64 [n + 1]; it covers the template from `start` to `end`.
    """

    codes: np.ndarray
    odds: ReadOdds
    place: np.ndarray
    start: int
    end: int


@dataclass(frozen=True)
class Polished:
    """A corrected template: `codes` uint8 [n], `error_prob` float64 [n], and how many edits it took."""

    codes: np.ndarray
    error_prob: np.ndarray
    num_edits: int


def polish(template: np.ndarray, passes: Sequence[PlacedPass]) -> Polished:
    """The template with every edit made that the passes ask for.

    Args:
        template: pileup codes without N, uint8 [n], at least one.
        passes: at least one.
    """
    state = _State.of(template, passes)
    state.score_()
    num_edits = 0
    for _ in range(_MAX_ROUNDS):
        edits = state.best_edits()
        if not edits:
            break
        state.apply_(edits)
        state.score_()
        num_edits += len(edits)
    return Polished(state.template, state.error_prob(), num_edits)


@dataclass
class _State:
    """P passes end to end along a template of n bases, and what each edit would change, summed over passes.

    `codes`, `substitution`, `insertion` hold all passes in a row, pass p from `offset[p]`; `deletion` [P, 5];
    `place` [P, n + 1]; `covered` [P, 2]; `scores` [NUM_EDITS, n]; `is_stale` [n]: edited since it was scored.
    """

    template: np.ndarray
    codes: np.ndarray
    substitution: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray
    offset: np.ndarray
    place: np.ndarray
    covered: np.ndarray
    scores: np.ndarray
    is_stale: np.ndarray

    @classmethod
    def of(cls, template: np.ndarray, passes: Sequence[PlacedPass]) -> _State:
        lengths = [len(one.codes) for one in passes]
        return cls(
            template,
            np.concatenate([one.codes for one in passes]),
            np.concatenate([one.odds.substitution for one in passes]),
            np.concatenate([one.odds.insertion for one in passes]),
            np.stack([one.odds.deletion for one in passes]),
            np.cumsum([0, *lengths[:-1]]),
            np.stack([one.place for one in passes]),
            np.array([(one.start, one.end) for one in passes]),
            np.zeros((NUM_EDITS, len(template))),
            np.ones(len(template), dtype=bool),
        )

    def score_(self) -> None:
        """Scores the stretches that have changed."""
        first = np.arange(0, len(self.template), CORE_BP)
        start, end = np.maximum(first - FLANK_BP, 0), np.minimum(first + CORE_BP + FLANK_BP, len(self.template))
        num_stale = np.concatenate([[0], self.is_stale.cumsum()])
        chosen = np.flatnonzero(num_stale[end] > num_stale[start])
        total = np.zeros((len(first), NUM_EDITS, CORE_BP))
        for is_head in (True, False):  # the first stretch has no flank before its core
            stretch, which = self._in_stretches(start, end, chosen[(chosen == 0) == is_head])
            for at in range(0, len(stretch), _STRETCHES_AT_ONCE):
                batch = slice(at, at + _STRETCHES_AT_ONCE)
                stretches = self._stretches(which[batch], start[stretch[batch]], end[stretch[batch]])
                scores = edit_scores(stretches, 0 if is_head else FLANK_BP, CORE_BP)
                order = np.argsort(stretch[batch], kind="stable")
                owner, at_first = np.unique(stretch[batch][order], return_index=True)
                summed = np.add.reduceat(scores[:, :, order], at_first, axis=2, dtype=np.float64)
                total[owner, :, : scores.shape[1]] += summed.transpose(2, 0, 1)
        for index in chosen.tolist():
            core = slice(index * CORE_BP, min((index + 1) * CORE_BP, len(self.template)))
            self.scores[:, core] = total[index, :, : core.stop - core.start]
        self.is_stale[:] = False

    def _in_stretches(self, start: np.ndarray, end: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of chosen stretch and pass that covers it, in the order of the pass' length there."""
        start, end = start[chosen], end[chosen]
        slack_left, slack_right = (start == 0) * FLANK_BP, (end == len(self.template)) * FLANK_BP
        num_read = self.place[:, end] - self.place[:, start]  # [P, chosen]
        counts = (self.covered[:, :1] <= start + slack_left) & (self.covered[:, 1:] >= end - slack_right)
        counts &= (num_read >= _LEAST_LENGTH * (end - start)) & (num_read <= _MOST_LENGTH * (end - start))
        which, index = np.nonzero(counts & (num_read > 0))
        order = np.argsort(num_read[which, index], kind="stable")
        return chosen[index[order]], which[order]

    def _stretches(self, which: np.ndarray, start: np.ndarray, end: np.ndarray) -> Stretches:
        read_start, read_end = self.place[which, start], self.place[which, end]
        template, is_template = _gathered(start, end)
        read, is_read = _gathered(self.offset[which] + read_start, self.offset[which] + read_end)
        return Stretches(
            np.where(is_template, self.template[template], 0).astype(np.uint8),
            np.where(is_read, self.codes[read], 0).astype(np.uint8),
            end - start,
            read_end - read_start,
            self.substitution[read] * is_read,
            self.insertion[read] * is_read,
            np.ascontiguousarray(self.deletion[which].T),
        )

    def best_edits(self) -> list[tuple[int, int]]:
        """(Base, edit) of the edits of a round, by base: those that gain most, each away from the others."""
        edit, base = np.nonzero((self.scores > _LEAST_GAIN) & self._is_first_of_equals())
        run_end = _run_ends(self.template)
        is_taken = np.zeros(len(self.template), dtype=bool)
        chosen = []
        for index in np.lexsort((edit, base, -self.scores[edit, base])).tolist():
            kind, first = int(edit[index]), int(base[index])
            changes_run = kind == _DELETE or kind - _FIRST_INSERT + 1 == self.template[first]
            end = int(run_end[first]) if changes_run else first + 1
            if not is_taken[max(0, first - _SPACING_BP) : end + _SPACING_BP].any():
                is_taken[first:end] = True
                chosen.append((first, kind))
        return sorted(chosen)

    def _is_first_of_equals(self) -> np.ndarray:
        """Whether an edit is the leftmost of those with one outcome, which it is unless it prolongs the run before."""
        before = np.concatenate([[0], self.template[:-1]])
        letter = np.array([0, *LETTER_CODES, *LETTER_CODES])[:, None]
        is_first = letter != before
        is_first[_DELETE] = self.template != before
        is_first[_DELETE + 1 : _FIRST_INSERT] = letter[_DELETE + 1 : _FIRST_INSERT] != self.template
        return is_first

    def apply_(self, edits: list[tuple[int, int]]) -> None:
        """Makes the edits; the scores move along."""
        base, edit = np.array(edits).T
        copies = np.ones(len(self.template), dtype=np.int64)
        copies[base[edit == _DELETE]] = 0
        copies[base[edit >= _FIRST_INSERT]] = 2
        origin = np.repeat(np.arange(len(self.template)), copies)
        at = np.searchsorted(origin, base)
        template, is_stale = self.template[origin], np.zeros(len(origin), dtype=bool)
        is_new = edit != _DELETE
        template[at[is_new]] = (edit[is_new] - 1) % len(LETTER_CODES) + 1
        is_stale[np.clip([at - 1, at, at + 1], 0, len(origin) - 1)] = True
        begin = self.place[:, 0].copy()
        self.place = self.place[:, np.append(origin, len(self.template))]
        self.place[:, 0] = begin  # without its first base the template still begins where the passes do
        self.covered = np.searchsorted(origin, self.covered)
        self.scores = self.scores[:, origin]
        self.template, self.is_stale = template, is_stale

    def error_prob(self) -> np.ndarray:
        """Probability that a base is wrong or one is missing before it, [n]."""
        odds = np.where(self._is_first_of_equals(), np.exp(_EVIDENCE_WEIGHT * self.scores), 0).sum(axis=0)
        return np.maximum(odds / (1 + odds), _LEAST_ERROR_PROB)


def _gathered(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices start ... end of each column, and which of them are within it, both [longest, columns]."""
    within = np.arange(int((end - start).max()))[:, None]
    is_within = within < end - start
    return np.where(is_within, start + within, 0), is_within


def _run_ends(codes: np.ndarray) -> np.ndarray:
    """Where the homopolymer that each base stands in ends, [n]."""
    last = np.flatnonzero(np.diff(codes.astype(np.int16), append=-1))
    return np.repeat(last + 1, np.diff(last, prepend=-1))
