"""`genoformer expression predict` and `join`: the commands; `cli/expression.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genoformer.cli import expression_options as given
from genoformer.cli.terminal import Count, Devices, Quiet, parse_shard, set_up_log, took
from genoformer.wording import counted

PREDICT_HELP = (
    "Predict tracks along regions of a genome.\n\n"
    "A region gets the bins of one window in whose middle it lies: 114,688 bp for Enformer. A longer one gets as many "
    "bins as cover it, from windows that overlap; of the bins that two of them share, each gives those nearer to its "
    "middle. What lies past a contig's ends is read as N.\n\n"
    "With a folder as output, writes a bigWig for each track and tracks.tsv, which names them; where the bins of "
    "several regions overlap, a base has their mean. With a .h5 file as output, regions are kept apart: those of "
    "region i are predictions\\[track, first_bin\\[i]:first_bin\\[i + 1]], from base start\\[i] on. A summary in JSON "
    "stands beside either.\n\n"
    "The same flags give the same numbers on the same machine, whatever other regions there are, --shard and "
    "--batch-size (on a CPU; a GPU may differ in the last digits)."
)
JOIN_HELP = "Put the .h5 shards of 'predict' or 'attribute' together, as one .h5 file or as a bigWig for each track."

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for bigWigs, or a .h5 file.")]


def predict(
    genome: given.GenomeFile,
    regions: given.Regions,
    *,
    output: Output,
    model: given.Model,
    species: given.Species = None,
    tracks: given.TrackChoice = None,
    rc: given.BothStrands = False,
    shifts: given.Shifts = "0",
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Least bins that neighbouring windows of a long region share. Default: an eighth of one.", min=0
        ),
    ] = None,
    batch_size: given.WindowBatch = 4,
    device: Devices = None,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the model.")] = "fp32",
    threads: given.Threads = None,
    shard: given.RegionShard = "1/1",
    resume: given.Resume = False,
    quiet: Quiet = False,
) -> None:
    """Predicts tracks and says how many."""
    from genoformer.workflows.predict import predict as run_predict
    from genoformer.workflows.predict_options import PredictOptions

    set_up_log(quiet)
    options = PredictOptions(
        genome, regions, output, model, species, tuple(tracks or ()), device, threads, parse_shard(shard), resume, rc,
        given.parse_shifts(shifts), overlap, batch_size, precision,
    )  # fmt: skip
    with Count("windows", hidden=quiet) as count:
        summary = run_predict(options, count.update)
    _report(summary, quiet)


def join(
    shards: Annotated[list[Path], typer.Argument(help="All .h5 shards of a run, in any order.")],
    *,
    output: Output,
    threads: given.Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a join of the same shards ended.")] = False,
    quiet: Quiet = False,
) -> None:
    """Joins shards and says what they hold."""
    import os

    from genoformer.workflows.join_predictions import join_predictions

    set_up_log(quiet)
    num_workers = (threads or len(os.sched_getaffinity(0))) - 1
    with Count("tracks", hidden=quiet) as count:
        summary = join_predictions(shards, output, num_workers=num_workers, resume=resume, on_progress=count.update)
    _report(summary, quiet)


def _report(summary: dict[str, Any], quiet: bool) -> None:
    counts = summary["counts"]
    if not quiet:
        typer.echo(
            f"genoformer: {counted(counts['tracks'], 'track')} of {counted(counts['bins'], 'bin')} in "
            f"{counted(counts['regions'], 'region')}{took(summary)}",
            err=True,
        )
