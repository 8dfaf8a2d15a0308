"""`genoformer variants ism`: the command; `cli/variants.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genoformer.cli.expression_options import (
    BothStrands,
    ChangeBatch,
    Device,
    GenomeFile,
    Model,
    Precision,
    Resume,
    Shifts,
    Species,
    Threads,
    TrackChoice,
    parse_shifts,
)
from genoformer.cli.terminal import Count, Quiet, parse_shard, set_up_log
from genoformer.wording import counted

ISM_HELP = (
    "Saturation mutagenesis: change every base of a region, or around the variants of a VCF file, into every other, "
    "and score each change.\n\n"
    "Scores are those of 'score', on the same shortcut: all changes of a stretch share one prediction of the genome. "
    "The .h5 file has Baskerville's layout: seqs \\[n, bases, 4] and for each score \\[n, bases, 4, tracks]. Logos of "
    "the first stretches, with a map of the changes, are PNG files beside it (needs the extra 'plots')."
)


def ism(
    genome: GenomeFile,
    region: Annotated[
        str | None, typer.Argument(help="Bases to change: chr8:11,500,000-11,500,200. Or say --vcf.")
    ] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .h5 file to write.")],
    model: Model,
    vcf: Annotated[
        str | None, typer.Option(help="VCF file: change the bases around each variant; - for standard input.")
    ] = None,
    around: Annotated[int, typer.Option(help="Bases on either side of a variant's first base.", min=0)] = 20,
    scores: Annotated[str, typer.Option(help="Scores, with commas between them; logos show the first.")] = "sad",
    species: Species = None,
    tracks: TrackChoice = None,
    rc: BothStrands = False,
    shifts: Shifts = "0",
    no_reuse: Annotated[
        bool, typer.Option("--no-reuse", help="Predict every change in full, to check the shortcut.")
    ] = False,
    batch_size: ChangeBatch = None,
    precision: Precision = "fp32",
    logos: Annotated[
        int | None, typer.Option(help="Draw the first so many stretches. Default: 10, of a shard none.", min=0)
    ] = None,
    device: Device = None,
    threads: Threads = None,
    shard: Annotated[
        str,
        typer.Option(
            help="i/N: only the i-th of N parts of the region's bases, or of the places of variants; 'join' puts them "
            "together."
        ),
    ] = "1/1",
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Scores changes and says how many."""
    from genoformer.workflows.ism import ism as run_ism
    from genoformer.workflows.ism_options import IsmOptions
    from genoformer.workflows.score_options import ScoreSettings

    set_up_log(quiet)
    settings = ScoreSettings(
        scores=tuple(scores.split(",")), species=species, tracks=tuple(tracks or ()), rc=rc,
        shifts=parse_shifts(shifts), reuse=not no_reuse, batch_size=batch_size, precision=precision,
    )  # fmt: skip
    options = IsmOptions(
        genome, output, model, region, vcf, around, settings, logos, device, threads, parse_shard(shard), resume
    )
    with Count("bases", hidden=quiet) as count:
        summary = run_ism(options, count.update)
    if not quiet:
        typer.echo(describe_mutagenesis(summary), err=True)


def describe_mutagenesis(summary: dict[str, Any]) -> str:
    """A line on what a run changed, or shards put together."""
    counts, run = summary["counts"], summary.get("run", {})
    changed = f"{counted(counts['bases'], 'base')} of {counted(counts['stretches'], 'stretch')} changed"
    return f"genoformer: {changed} in {run['seconds']:,.1f} s" if run else f"genoformer: {changed}"
