"""A run that fills in a file of predictions: an HDF5 file or a folder of bigWigs out, resumable, whole or not there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from genoformer.io.predictions import Layout
from genoformer.io.reads import partial_path
from genoformer.workflows.device import num_threads
from genoformer.workflows.filled_output import finished_summary
from genoformer.workflows.prediction_store import PredictionStore, is_hdf5, store_path, summary_of
from genoformer.workflows.prediction_tracks import check_folder, track_files, write_tracks
from genoformer.workflows.region_options import RegionOptions


def run_predictions(
    options: RegionOptions,
    layout: Layout,
    fill: Callable[[PredictionStore], dict[str, Any]],
    *,
    began: float,
) -> dict[str, Any]:
    """Makes an output, unless it is there and --resume is given; returns its summary.

    Args:
        fill: writes what is missing in a store; returns what the summary says of the run.
        began: the `time.perf_counter()` from which its seconds are counted.
    Raises:
        OutputError: files of another run, or files that cannot be written.
    """
    output = options.output
    files = [] if is_hdf5(output) else track_files(layout)
    if files:
        check_folder(output, files)
    path = store_path(output, layout.contents)
    if options.resume and (done := finished_summary(path, layout.identity, files)) is not None:
        return done
    store = PredictionStore(path, layout, resume=options.resume)
    try:
        run = fill(store)
        if files:
            store.commit()
            write_tracks([partial_path(store.path)], output, files, num_threads(options.threads) - 1)
    except BaseException:
        store.stop()
        raise
    seconds = run.get("seconds", {}) | {"total": round(time.perf_counter() - began, 3)}
    summary = summary_of(layout, files) | {"run": run | {"seconds": seconds}}
    store.finish(summary, keep=not files)
    return summary
