"""The overlapping stages of `correct`: a reading thread, worker processes for pileups, batches for the devices.

Molecules come out in the order of the input, whatever the number of workers, and windows of several molecules share a
batch. Batches have a fixed shape, so what a batch is filled with does not change a window's calls.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from genoformer.workflows.device_pool import Arrays
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.prepare import Calls, PreparedMolecule

T = TypeVar("T")

_MAX_PENDING = 256  # molecules, most without windows for the model, that wait for their batch to fill


@dataclass
class StageSeconds:
    """Seconds that each stage worked, and that the thread in the middle waited for each of its neighbours.

    Pileups and model add up over processes and devices. What `streaming` has beyond the waiting is that thread's own
    work: taking molecules over and packing their windows.
    """

    read: float = 0.0
    pileup: float = 0.0
    model: float = 0.0
    write: float = 0.0
    waiting_for_windows: float = 0.0
    waiting_for_model: float = 0.0
    waiting_for_writer: float = 0.0
    streaming: float = 0.0  # from the first record read to the last one written


@dataclass
class Depth:
    """How full a queue was, each time that the thread in the middle looked."""

    most: int = 0
    _total: int = 0
    _count: int = 0

    def see(self, depth: int) -> None:
        """Notes one look."""
        self.most = max(self.most, depth)
        self._total, self._count = self._total + depth, self._count + 1

    def summary(self) -> dict[str, float]:
        """The mean and the largest depth."""
        return {"mean": round(self._total / max(1, self._count), 2), "most": self.most}


@dataclass
class QueueDepths:
    """The queues between the stages: an empty one waits for what fills it, a full one for what empties it."""

    prepared_molecules: Depth = field(default_factory=Depth)
    batches_at_devices: Depth = field(default_factory=Depth)
    unwritten_molecules: Depth = field(default_factory=Depth)

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean and largest depth of each."""
        return {name: depth.summary() for name, depth in vars(self).items()}


@dataclass
class Flow:
    """What is measured while molecules stream."""

    seconds: StageSeconds = field(default_factory=StageSeconds)
    queues: QueueDepths = field(default_factory=QueueDepths)


def prepared_molecules(
    items: Iterator[T],
    prepare: Callable[[T], PreparedMolecule],
    num_workers: int,
    max_waiting: int,
    flow: Flow,
) -> Generator[PreparedMolecule, None, None]:
    """Prepared molecules in input order; reading and preparing run ahead by at most `max_waiting` molecules.

    Args:
        prepare: picklable, as the items are.
    Raises:
        GenoformerError: from reading or preparing, or a worker process that died.
    """
    seconds, see = flow.seconds, flow.queues.prepared_molecules.see
    results = ordered_map(prepare, _timed(items, seconds), num_workers, max_waiting, on_take=see)
    with contextlib.closing(results) as prepared:
        while True:
            began = time.perf_counter()
            molecule = next(prepared, None)
            if molecule is None:
                return
            seconds.waiting_for_windows += time.perf_counter() - began
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
class _Batch:
    """Windows at the model, and where their calls belong."""

    rows: np.ndarray
    slots: list[_Slot]
    calls: Future[Arrays]


@dataclass
class WindowBatches:
    """Packs the windows of molecules into batches of one shape and gives each molecule its calls.

    Args:
        submit: rows [B, R, L] int16 -> codes and error probabilities [B, L], to come; rows stay as they are until then.
        shape: (B, R, L).
        num_ahead: batches that the model may have at once.
    """

    submit: Callable[[np.ndarray], Future[Arrays]]
    shape: tuple[int, int, int]
    num_ahead: int
    flow: Flow
    num_batches: int = 0
    _slots: list[_Slot] = field(default_factory=list)
    _pending: deque[_Pending] = field(default_factory=deque)
    _batches: deque[_Batch] = field(default_factory=deque)
    _spare: list[np.ndarray] = field(default_factory=list)
    _fill: int = 0
    _num_waiting: int = 0  # molecules since the last batch

    def __post_init__(self) -> None:
        self._rows = np.zeros(self.shape, dtype=np.int16)

    def called(self, molecules: Iterator[PreparedMolecule]) -> Iterator[tuple[PreparedMolecule, Calls]]:
        """Molecules with their calls, in order."""
        for molecule in molecules:
            self._add(molecule)
            if self._num_waiting > _MAX_PENDING:
                self._run()
            yield from self._finished()
        self._run()
        while self._batches:
            self._take_oldest()
            yield from self._finished()
        yield from self._finished()

    def _add(self, molecule: PreparedMolecule) -> None:
        rows = molecule.rows
        self._num_waiting += 1
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
        """Hands the batch to the model, full or not, and begins another."""
        if not self._slots:
            return
        self._rows[self._fill :] = 0
        self.flow.queues.batches_at_devices.see(sum(not batch.calls.done() for batch in self._batches))
        self._batches.append(_Batch(self._rows, self._slots, self.submit(self._rows)))
        self._slots, self._fill, self._num_waiting = [], 0, 0
        self.num_batches += 1
        while len(self._batches) > self.num_ahead:
            self._take_oldest()
        self._rows = self._spare.pop() if self._spare else np.empty(self.shape, dtype=np.int16)

    def _take_oldest(self) -> None:
        batch = self._batches.popleft()
        began = time.perf_counter()
        codes, error_prob = batch.calls.result()
        self.flow.seconds.waiting_for_model += time.perf_counter() - began
        for slot in batch.slots:
            here, there = slice(slot.first, slot.first + slot.count), slice(slot.at, slot.at + slot.count)
            slot.pending.calls.codes[here] = codes[there]
            slot.pending.calls.error_prob[here] = error_prob[there]
            slot.pending.num_missing -= slot.count
        self._spare.append(batch.rows)

    def _finished(self) -> Iterator[tuple[PreparedMolecule, Calls]]:
        while self._batches and self._batches[0].calls.done():
            self._take_oldest()
        while self._pending and self._pending[0].num_missing == 0:
            pending = self._pending.popleft()
            yield pending.molecule, pending.calls
