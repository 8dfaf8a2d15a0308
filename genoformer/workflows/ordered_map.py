"""A function over a stream of items in worker processes: results in the order of the items, bounded in memory.

A thread takes the items, so that reading runs ahead of whoever consumes the results.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from genoformer.errors import GenoformerError

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1


def ordered_map(
    function: Callable[[T], R],
    items: Iterator[T],
    num_workers: int,
    max_waiting: int,
    in_threads: bool = False,
    on_take: Callable[[int], None] | None = None,
) -> Generator[R, None, None]:
    """function(item) of each item, in order; at most `max_waiting` of them run ahead.

    Args:
        function: picklable, and importable where `num_workers` is not 0.
        num_workers: processes; 0 calls the function in the thread that takes the items.
        in_threads: threads in place of processes, for a function that leaves Python's lock and shares what is large.
        on_take: is told before each result how many stand ready.
    Raises:
        GenoformerError: a worker process died.
        Whatever taking an item or the function raises.
    """
    waiting: queue.Queue[Future[R] | BaseException | None] = queue.Queue(max_waiting)
    stop = threading.Event()

    def put(entry: Future[R] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def take_items() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # the workers inherit it: Ctrl-C may hit their start
        try:
            for item in items:
                put(executor.submit(function, item))
                if stop.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised again where the results are taken
            put(error)
        put(None)

    with _executor(num_workers, in_threads) as executor:
        reader = threading.Thread(target=take_items, name="reader", daemon=True)
        reader.start()
        try:
            while True:
                if on_take is not None:
                    on_take(_num_ready(waiting))
                if (entry := waiting.get()) is None:
                    break
                yield _result(entry)
        finally:
            stop.set()
            reader.join()
            executor.shutdown(wait=True, cancel_futures=True)


def _num_ready(waiting: queue.Queue[Future[R] | BaseException | None]) -> int:
    with waiting.mutex:
        return sum(isinstance(entry, Future) and entry.done() for entry in waiting.queue)


def _result(entry: Future[R] | BaseException) -> R:
    try:
        if isinstance(entry, BaseException):
            raise entry
        return entry.result()
    except BrokenProcessPool:
        raise GenoformerError(
            "a worker process died; is there enough memory? Use fewer --threads or smaller batches"
        ) from None


class InlineExecutor(Executor):
    """Runs each call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """What the function gave or raised; Ctrl-C goes to the caller at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on through the future, as in a pool
            future.set_exception(error)
        return future


def start_worker() -> None:
    """Leaves Ctrl-C to the main process, and ends with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            wait_for([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _executor(num_workers: int, in_threads: bool) -> Executor:
    if num_workers == 0:
        return InlineExecutor()
    if in_threads:
        return ThreadPoolExecutor(num_workers)
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's and the reader's threads
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=start_worker)
