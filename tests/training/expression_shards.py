"""Shards of sequences whose tracks are known: the bases G and C in a bin, and the base A in its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionWriter, WindowShape, pack_example

SHAPE = WindowShape(sequence_bp=64, bin_bp=4, num_bins=8)
TINY = {
    "window_bp": 64, "target_bins": 8, "stem_width": 8, "stem_kernel": 5, "tower_widths": [12], "tower_kernel": 3,
    "num_layers": 2, "num_heads": 2, "key_width": 4, "value_width": 6, "filter_width": 16, "pointwise_width": 16,
    "position_features": 6, "position_bins": 16,
}  # fmt: skip


def tracks_of(species: str, num_tracks: int) -> list[Track]:
    return [Track(f"{species}{i}", f"CAGE:{species}{i}", "", "sum", 1.0, None, None, i) for i in range(num_tracks)]


def example_of(seed: int, num_tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequence uint8 [S] and targets float32 [T, N]; the tracks are multiples of two."""
    codes = np.random.default_rng(seed).integers(0, 4, SHAPE.sequence_bp, np.uint8)
    inside = slice(SHAPE.flank_bp, SHAPE.flank_bp + SHAPE.target_bp)
    by_bin = [np.isin(codes, letters)[inside].reshape(SHAPE.num_bins, -1).sum(1) for letters in ((1, 2), (0,))]
    return codes, np.stack([(1 + i) * by_bin[i % 2] for i in range(num_tracks)]).astype(np.float32)


def write_shards(folder: Path, *, species: str = "human", num_tracks: int = 3, train: int = 12, valid: int = 5) -> Path:
    """`folder` with one shard of each split, of that many examples."""
    folder.mkdir(exist_ok=True)
    for offset, split, count in ((0, "train", train), (500, "valid", valid)):
        path, tracks = folder / f"{split}-00001-of-00001.h5", tracks_of(species, num_tracks)
        writer = ExpressionWriter(path, SHAPE, tracks, dtype="float32", transform="", split=split)
        for index in range(count):
            codes, targets = example_of(offset + index, num_tracks)
            writer.append(pack_example(Interval("c", index, index + SHAPE.target_bp), codes, targets, "float32"))
        writer.finish()
    return folder
