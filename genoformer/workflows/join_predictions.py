"""`genoformer expression join`: finished shards of `predict` as one HDF5 file, or as a bigWig for each track."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from genoformer.errors import UsageError
from genoformer.io.predictions import Layout, PredictionFile, PredictionWriter
from genoformer.io.reads import write_json
from genoformer.workflows.output import summary_path
from genoformer.workflows.prediction_store import is_hdf5, store_path, summary_of
from genoformer.workflows.prediction_tracks import check_folder, track_files, write_tracks
from genoformer.workflows.shard_files import shards_in_order

_BLOCK_BINS = 1 << 20

OnProgress = Callable[[int, int], None]


def join_predictions(
    shards: Sequence[Path], output: Path, *, num_workers: int = 0, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Puts together all shards of a run, given in any order; returns the summary.

    Args:
        output: an HDF5 file, or a folder for bigWigs.
        num_workers: processes that write bigWigs.
        on_progress: told how many tracks are done, and of how many.
    Raises:
        UsageError: the output is one of the shards.
        DataError: a shard that is damaged.
        OutputError: a shard that is missing, there twice or of another run; or an output that cannot be written.
    """
    if output.resolve() in {shard.resolve() for shard in shards}:
        raise UsageError(f"--output '{output}' is one of the shards")
    with ExitStack() as stack:
        by_name = {str(shard): stack.enter_context(PredictionFile(shard)) for shard in shards}
        files = [by_name[name] for name in shards_in_order({n: file.layout.identity for n, file in by_name.items()})]
        layout = replace(
            files[0].layout,
            stretches=list(chain.from_iterable(file.layout.stretches for file in files)),
            identity={**files[0].layout.identity, "shard": [1, 1]},
        )
        names = [] if is_hdf5(output) else track_files(layout)
        if names:
            check_folder(output, names)
            write_tracks([file.path for file in files], output, names, num_workers, on_progress)
        else:
            _copy(files, layout, output, on_progress)
    summary = summary_of(layout, names)
    write_json(summary_path(store_path(output, layout.contents)), summary)
    return summary


def _copy(files: Sequence[PredictionFile], layout: Layout, output: Path, on_progress: OnProgress | None) -> None:
    """Writes the predictions of all files, one after the other, into one."""
    writer = PredictionWriter(output, layout)
    try:
        for row in range(len(layout.tracks)):
            first_bin = 0
            for file in files:
                for start in range(0, file.num_bins, _BLOCK_BINS):
                    values = file.values(row, start, min(start + _BLOCK_BINS, file.num_bins))
                    writer.write_row(row, first_bin + start, values)
                first_bin += file.num_bins
            if on_progress is not None:
                on_progress(row + 1, len(layout.tracks))
    except BaseException:
        writer.discard()
        raise
    writer.finish()
