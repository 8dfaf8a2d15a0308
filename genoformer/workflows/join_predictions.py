"""`genoformer expression join`: finished shards of `predict` as one HDF5 file, or as a bigWig for each track."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from genoformer.errors import UsageError
from genoformer.io.predictions import Layout, PredictionFile, PredictionWriter
from genoformer.io.reads import partial_path, write_json
from genoformer.workflows.filled_output import finished_summary
from genoformer.workflows.join_progress import JoinProgress
from genoformer.workflows.output import summary_path
from genoformer.workflows.prediction_store import check_output, is_hdf5, store_path, summary_of
from genoformer.workflows.prediction_tracks import check_folder, track_files, write_tracks
from genoformer.workflows.run_facts import joined_run
from genoformer.workflows.shard_files import finished_shards

_BLOCK_BINS = 1 << 20

OnProgress = Callable[[int, int], None]


def join_predictions(
    shards: Sequence[Path],
    output: Path,
    *,
    num_workers: int = 0,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Puts together all shards of a run, given in any order; returns the summary.

    Args:
        output: an HDF5 file, or a folder for bigWigs.
        num_workers: processes that write bigWigs.
        resume: go on where a join of the same shards ended, and leave alone an output that is whole.
        on_progress: told how many tracks are done, and of how many.
    Raises:
        UsageError: the output is one of the shards, or neither a folder nor HDF5 by its name.
        DataError: a shard that is damaged.
        OutputError: a shard that is missing, there twice or of another run; or an output that cannot be written.
    """
    check_output(output)
    if output.resolve() in {shard.resolve() for shard in shards}:
        raise UsageError(f"--output '{output}' is one of the shards")
    by_name: dict[str, PredictionFile] = {}
    with ExitStack() as stack:

        def identity(shard: str) -> Mapping[str, Any]:
            by_name[shard] = stack.enter_context(PredictionFile(shard))
            return by_name[shard].layout.identity

        files = [by_name[name] for name in finished_shards(list(map(str, shards)), partial_path, identity)]
        layout = replace(
            files[0].layout,
            stretches=list(chain.from_iterable(file.layout.stretches for file in files)),
            identity={**files[0].layout.identity, "shard": [1, 1]},
        )
        names = [] if is_hdf5(output) else track_files(layout)
        store = store_path(output, layout.contents)
        if resume and (done := finished_summary(store, layout.identity, names)) is not None:
            return done
        progress = JoinProgress(store, layout.identity, resume=resume)
        if names:
            _write_bigwigs(files, output, names, num_workers, progress, on_progress)
        else:
            _copy(files, layout, output, progress, on_progress)
    summary = summary_of(layout, names) | joined_run(shards)
    write_json(summary_path(store), summary)
    progress.finish()
    return summary


def _write_bigwigs(
    files: Sequence[PredictionFile],
    folder: Path,
    names: Sequence[str],
    num_workers: int,
    progress: JoinProgress,
    on_progress: OnProgress | None,
) -> None:
    def note(done: int, total: int) -> None:
        progress.note(done)
        if on_progress is not None:
            on_progress(done, total)

    check_folder(folder, names)
    write_tracks([file.path for file in files], folder, names, num_workers, note, num_written=progress.num_done)


def _copy(
    files: Sequence[PredictionFile],
    layout: Layout,
    output: Path,
    progress: JoinProgress,
    on_progress: OnProgress | None,
) -> None:
    """Writes the predictions of all files, one after the other, into one."""
    num_done = progress.num_done if partial_path(output).exists() else 0
    writer = PredictionWriter(output, layout, resume=num_done > 0)
    try:
        for row in range(num_done, len(layout.tracks)):
            _copy_row(files, writer, row)
            if progress.is_due():
                writer.commit()
                progress.note(row + 1)
            if on_progress is not None:
                on_progress(row + 1, len(layout.tracks))
    except BaseException:
        if progress.num_done:
            writer.abandon()
        else:
            writer.discard()
        raise
    writer.finish()


def _copy_row(files: Sequence[PredictionFile], writer: PredictionWriter, row: int) -> None:
    first_bin = 0
    for file in files:
        for start in range(0, file.num_bins, _BLOCK_BINS):
            values = file.values(row, start, min(start + _BLOCK_BINS, file.num_bins))
            writer.write_row(row, first_bin + start, values)
        first_bin += file.num_bins
