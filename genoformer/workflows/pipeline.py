"""The overlapping stages of `correct`: a reading thread, worker processes for pileups, batches for the model.

Molecules come out in the order of the input, whatever the number of workers, and windows of several molecules share a
batch. Batches have a fixed shape, so what a batch is filled with does not change a window's calls.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.prepare import Calls, PreparedMolecule

T = TypeVar("T")

_MAX_PENDING = 256  # molecules, most without windows for the model, that wait for a batch to fill


@dataclass
class StageSeconds:
    """Seconds that each stage worked, and that the model waited for windows."""

    read: float = 0.0
    pileup: float = 0.0
    model: float = 0.0
    model_waiting: float = 0.0
    write: float = 0.0
    streaming: float = 0.0  # from the first record read to the last one written


def prepared_molecules(
    items: Iterator[T],
    prepare: Callable[[T], PreparedMolecule],
    num_workers: int,
    max_waiting: int,
    seconds: StageSeconds,
) -> Generator[PreparedMolecule, None, None]:
    """Prepared molecules in input order; reading and preparing run ahead by at most `max_waiting` molecules.

    Args:
        prepare: picklable, as the items are.
    Raises:
        GenoformerError: from reading or preparing, or a worker process that died.
    """
    with contextlib.closing(ordered_map(prepare, _timed(items, seconds), num_workers, max_waiting)) as prepared:
        while True:
            began = time.perf_counter()
            molecule = next(prepared, None)
            if molecule is None:
                return
            seconds.model_waiting += time.perf_counter() - began
            seconds.pileup += molecule.seconds
            yield molecule


def _timed(items: Iterator[T], seconds: StageSeconds) -> Iterator[T]:
    while True:
        began = time.perf_counter()
        item = next(items, None)
        seconds.read += time.perf_counter() - began
        if item is None:
            return
        yield item


@dataclass
class _Pending:
    molecule: PreparedMolecule
    calls: Calls
    num_missing: int


@dataclass
class _Slot:
    """Windows first ... first + count of a molecule, in the batch from `at` on."""

    pending: _Pending
    first: int
    count: int
    at: int


@dataclass
class WindowBatches:
    """Packs the windows of molecules into batches of one shape and gives each molecule its calls.

    Args:
        predict: rows [B, R, L] int16 -> calls [B, L].
        shape: (B, R, L).
    """

    predict: Callable[[np.ndarray], Calls]
    shape: tuple[int, int, int]
    seconds: StageSeconds
    num_batches: int = 0
    _slots: list[_Slot] = field(default_factory=list)
    _pending: deque[_Pending] = field(default_factory=deque)
    _fill: int = 0

    def __post_init__(self) -> None:
        self._rows = np.zeros(self.shape, dtype=np.int16)

    def called(self, molecules: Iterator[PreparedMolecule]) -> Iterator[tuple[PreparedMolecule, Calls]]:
        """Molecules with their calls, in order."""
        for molecule in molecules:
            self._add(molecule)
            if len(self._pending) > _MAX_PENDING:
                self._run()
            yield from self._finished()
        self._run()
        yield from self._finished()

    def _add(self, molecule: PreparedMolecule) -> None:
        rows = molecule.rows
        if rows is None:  # the worker has voted
            assert molecule.calls is not None
            self._pending.append(_Pending(molecule, molecule.calls, 0))
            return
        shape = (len(rows), self.shape[2])
        waiting = replace(molecule, rows=None)  # they are copied below
        pending = _Pending(waiting, Calls(np.zeros(shape, np.uint8), np.zeros(shape, np.float32)), len(rows))
        self._pending.append(pending)
        first = 0
        while first < len(rows):
            count = min(len(rows) - first, self.shape[0] - self._fill)
            self._rows[self._fill : self._fill + count] = rows[first : first + count]
            self._slots.append(_Slot(pending, first, count, self._fill))
            first, self._fill = first + count, self._fill + count
            if self._fill == self.shape[0]:
                self._run()

    def _run(self) -> None:
        if not self._slots:
            return
        self._rows[self._fill :] = 0
        began = time.perf_counter()
        calls = self.predict(self._rows)
        self.seconds.model += time.perf_counter() - began
        self.num_batches += 1
        for slot in self._slots:
            here, there = slice(slot.first, slot.first + slot.count), slice(slot.at, slot.at + slot.count)
            slot.pending.calls.codes[here] = calls.codes[there]
            slot.pending.calls.error_prob[here] = calls.error_prob[there]
            slot.pending.num_missing -= slot.count
        self._slots.clear()
        self._fill = 0

    def _finished(self) -> Iterator[tuple[PreparedMolecule, Calls]]:
        while self._pending and self._pending[0].num_missing == 0:
            pending = self._pending.popleft()
            yield pending.molecule, pending.calls
