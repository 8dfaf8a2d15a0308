"""The overlapping stages of `correct`: a reading thread, worker processes for pileups, batches for the model.

Molecules come out in the order of the input, whatever the number of workers, and windows of several molecules share a
batch. Batches have a fixed shape, so what a batch is filled with does not change a window's calls.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait as wait_for

import numpy as np

from genoformer.errors import GenoformerError
from genoformer.io.subreads import RawMolecule
from genoformer.workflows.prepare import Calls, PreparedMolecule, PrepareSettings, prepare_molecule

_POLL_SECONDS = 0.1
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


class _InlineExecutor(Executor):
    """Runs each call at once, in the thread that submits it."""

    def submit(self, fn: Callable, /, *args: object, **kwargs: object) -> Future:  # type: ignore[type-arg]
        future: Future = Future()  # type: ignore[type-arg]
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on through the future, as in a pool
            future.set_exception(error)
        return future


def _start_worker() -> None:
    """Leaves Ctrl-C to the main process, and ends with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            wait_for([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _executor(num_workers: int) -> Executor:
    if num_workers == 0:
        return _InlineExecutor()
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of torch and of the reader
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)


def prepared_molecules(
    raw: Iterator[RawMolecule], settings: PrepareSettings, num_workers: int, max_waiting: int, seconds: StageSeconds
) -> Generator[PreparedMolecule, None, None]:
    """Prepared molecules in input order; reading and preparing run ahead by at most `max_waiting` molecules.

    Raises:
        GenoformerError: from reading or preparing, or a worker process that died.
    """
    waiting: queue.Queue[Future[PreparedMolecule] | BaseException | None] = queue.Queue(max_waiting)
    stop = threading.Event()

    def put(item: Future[PreparedMolecule] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            while not stop.is_set():
                began = time.perf_counter()
                molecule = next(raw, None)
                seconds.read += time.perf_counter() - began
                if molecule is None:
                    break
                put(executor.submit(prepare_molecule, molecule, settings))
        except BaseException as error:  # noqa: BLE001 - raised again where the molecules are taken
            put(error)
        put(None)

    with _executor(num_workers) as executor:
        reader = threading.Thread(target=read, name="reader", daemon=True)
        reader.start()
        try:
            yield from _taken(waiting, seconds)
        finally:
            stop.set()
            reader.join()
            executor.shutdown(wait=True, cancel_futures=True)


def _taken(
    waiting: queue.Queue[Future[PreparedMolecule] | BaseException | None], seconds: StageSeconds
) -> Iterator[PreparedMolecule]:
    while True:
        began = time.perf_counter()
        item = waiting.get()
        if item is None:
            return
        try:
            if isinstance(item, BaseException):
                raise item
            molecule = item.result()
        except BrokenProcessPool:
            raise GenoformerError("a pileup process died; is there enough memory? Lower --batch-zmws") from None
        seconds.model_waiting += time.perf_counter() - began
        seconds.pileup += molecule.seconds
        yield molecule


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
