"""A run that fills in a file of predictions: an HDF5 file or a folder of bigWigs out, resumable, whole or not there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genoformer.io.predictions import Layout
from genoformer.io.reads import partial_path
from genoformer.workflows.prediction_store import PredictionStore, finished_summary, is_hdf5, store_path, summary_of
from genoformer.workflows.prediction_tracks import check_folder, track_files, write_tracks


def run_predictions(
    output: Path,
    layout: Layout,
    fill: Callable[[PredictionStore], None],
    run: dict[str, Any],
    *,
    began: float,
    threads: int | None,
    resume: bool,
) -> dict[str, Any]:
    """Makes an output; returns its summary.

    Args:
        output: an HDF5 file, or a folder for bigWigs.
        fill: writes what is missing in a store.
        run: what the summary says of the run besides its time, which is counted from `began` on.
        resume: go on with an unfinished output, and leave alone one that is whole.
    Raises:
        OutputError: files of another run, or files that cannot be written.
    """
    files = [] if is_hdf5(output) else track_files(layout)
    if files:
        check_folder(output, files)
    if resume and (done := finished_summary(store_path(output), layout, files)) is not None:
        return done
    store = PredictionStore(store_path(output), layout, resume=resume)
    try:
        fill(store)
        if files:
            store.commit()
            num_workers = (threads or len(os.sched_getaffinity(0))) - 1
            write_tracks([partial_path(store.path)], output, files, num_workers)
    except BaseException:
        store.stop()
        raise
    run = run | {"seconds": round(time.perf_counter() - began, 3)}
    summary = summary_of(layout, files) | {"run": run}
    store.finish(summary, keep=not files)
    return summary
