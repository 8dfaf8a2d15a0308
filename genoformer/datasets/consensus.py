"""Consensus windows with labels, from HDF5 shards, in any order."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError
from genoformer.io.examples import Examples, ExampleShard


class ConsensusDataset(Dataset[dict[str, Tensor]]):
    """Windows of several shards as one sequence, in the order of the shards.

    An item is {"rows": int16 [R, L], "labels": uint8 [L]}. Shards are opened by whoever reads first, so that each
    worker process has files of its own.

    Args:
        paths: finished shards of one split.
        config: what the model reads; passes and window length must be the shards'.
    Raises:
        DataError: no shard, a shard that is damaged, or one of another shape.
    """

    def __init__(self, paths: Sequence[str | Path], config: ConsensusConfig) -> None:
        if not paths:
            raise DataError("no shards of examples; make them with 'genoformer consensus examples'")
        self.config = config
        self._paths = [Path(path) for path in paths]
        self._ends = np.cumsum([self._num_windows(path) for path in self._paths]).tolist()
        self._shards: list[ExampleShard | None] = [None] * len(self._paths)

    def _num_windows(self, path: Path) -> int:
        with ExampleShard(path) as shard:
            found = shard.max_passes, shard.window_length
            expected = self.config.max_passes, self.config.window_length
            if found != expected:
                raise DataError(
                    f"{path}: windows of {found[0]} passes and {found[1]} columns; the model reads {expected[0]} and "
                    f"{expected[1]}; make the examples anew, or change the config"
                )
            return len(shard)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        place = bisect.bisect_right(self._ends, index)
        examples = self._shard(place).read(index - (self._ends[place - 1] if place else 0))
        return self._item(examples)

    def _shard(self, place: int) -> ExampleShard:
        shard = self._shards[place]
        if shard is None:
            shard = self._shards[place] = ExampleShard(self._paths[place])
        return shard

    def _item(self, examples: Examples) -> dict[str, Tensor]:
        rows = torch.from_numpy(examples.rows(self.config)[0])  # [R, L]
        return {"rows": rows, "labels": torch.from_numpy(examples.labels[0])}

    def __getstate__(self) -> dict[str, object]:
        """What a worker process gets: no open files."""
        return {**self.__dict__, "_shards": [None] * len(self._paths)}
