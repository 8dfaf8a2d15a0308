"""Expression examples as they come, into the shards of their splits, with a summary beside them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genoformer import __version__
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionWriter, PackedExample, WindowShape
from genoformer.workflows.shard_files import shard_suffix, shard_writers, write_examples_summary

logger = logging.getLogger(__name__)

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class ExampleSet:
    """What all examples of a data set have in common; `splits` are the names of all of them."""

    shape: WindowShape
    tracks: list[Track]
    dtype: str
    transform: str
    splits: tuple[str, ...]


def write_shards(
    out_dir: Path,
    shard: tuple[int, int],
    example_set: ExampleSet,
    examples: Iterable[tuple[str, PackedExample]],
    origin: dict[str, Any],
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Writes `SPLIT-iiiii-of-nnnnn.h5` for each split and `examples-iiiii-of-nnnnn.summary.json`; returns the summary.

    Args:
        examples: with the split of each.
        origin: what the summary says of where they come from.
        on_progress: told the number of examples written.
    Raises:
        UsageError: a shard that is none.
        OutputError: the folder or a file cannot be written.
    """
    suffix, counts = shard_suffix(shard), Counter({f"n_examples_{split}": 0 for split in example_set.splits})

    def new_writer(path: Path, split: str) -> ExpressionWriter:
        shape, tracks = example_set.shape, example_set.tracks
        return ExpressionWriter(
            path, shape, tracks, dtype=example_set.dtype, transform=example_set.transform, split=split
        )

    with shard_writers(out_dir, suffix, example_set.splits, new_writer) as writers:
        for split, example in examples:
            writers[split].append(example)
            counts.update({"n_examples": 1, f"n_examples_{split}": 1, "n_values_bounded": example.num_bounded})
            if on_progress is not None:
                on_progress(counts["n_examples"])
    if counts["n_values_bounded"]:
        logger.warning("%d values are too large for %s", counts["n_values_bounded"], example_set.dtype)
    sizes = vars(example_set.shape) | {"num_tracks": len(example_set.tracks), "dtype": example_set.dtype}
    summary = {"n_examples": counts["n_examples"], **counts, **sizes, "transform": example_set.transform, **origin}
    summary |= {"shard": list(shard), "version": __version__}
    return write_examples_summary(out_dir, suffix, example_set.splits, summary)
