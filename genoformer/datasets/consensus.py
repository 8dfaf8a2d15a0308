"""Consensus windows with labels, from HDF5 shards, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from genoformer.config import ConsensusConfig
from genoformer.datasets.loader import Batch, Draws
from genoformer.errors import DataError
from genoformer.io.examples import ExampleShard


class ConsensusDataset:
    """Windows of several shards as one sequence, in the order of the shards: an `ExampleSource` for the loader.

    Shards are opened by whoever reads first, so that each worker process has files of its own.

    Args:
        paths: finished shards of one split.
        config: what the model reads; passes and window length must be the shards'.
        shuffle_passes: give the passes of a window another order in every epoch: it says nothing, and a model that
            sees one order only learns windows by heart.
    Raises:
        DataError: no shard, a shard that is damaged, or one of another shape.
    """

    def __init__(self, paths: Sequence[str | Path], config: ConsensusConfig, *, shuffle_passes: bool = False) -> None:
        if not paths:
            raise DataError("no shards of examples; make them with 'genoformer consensus examples'")
        self.config, self.shuffle_passes = config, shuffle_passes
        self._paths = [Path(path) for path in paths]
        self._ends = np.cumsum([self._num_windows(path) for path in self._paths])
        self._shards: dict[int, ExampleShard] = {}

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
        return int(self._ends[-1])

    def read_batch(self, indices: np.ndarray, draws: Draws | None = None) -> Batch:
        """The windows at `indices`, int64 [B]: "rows" int16 [B, R, L] and "labels" uint8 [B, L].

        Args:
            draws: for the order of the passes; None: as in the file.
        Raises:
            IndexError: an index out of range.
            DataError: a damaged window.
        """
        outside = indices[(indices < 0) | (indices >= len(self))]
        if len(outside):
            raise IndexError(f"window {outside[0]} of {len(self)}")
        rows = np.empty((len(indices), self.config.num_rows, self.config.window_length), np.int16)
        labels = np.empty((len(indices), self.config.window_length), np.uint8)
        places = np.searchsorted(self._ends, indices, side="right")
        for place in np.unique(places).tolist():
            chosen = places == place
            examples = self._shard(place).read(indices[chosen] - (self._ends[place - 1] if place else 0))
            rows[chosen], labels[chosen] = examples.rows(self.config), examples.labels
        if self.shuffle_passes and draws is not None:
            keys = np.stack([draws.of(index).random(self.config.max_passes) for index in indices.tolist()])
            _reorder_passes_(rows, keys)
        return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(labels)}

    def _shard(self, place: int) -> ExampleShard:
        if place not in self._shards:
            self._shards[place] = ExampleShard(self._paths[place])
        return self._shards[place]

    def __getstate__(self) -> dict[str, object]:
        """What a worker process gets: no open files."""
        return {**self.__dict__, "_shards": {}}


def _reorder_passes_(rows: np.ndarray, keys: np.ndarray) -> None:
    """Sorts the passes of windows [B, R, L] by `keys` in [0, 1), [B, P]; the absent ones stay last."""
    num_passes = keys.shape[1]
    passes = rows[:, : 4 * num_passes].reshape(len(rows), 4, num_passes, -1)  # bases, pw, ip and strand of each
    is_absent = passes[:, 3, :, 0] == 0
    order = np.argsort(keys + is_absent, axis=1, kind="stable")
    sorted_passes = np.take_along_axis(passes, order[:, None, :, None], axis=2)
    rows[:, : 4 * num_passes] = sorted_passes.reshape(len(rows), 4 * num_passes, -1)
