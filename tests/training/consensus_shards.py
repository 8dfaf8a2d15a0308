"""Shards of windows whose label is known: passes that show it with errors, a CCS read with fewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genoformer.config import ConsensusConfig
from genoformer.io.examples import Examples, ExampleWriter

TINY = {
    "max_passes": 3, "window_length": 20, "pw_max": 9, "ip_max": 9, "sn_max": 20, "base_width": 4, "pw_width": 2,
    "ip_width": 2, "sn_width": 2, "condenser_width": 16, "num_layers": 1, "filter_width": 16, "attention_window": 3,
    "use_ccs_quality": True,
}  # fmt: skip


def random_examples(num_windows: int, config: ConsensusConfig, seed: int) -> Examples:
    """Windows of a random sequence; one base in five of a pass is another, and one in twenty of the CCS read."""
    random = np.random.default_rng(seed)
    passes, length = config.max_passes, config.window_length
    labels = random.integers(1, 5, (num_windows, length))

    def with_errors(sequences: np.ndarray, rate: float) -> np.ndarray:
        return np.where(random.random(sequences.shape) < rate, random.integers(0, 5, sequences.shape), sequences)

    bases = with_errors(np.repeat(labels[:, None], passes, axis=1), 0.2)  # [n, P, L]
    ccs = with_errors(labels, 0.05)
    kinetics = random.integers(1, 9, (num_windows, 2 * passes, length)) * np.tile(bases > 0, (1, 2, 1))
    return Examples(
        features=np.concatenate([bases, kinetics, ccs[:, None]], axis=1).astype(np.uint8),
        ccs_quals=np.where(ccs > 0, 30, -1).astype(np.int8),
        labels=labels.astype(np.uint8),
        strand=np.tile(1 + np.arange(passes) % 2, (num_windows, 1)).astype(np.uint8),
        sn=np.full((num_windows, 4), 7.5, np.float32),
        ccs_start=np.arange(num_windows, dtype=np.int64) * length,
        num_passes=np.full(num_windows, passes, np.uint8),
        molecule=np.zeros(num_windows, np.int32),
    )


def write_shards(folder: Path, config: ConsensusConfig, *, train: int = 24, eval_: int = 10) -> Path:
    """`folder` with one shard of each split, of that many windows."""
    folder.mkdir(exist_ok=True)
    for seed, (split, count) in enumerate({"train": train, "eval": eval_}.items()):
        writer = ExampleWriter(folder / f"{split}-00001-of-00001.h5", config, split)
        writer.append("m/1/ccs", random_examples(count, config, seed))
        writer.finish()
    return folder
