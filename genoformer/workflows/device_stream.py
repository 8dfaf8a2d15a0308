"""Items through a pool of devices: results in the order of the items, few of them at a time, and how the time went."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from genoformer.workflows.device_pool import DevicePool

T = TypeVar("T")
R = TypeVar("R")

_AHEAD_PER_LANE = 2  # items, so that devices go on while one is long over the oldest


class DeviceStream(Generic[T, R]):
    """Reads items, hands them to devices and gives the results to whoever writes them, all from one thread.

    Attributes:
        seconds: of that thread: reading, waiting for the devices, and writing.
    """

    def __init__(self, pool: DevicePool[T, R]) -> None:
        self._pool = pool
        self.seconds = {"read": 0.0, "model": 0.0, "write": 0.0}
        self._last = time.perf_counter()

    def results(self, items: Iterable[T]) -> Iterator[R]:
        """What the function of the pool makes of each item, in order."""
        waiting, most = deque[Future[R]](), _AHEAD_PER_LANE * self._pool.num_lanes
        self._last = time.perf_counter()
        for item in items:
            self._count("read")
            waiting.append(self._pool.submit(item))
            while len(waiting) > most or (waiting and waiting[0].done()):
                yield from self._oldest(waiting)
        while waiting:
            yield from self._oldest(waiting)

    def _oldest(self, waiting: deque[Future[R]]) -> Iterator[R]:
        result = waiting.popleft().result()
        self._count("model")
        yield result
        self._count("write")

    def _count(self, stage: str) -> None:
        """Adds the time since the last call to a stage."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now

    def facts(self) -> dict[str, Any]:
        """What a summary says of the devices, of the time by stage, and of the stage that held the others up."""
        streaming = sum(self.seconds.values())
        seconds = {
            "read": self.seconds["read"],
            "model": sum(use.busy_seconds for use in self._pool.use),
            "write": self.seconds["write"],
            "waiting_for_model": self.seconds["model"],
            "streaming": streaming,
        }
        return {
            "devices": [use.facts(streaming) for use in self._pool.use],
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "bottleneck": max(self.seconds, key=lambda stage: self.seconds[stage]),
        }
