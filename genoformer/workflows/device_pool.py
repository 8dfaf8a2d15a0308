"""A function on several devices: a process for each, and every item to one that is free.

Arrays whose form is known go through shared memory, all else through a pipe. A device has two lanes, so that one item
is handed over while another is computed. A single device needs no process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from genoformer.errors import GenoformerError
from genoformer.workflows.ordered_map import InlineExecutor, start_worker

T = TypeVar("T")
R = TypeVar("R")
Arrays = tuple[np.ndarray, ...]
Load = Callable[[str], contextlib.AbstractContextManager[Callable[[T], R]]]

_LANES = 2


@dataclass(frozen=True)
class ArrayForm:
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike

    @property
    def num_bytes(self) -> int:
        """Size of the array in memory."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class Forms(NamedTuple):
    """What a function of an array takes and gives, the same for each call."""

    item: ArrayForm
    results: tuple[ArrayForm, ...]


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

    def facts(self, streaming: float) -> dict[str, Any]:
        """What a summary says of it; `streaming`: seconds in which it could have worked."""
        return {
            "device": self.device,
            "batches": self.batches,
            "busy_seconds": round(self.busy_seconds, 3),
            "busy": round(self.busy_seconds / streaming, 3) if streaming else 0.0,
        }


class DevicePool(Generic[T, R]):
    """Calls a function on whichever device is free.

    Args:
        load: device name -> a context in which the function is there; picklable where there are several devices.
        devices: names, one for each process; the same name may come again.
        forms: of a function of an array; None: what it takes and gives is anything picklable.
        in_thread: a single device has a thread of its own; else whoever submits an item waits, and Ctrl-C ends it.
    Raises:
        Whatever `load` raises, or GenoformerError where a process dies.
    """

    def __init__(
        self, load: Load[T, R], devices: tuple[str, ...], forms: Forms | None = None, *, in_thread: bool = True
    ) -> None:
        self.use = [DeviceUse(device) for device in devices]
        self.num_lanes = 1 if len(devices) == 1 else _LANES * len(devices)
        has_threads = in_thread or len(devices) > 1
        self._threads: Executor = (
            ThreadPoolExecutor(self.num_lanes, thread_name_prefix="device") if has_threads else InlineExecutor()
        )
        self._free: queue.SimpleQueue[Callable[[T], R]] = queue.SimpleQueue()
        self._inline = contextlib.ExitStack()
        self._processes: list[_DeviceProcess] = []
        try:
            if len(devices) == 1:
                self._threads.submit(self._load_inline, load).result()
            else:
                self._start_processes(load, forms)
        except BaseException:
            self.close()
            raise

    def _load_inline(self, load: Load[T, R]) -> None:
        use = self.use[0]
        self._free.put(_InlineLane(self._inline.enter_context(load(use.device)), use).run)

    def _start_processes(self, load: Load[T, R], forms: Forms | None) -> None:
        self._processes = [_DeviceProcess(load, use, forms) for use in self.use]
        for process in self._processes:
            process.wait_until_ready()
        for number in range(_LANES):
            for process in self._processes:
                self._free.put(process.lanes[number].run)

    def submit(self, item: T) -> Future[R]:
        """The result of an item, to come; the item must not change until then."""
        return self._threads.submit(self._run, item)

    def _run(self, item: T) -> R:
        run = self._free.get()
        try:
            return run(item)
        finally:
            self._free.put(run)

    def close(self) -> None:
        """Ends all processes; items that are not done are given up."""
        for process in self._processes:
            process.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._inline.close()

    def __enter__(self) -> DevicePool[T, R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


class _InlineLane(Generic[T, R]):
    """The function in this process."""

    def __init__(self, function: Callable[[T], R], use: DeviceUse) -> None:
        self._function, self._use = function, use

    def run(self, item: T) -> R:
        began = time.perf_counter()
        result = self._function(item)
        self._use.add(time.perf_counter() - began)
        return result


class _Parcel:
    """Values on their way to another process: a message, or arrays in memory that both processes see.

    It goes to the other process while that is started.
    """

    def __init__(self, context: Any, forms: tuple[ArrayForm, ...] | None) -> None:
        self._forms = forms or ()
        self._memory = [context.RawArray("b", form.num_bytes) for form in self._forms]

    def pack(self, values: Any) -> Any:
        """The message."""
        if not self._forms:
            return values
        for array, value in zip(self._arrays(), values, strict=True):
            array[...] = value
        return None

    def unpack(self, message: Any, *, keep: bool) -> Any:
        """The values of a message; `keep`: also when the next ones are packed."""
        if not self._forms:
            return message
        return tuple(array.copy() if keep else array for array in self._arrays())

    def _arrays(self) -> list[np.ndarray]:
        return [
            np.frombuffer(memory, form.dtype).reshape(form.shape)
            for memory, form in zip(self._memory, self._forms, strict=True)
        ]


class _Parcels(NamedTuple):
    """What goes to a process and what comes back."""

    item: _Parcel
    results: _Parcel


class _DeviceProcess:
    """A process that has the function on its device."""

    def __init__(self, load: Load[Any, Any], use: DeviceUse, forms: Forms | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = use.device
        pipes = [context.Pipe() for _ in range(_LANES)]
        parcels = [
            _Parcels(_Parcel(context, forms and (forms.item,)), _Parcel(context, forms and forms.results))
            for _ in pipes
        ]
        theirs = [there for _, there in pipes]
        self.process: BaseProcess = context.Process(
            target=_serve, args=(load, self.device, theirs, parcels), daemon=True
        )
        _start_without_interrupts(self.process)
        for there in theirs:
            there.close()
        self.lanes = [_ProcessLane(self, here, each, use) for (here, _), each in zip(pipes, parcels, strict=True)]

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
    """One of the ways to a process: a pipe that says whose turn it is, and what goes through it or beside it."""

    def __init__(
        self, process: _DeviceProcess, connection: Connection[Any, Any], parcels: _Parcels, use: DeviceUse
    ) -> None:
        self._process, self._connection, self._parcels, self._use = process, connection, parcels, use

    def run(self, item: Any) -> Any:
        message = self._parcels.item.pack((item,))
        try:
            self._connection.send(message)
        except OSError:
            raise self._process.died() from None
        seconds, answer = self.receive()
        self._use.add(seconds)
        return self._parcels.results.unpack(answer, keep=True)

    def receive(self) -> tuple[float, Any]:
        """What the process says: the seconds that it worked and a message, or its error."""
        ready = wait_for([self._connection, self._process.process.sentinel])
        try:
            if self._connection not in ready:
                raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._process.died() from None
        if isinstance(answer, GenoformerError):
            raise answer
        return cast("tuple[float, Any]", answer)


def _start_without_interrupts(process: BaseProcess) -> None:
    """Starts a process that leaves Ctrl-C to this one from its first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(load: Load[Any, Any], device: str, connections: list[Connection[Any, Any]], parcels: list[_Parcels]) -> None:
    """What a device's process does: loads the function, then calls it for each item until it is ended."""
    start_worker()
    try:
        with load(device) as function:
            of_lane = dict(zip(connections, parcels, strict=True))
            for connection in connections:
                connection.send((0.0, None))
            while True:
                for connection in cast("list[Connection[Any, Any]]", wait_for(connections)):
                    item, results = of_lane[connection]
                    (given,) = item.unpack(connection.recv(), keep=False)
                    began = time.perf_counter()
                    found = function(given)
                    seconds = time.perf_counter() - began
                    connection.send((seconds, results.pack(found)))
    except GenoformerError as error:
        for connection in connections:
            connection.send(error)
