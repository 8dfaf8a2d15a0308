"""Several shards of examples as one sequence, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np


class Shard(Protocol):
    """A shard of examples that is open."""

    def __len__(self) -> int:
        """Number of examples."""


ShardT = TypeVar("ShardT", bound=Shard)


class ShardedExamples(Generic[ShardT]):
    """The base of a task's dataset; shards are opened by whoever reads first, so that worker processes have their own.

    Args:
        paths: finished shards of one split.
        lengths: examples of each.
        open_shard: opens one.
    """

    def __init__(self, paths: Sequence[Path], lengths: Sequence[int], open_shard: Callable[[Path], ShardT]) -> None:
        self._paths, self._ends, self._open_shard = list(paths), np.cumsum(lengths), open_shard
        self._shards: dict[int, ShardT] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _locate(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, ShardT, np.ndarray]]:
        """Where the examples at `indices`, int64 [B], are: a mask [B] of those in a shard, the shard, indices there.

        Raises:
            IndexError: an index out of range.
        """
        outside = indices[(indices < 0) | (indices >= len(self))]
        if len(outside):
            raise IndexError(f"window {outside[0]} of {len(self)}")
        places = np.searchsorted(self._ends, indices, side="right")
        for place in np.unique(places).tolist():
            if place not in self._shards:
                self._shards[place] = self._open_shard(self._paths[place])
            chosen = places == place
            yield chosen, self._shards[place], indices[chosen] - (self._ends[place - 1] if place else 0)

    def __getstate__(self) -> dict[str, object]:
        """What a worker process gets: no open files."""
        return {**self.__dict__, "_shards": {}}
