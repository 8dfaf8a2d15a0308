"""A function of arrays on several devices: a process for each, and every batch to one that is free.

Arrays go through shared memory. A device has two lanes, so that one batch is handed over while another is computed. A
single device needs no process: its function runs in a thread.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from genoformer.errors import GenoformerError
from genoformer.workflows.ordered_map import start_worker

Arrays = tuple[np.ndarray, ...]
Function = Callable[[np.ndarray], Arrays]

_LANES = 2
_GO = b"\0"


@dataclass(frozen=True)
class ArrayForm:
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike

    @property
    def num_bytes(self) -> int:
        """Size of the array in memory."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass
class DeviceUse:
    """What a device has done."""

    device: str
    batches: int = 0
    busy_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, seconds: float) -> None:
        """Counts a batch; from any thread."""
        with self._lock:
            self.batches += 1
            self.busy_seconds += seconds


class _Lane(Protocol):
    def run(self, batch: np.ndarray) -> Arrays: ...


class DevicePool:
    """Calls a function on whichever device is free.

    Args:
        load: device name -> the function there; picklable where there are several devices.
        devices: names, one for each process; the same name may come again.
        batch, results: what the function takes and gives, the same for each call.
    Raises:
        Whatever `load` raises, or GenoformerError where a process dies.
    """

    def __init__(
        self,
        load: Callable[[str], Function],
        devices: tuple[str, ...],
        batch: ArrayForm,
        results: tuple[ArrayForm, ...],
    ) -> None:
        self.use = [DeviceUse(device) for device in devices]
        self.num_lanes = 1 if len(devices) == 1 else _LANES * len(devices)
        self._threads = ThreadPoolExecutor(self.num_lanes, thread_name_prefix="device")
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        self._processes: list[_DeviceProcess] = []
        try:
            if len(devices) == 1:
                self._free.put(self._threads.submit(_InlineLane, load, self.use[0]).result())
            else:
                self._start_processes(load, (batch, *results))
        except BaseException:
            self.close()
            raise

    def _start_processes(self, load: Callable[[str], Function], forms: tuple[ArrayForm, ...]) -> None:
        self._processes = [_DeviceProcess(load, use, forms) for use in self.use]
        for process in self._processes:
            process.wait_until_ready()
        for number in range(_LANES):
            for process in self._processes:
                self._free.put(process.lanes[number])

    def submit(self, batch: np.ndarray) -> Future[Arrays]:
        """The results of a batch, to come; it must not change until then."""
        return self._threads.submit(self._run, batch)

    def _run(self, batch: np.ndarray) -> Arrays:
        lane = self._free.get()
        try:
            return lane.run(batch)
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """Ends all processes; batches that are not done are given up."""
        for process in self._processes:
            process.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> DevicePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


class _InlineLane:
    """The function in this process."""

    def __init__(self, load: Callable[[str], Function], use: DeviceUse) -> None:
        self._function, self._use = load(use.device), use

    def run(self, batch: np.ndarray) -> Arrays:
        began = time.perf_counter()
        results = self._function(batch)
        self._use.add(time.perf_counter() - began)
        return results


class _SharedArrays:
    """Arrays that two processes see; goes to the other one while that is started."""

    def __init__(self, context: Any, forms: tuple[ArrayForm, ...]) -> None:
        self._forms = forms
        self._memory = [context.RawArray("b", form.num_bytes) for form in forms]

    def arrays(self) -> list[np.ndarray]:
        return [
            np.frombuffer(memory, form.dtype).reshape(form.shape)
            for memory, form in zip(self._memory, self._forms, strict=True)
        ]


class _DeviceProcess:
    """A process that has the function on its device."""

    def __init__(self, load: Callable[[str], Function], use: DeviceUse, forms: tuple[ArrayForm, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = use.device
        pipes = [context.Pipe() for _ in range(_LANES)]
        shared = [_SharedArrays(context, forms) for _ in pipes]
        theirs = [there for _, there in pipes]
        self.process: BaseProcess = context.Process(
            target=_serve, args=(load, self.device, theirs, shared), daemon=True
        )
        _start_without_interrupts(self.process)
        for there in theirs:
            there.close()
        self.lanes = [
            _ProcessLane(self, here, arrays.arrays(), use) for (here, _), arrays in zip(pipes, shared, strict=True)
        ]

    def wait_until_ready(self) -> None:
        for lane in self.lanes:
            lane.receive()

    def died(self) -> GenoformerError:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return GenoformerError(
            f"the process of device {self.device} {how}; is there enough memory? Use smaller batches, and repeat the "
            "command with --resume"
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


class _ProcessLane:
    """One of the ways to a process: arrays that both sides see, and a pipe that says whose turn it is."""

    def __init__(
        self, process: _DeviceProcess, connection: Connection[Any, Any], arrays: list[np.ndarray], use: DeviceUse
    ) -> None:
        self._process, self._connection, self._use = process, connection, use
        self._batch, *self._results = arrays

    def run(self, batch: np.ndarray) -> Arrays:
        self._batch[...] = batch
        try:
            self._connection.send_bytes(_GO)
        except OSError:
            raise self._process.died() from None
        self._use.add(self.receive())
        return tuple(result.copy() for result in self._results)

    def receive(self) -> float:
        """What the process says: the seconds that it worked, or its error."""
        ready = wait_for([self._connection, self._process.process.sentinel])
        try:
            if self._connection not in ready:
                raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._process.died() from None
        if isinstance(answer, GenoformerError):
            raise answer
        return float(answer)


def _start_without_interrupts(process: BaseProcess) -> None:
    """Starts a process that leaves Ctrl-C to this one from its first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    load: Callable[[str], Function], device: str, connections: list[Connection[Any, Any]], shared: list[_SharedArrays]
) -> None:
    """What a device's process does: loads the function, then calls it for each batch until it is ended."""
    start_worker()
    try:
        function = load(device)
        arrays = {connection: each.arrays() for connection, each in zip(connections, shared, strict=True)}
        for connection in connections:
            connection.send(0.0)
        while True:
            for connection in cast("list[Connection[Any, Any]]", wait_for(connections)):
                connection.recv_bytes()
                began = time.perf_counter()
                batch, *results = arrays[connection]
                for result, found in zip(results, function(batch), strict=True):
                    result[...] = found
                connection.send(time.perf_counter() - began)
    except GenoformerError as error:
        for connection in connections:
            connection.send(error)
