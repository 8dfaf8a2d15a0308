"""Stretches of sequence with the tracks along them, from HDF5 shards, in any order, shifted and turned at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genoformer.datasets.loader import Batch, Draws
from genoformer.datasets.shards import ShardedExamples
from genoformer.errors import DataError
from genoformer.genome.alphabet import N_CODE, reverse_complement_codes
from genoformer.genome.interval import Interval
from genoformer.io.expression_examples import ExpressionShard, WindowShape

_SUMS, _MEANS = "sum", ("mean", "avg")


class ExpressionDataset(ShardedExamples[ExpressionShard]):
    """Examples of several shards as one sequence, in the order of the shards: an `ExampleSource` for the loader.

    The model may read less than the shards hold, and wider bins: with augmentation it reads a random stretch of the
    shard's bins, at any of these, otherwise the middle ones.

    Args:
        paths: finished shards of one split, with the same tracks.
        shape: what the model reads.
        max_shift_bp: augmentation moves the sequence, but not the bins, by up to this many bases either way.
        reverse_complement: augmentation reads every second example, at random, from the other strand.
        targets_name: what batches call the targets.
    Attributes:
        tracks: of the targets, in their order.
        track_means: mean of each track over all examples and all of their bins, per bin of `shape`; float64 [T].
    Raises:
        DataError: no shard, a damaged one, or one that does not hold what the model reads.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        shape: WindowShape,
        *,
        max_shift_bp: int = 0,
        reverse_complement: bool = False,
        targets_name: str = "targets",
    ) -> None:
        if not paths:
            raise DataError("no shards of examples; make them with 'genoformer expression examples'")
        self.shape, self.max_shift_bp, self.reverse_complement = shape, max_shift_bp, reverse_complement
        self.targets_name = targets_name
        files = [Path(path) for path in paths]
        with ExpressionShard(files[0]) as first:
            self.stored, self.tracks = first.shape, first.tracks
        self._bins_in_one = self._check_shape(files[0])
        self._pair = torch.tensor([track.strand_pair for track in self.tracks])
        self._factor = self._factors(files[0])
        lengths, sums = zip(*map(self._measure, files), strict=True)
        per_bin = sum(sums) / max(1, sum(lengths) * self.stored.num_bins)
        self.track_means: np.ndarray = per_bin * self._bins_in_one * self._factor.double().numpy()
        super().__init__(files, lengths, ExpressionShard)

    def _check_shape(self, path: Path) -> int:
        """How many bins of the shard make one of the model."""
        shape, stored = self.shape, self.stored
        bins_in_one, rest = divmod(shape.bin_bp, stored.bin_bp)
        if rest or not shape.is_centred or shape.target_bp > stored.target_bp or shape.flank_bp > stored.flank_bp:
            raise DataError(
                f"{path}: has examples of {stored}; the model reads {shape}, and bins must be of a multiple of the "
                "shard's, their number and the sequence on either side no more than its; make the examples anew"
            )
        return bins_in_one

    def _factors(self, path: Path) -> Tensor:
        """What the sum of a track's bins is multiplied with to pool them, float32 [T]."""
        pools = [track.sum_stat.partition("_")[0] for track in self.tracks]
        other = next((pool for pool in pools if pool not in (_SUMS, *_MEANS)), None)
        if other is not None and self._bins_in_one > 1:
            raise DataError(
                f"{path}: has a track of sum_stat {other} in bins of {self.stored.bin_bp} bp, which cannot be joined "
                f"into bins of {self.shape.bin_bp} bp; make the examples with these"
            )
        return torch.tensor([1 / self._bins_in_one if pool in _MEANS else 1.0 for pool in pools])

    def _measure(self, path: Path) -> tuple[int, np.ndarray]:
        """Examples and track sums of a shard, which must be as the first one."""
        with ExpressionShard(path) as shard:
            if (shard.shape, shard.tracks) != (self.stored, self.tracks):
                raise DataError(f"{path}: has another shape or other tracks than the first shard; use them apart")
            return len(shard), shard.track_sums

    def read_batch(self, indices: np.ndarray, draws: Draws | None = None) -> Batch:
        """The examples at `indices`, int64 [B]: "sequence" uint8 [B, L] and "targets" float32 [B, N, T].

        The sequence is in genome codes; see `one_hot`.

        Args:
            draws: for augmentation; None: the middle of each example, as it is.
        Raises:
            IndexError: an index out of range.
            DataError: a damaged example.
        """
        sequence = torch.empty(len(indices), self.shape.sequence_bp, dtype=torch.uint8)
        targets = torch.empty(len(indices), self.shape.num_bins, len(self.tracks))
        for chosen, shard, places in self._locate(indices):
            for row, place in zip(np.flatnonzero(chosen).tolist(), places.tolist(), strict=True):
                rng = None if draws is None else draws.of(int(indices[row]))
                codes, values = self._cut(*shard.read(place), rng)
                sequence[row] = torch.from_numpy(codes)
                targets[row] = values.T
        return {"sequence": sequence, self.targets_name: targets}

    def bins(self, index: int) -> Interval:
        """What the bins of an example cover, without augmentation.

        Raises:
            IndexError: an index out of range.
        """
        [(_, shard, places)] = self._locate(np.array([index]))
        stored = shard.bins(int(places[0]))
        start = stored.start + self._num_spare // 2 * self.stored.bin_bp
        return Interval(stored.chrom, start, start + self.shape.target_bp)

    @property
    def _num_spare(self) -> int:
        """Bins of the shard that the model does not read."""
        return self.stored.num_bins - self.shape.num_bins * self._bins_in_one

    def _cut(
        self, codes: np.ndarray, targets: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, Tensor]:
        """What the model reads of an example: codes [L] and targets [T, N]."""
        num_bins = self.shape.num_bins * self._bins_in_one
        first = self._num_spare // 2 if rng is None else int(rng.integers(self._num_spare + 1))
        shift = 0 if rng is None else int(rng.integers(-self.max_shift_bp, self.max_shift_bp + 1))
        start = self.stored.flank_bp + first * self.stored.bin_bp - self.shape.flank_bp + shift
        codes = _slice_padded(codes, start, start + self.shape.sequence_bp)
        values = self._pool(targets[:, first : first + num_bins])
        if self.reverse_complement and rng is not None and rng.random() < 0.5:
            return reverse_complement_codes(codes), values[self._pair].flip(1)
        return codes, values

    def _pool(self, targets: np.ndarray) -> Tensor:
        """Bins of the shard [T, n] joined into those of the model, float32 [T, N]."""
        values = torch.from_numpy(targets.copy()).float()
        if self._bins_in_one == 1:
            return values
        return values.unflatten(1, (-1, self._bins_in_one)).sum(-1) * self._factor[:, None]


def _slice_padded(codes: np.ndarray, start: int, end: int) -> np.ndarray:
    """codes[start:end], with N where that reaches past an end."""
    inside = codes[max(start, 0) : max(end, 0)]
    return np.pad(inside, (max(-start, 0), max(end - len(codes), 0)), constant_values=N_CODE)


def one_hot(sequence: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Genome codes [..., L] as [..., L, 4] in the order A, C, G, T; N is a row of zeros."""
    return torch.eye(N_CODE + 1, N_CODE, dtype=dtype, device=sequence.device)[sequence.int()]
