"""The errors and kinetics of aligned reads, counted: what the tables of an error model are estimated from.

Only gaps to the left are counted right: of a homopolymer, one is then always in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from genoformer.genome.aligned_columns import GAP_CODE, AlignedColumns
from genoformer.genome.error_model import (
    AFTER_DELETION,
    COPIED,
    CORRECT,
    MAX_CODE,
    MAX_LENGTH,
    MAX_RUN,
    RANDOM,
    SPREAD_WINDOW_BP,
    SUBSTITUTED,
    run_lengths,
)

MERGE_RUN_BP = (2, 5)  # homopolymers in which merged pulses are looked for


@dataclass(frozen=True)
class ReadRates:
    """One read: template bases, events by kind [3], their counts by window [windows, 3], mean PW and IP where known."""

    zmw: str
    num_bases: int
    events: np.ndarray
    windows: np.ndarray
    kinetics: np.ndarray | None
    sn: np.ndarray | None
    base_deletions: np.ndarray  # [base, (missed, all)]


@dataclass(frozen=True)
class ErrorCounts:
    """Counts over reads; `[base, run]` and the like as in `ErrorModel`. `add_read_` changes them in place."""

    run_bases: np.ndarray = field(default_factory=partial(np.zeros, (4, MAX_RUN)))
    run_missed: np.ndarray = field(default_factory=partial(np.zeros, (4, MAX_RUN)))
    run_copies: np.ndarray = field(default_factory=partial(np.zeros, (4, MAX_RUN)))
    lone_bases: np.ndarray = field(default_factory=partial(np.zeros, (4, 4)))
    lone_missed: np.ndarray = field(default_factory=partial(np.zeros, (4, 4)))
    read_as: np.ndarray = field(default_factory=partial(np.zeros, (4, 4, 4)))
    between: np.ndarray = field(default_factory=partial(np.zeros, (4, 4)))
    inserted_between: np.ndarray = field(default_factory=partial(np.zeros, (4, 4)))
    other_letters: np.ndarray = field(default_factory=partial(np.zeros, (4, 4, 4)))  # [base before, base, letter]
    insertion_lengths: np.ndarray = field(default_factory=partial(np.zeros, MAX_LENGTH))
    long_insertions: np.ndarray = field(
        default_factory=partial(np.zeros, 2)
    )  # of at least MAX_LENGTH bases: bases, insertions
    pairs_inserted: np.ndarray = field(
        default_factory=partial(np.zeros, 2)
    )  # insertions of two letters: of one kind, all
    short_runs: np.ndarray = field(
        default_factory=partial(np.zeros, (4, 3))
    )  # homopolymers with one base missing: sum of PW, bases read, homopolymers
    pw: np.ndarray = field(default_factory=partial(np.zeros, (4, 4, MAX_CODE + 1)))  # [kind, base, code]
    ip: np.ndarray = field(default_factory=partial(np.zeros, (5, 4, MAX_CODE + 1)))
    reads: list[ReadRates] = field(default_factory=list)

    def add_read_(self, columns: AlignedColumns, zmw: str, sn: np.ndarray | None) -> None:
        """Adds a read that begins and ends with a match.

        Args:
            columns: as sequenced; kinetics all known or all unknown.
            zmw: which reads share a ZMW.
            sn: signal-to-noise of the channels A, C, G, T.
        """
        read = _Read.of(columns)
        self._add_bases_(read)
        self._add_insertions_(read)
        has_kinetics = bool((columns.kinetics >= 0).any())
        if has_kinetics:
            self._add_kinetics_(read)
        self.reads.append(_rates(read, zmw, sn, has_kinetics))

    def _add_bases_(self, read: _Read) -> None:
        bases, before, run_class = read.bases, read.before, read.run_class
        is_missed = read.read_bases == GAP_CODE
        np.add.at(self.run_bases, (bases, run_class), 1)
        np.add.at(self.run_missed, (bases[is_missed], run_class[is_missed]), 1)
        lone = np.flatnonzero(run_class == 0)
        lone = lone[lone > 0]
        np.add.at(self.lone_bases, (before[lone], bases[lone]), 1)
        missed = lone[is_missed[lone]]
        np.add.at(self.lone_missed, (before[missed], bases[missed]), 1)
        kept = np.flatnonzero(read.read_bases < GAP_CODE)
        np.add.at(self.read_as, (before[kept], bases[kept], read.read_bases[kept]), 1)

    def _add_insertions_(self, read: _Read) -> None:
        np.add.at(self.between, (read.before[1:], read.bases[1:]), 1)
        at = np.flatnonzero(read.num_inserted)
        length, base, before = read.num_inserted[at], read.bases[at], read.before[at]
        adjacent = read.columns.read[read.column[at] - 1]
        is_copy = adjacent == base
        np.add.at(self.run_copies, (base[is_copy], read.run_class[at][is_copy]), 1)
        np.add.at(self.inserted_between, (before[~is_copy], base[~is_copy]), 1)
        np.add.at(self.insertion_lengths, np.minimum(length, MAX_LENGTH) - 1, 1)
        self.long_insertions[:] += length[length >= MAX_LENGTH].sum(), (length >= MAX_LENGTH).sum()
        other = (length == 1) & ~is_copy & (adjacent != before) & (adjacent < GAP_CODE)
        np.add.at(self.other_letters, (before[other], base[other], adjacent[other]), 1)
        two = length == 2
        further = read.columns.read[read.column[at[two]] - 2]
        self.pairs_inserted[:] += ((further == base[two]) == is_copy[two]).sum(), two.sum()

    def _add_kinetics_(self, read: _Read) -> None:
        kind, columns = read.kinds(), read.columns
        at = np.flatnonzero(columns.read < GAP_CODE)
        plain = np.where(kind[at] == AFTER_DELETION, CORRECT, kind[at])
        np.add.at(self.pw, (plain, columns.read[at], columns.kinetics[0, at]), 1)
        np.add.at(self.ip, (kind[at], columns.read[at], columns.kinetics[1, at]), 1)
        self._add_short_runs_(read)

    def _add_short_runs_(self, read: _Read) -> None:
        first = np.flatnonzero(np.diff(read.bases, prepend=-1))
        length = np.diff(first, append=len(read.bases))
        is_match, is_missed = read.read_bases == read.bases, read.read_bases == GAP_CODE
        matches, missed, insertions = (
            np.add.reduceat(values.astype(np.int64), first) for values in (is_match, is_missed, read.num_inserted)
        )
        pw = np.add.reduceat(np.where(is_match, read.columns.kinetics[0, read.column], 0).astype(np.int64), first)
        least, most = MERGE_RUN_BP
        is_short = (matches == length - 1) & (missed == 1) & (insertions == 0) & (least <= length) & (length <= most)
        at = np.flatnonzero(is_short)
        values = np.stack([pw[at], matches[at], np.ones(len(at))], axis=1)
        np.add.at(self.short_runs, read.bases[first[at]], values)


@dataclass(frozen=True)
class _Read:
    """A read by template base, each [n]: `column`, `bases` and what was read of them, letters inserted before."""

    columns: AlignedColumns
    column: np.ndarray
    bases: np.ndarray
    before: np.ndarray
    run_class: np.ndarray
    read_bases: np.ndarray
    num_inserted: np.ndarray

    @classmethod
    def of(cls, columns: AlignedColumns) -> _Read:
        column = np.flatnonzero(columns.template != GAP_CODE)
        bases = columns.template[column].astype(np.int64)
        return cls(
            columns, column, bases, np.concatenate([bases[:1], bases[:-1]]),
            np.minimum(run_lengths(bases), MAX_RUN) - 1, columns.read[column], np.diff(column, prepend=-1) - 1,
        )  # fmt: skip

    def kinds(self) -> np.ndarray:
        """Kind of each column's read base, int64; those of gaps mean nothing."""
        template, read = self.columns.template, self.columns.read
        kind = np.where(template == read, CORRECT, SUBSTITUTED).astype(np.int64)
        at = np.flatnonzero(template == GAP_CODE)
        following = np.searchsorted(self.column, at)
        is_copy = (read[at] == self.bases[following]) | (read[at] == self.before[following])
        kind[at] = np.where(is_copy, COPIED, RANDOM)
        partner = self.column[(self.num_inserted == 1) & (self.read_bases == self.bases)]
        kind[partner[read[partner - 1] == read[partner]]] = COPIED
        kind[self._after_lone_deletions()] = AFTER_DELETION
        return kind

    def _after_lone_deletions(self) -> np.ndarray:
        template, read = self.columns.template, self.columns.read
        at = np.flatnonzero(read == GAP_CODE)
        is_lone = (template[at - 1] == read[at - 1]) & (template[at + 1] == read[at + 1])
        is_lone &= (template[at - 1] != template[at]) & (template[at + 1] != template[at])
        return at[is_lone] + 1


def _rates(read: _Read, zmw: str, sn: np.ndarray | None, has_kinetics: bool) -> ReadRates:
    is_missed = read.read_bases == GAP_CODE
    is_event = np.stack([(read.read_bases != read.bases) & ~is_missed, read.num_inserted > 0, is_missed], axis=1)
    num_windows = len(read.bases) // SPREAD_WINDOW_BP
    whole = is_event[: num_windows * SPREAD_WINDOW_BP].reshape(num_windows, SPREAD_WINDOW_BP, 3)
    correct = read.column[read.read_bases == read.bases]
    kinetics = read.columns.kinetics[:, correct].mean(axis=1) if has_kinetics else None
    deletions = np.stack([np.bincount(bases, minlength=4) for bases in (read.bases[is_missed], read.bases)], axis=1)
    return ReadRates(zmw, len(read.bases), is_event.sum(axis=0), whole.sum(axis=1), kinetics, sn, deletions)
