"""Consensus windows with labels, from HDF5 shards, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from genoformer.config import ConsensusConfig
from genoformer.datasets.loader import Batch, Draws
from genoformer.datasets.shards import ShardedExamples
from genoformer.errors import DataError
from genoformer.io.examples import ExampleShard


class ConsensusDataset(ShardedExamples[ExampleShard]):
    """Windows of several shards as one sequence, in the order of the shards: an `ExampleSource` for the loader.

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
        files = [Path(path) for path in paths]
        super().__init__(files, [self._num_windows(path) for path in files], ExampleShard)

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

    def read_batch(self, indices: np.ndarray, draws: Draws | None = None) -> Batch:
        """The windows at `indices`, int64 [B]: "rows" int16 [B, R, L] and "labels" uint8 [B, L].

        Args:
            draws: for the order of the passes; None: as in the file.
        Raises:
            IndexError: an index out of range.
            DataError: a damaged window.
        """
        rows = np.empty((len(indices), self.config.num_rows, self.config.window_length), np.int16)
        labels = np.empty((len(indices), self.config.window_length), np.uint8)
        for chosen, shard, places in self._locate(indices):
            examples = shard.read(places)
            rows[chosen], labels[chosen] = examples.rows(self.config), examples.labels
        if self.shuffle_passes and draws is not None:
            keys = np.stack([draws.of(index).random(self.config.max_passes) for index in indices.tolist()])
            _reorder_passes_(rows, keys)
        return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(labels)}


def _reorder_passes_(rows: np.ndarray, keys: np.ndarray) -> None:
    """Sorts the passes of windows [B, R, L] by `keys` in [0, 1), [B, P]; the absent ones stay last."""
    num_passes = keys.shape[1]
    passes = rows[:, : 4 * num_passes].reshape(len(rows), 4, num_passes, -1)  # bases, pw, ip and strand of each
    is_absent = passes[:, 3, :, 0] == 0
    order = np.argsort(keys + is_absent, axis=1, kind="stable")
    sorted_passes = np.take_along_axis(passes, order[:, None, :, None], axis=2)
    rows[:, : 4 * num_passes] = sorted_passes.reshape(len(rows), 4 * num_passes, -1)
