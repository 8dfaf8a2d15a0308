"""`genoformer expression attribute`: the command; `cli/expression.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genoformer.cli import expression_options as given
from genoformer.cli.terminal import Count, Quiet, parse_bases, parse_shard, set_up_log
from genoformer.wording import counted

ATTRIBUTE_HELP = (
    "Compute what each base of regions contributes to their predicted tracks: input times gradient.\n\n"
    "A region lies in the middle of a window, as for 'predict'; its bases contribute to the sum of the chosen tracks "
    "over the bins that it has bases in, or over --bins in the middle.\n\n"
    "With a folder as output, writes a bigWig, in which a base has the mean over the regions that it is in, and logos "
    "of the first regions as PNG (needs the extra 'plots'). With a .h5 file as output, regions are kept apart, as "
    "'predict' keeps them, in bins of one base; 'join' puts its shards together.\n\n"
    "--smooth and --noise follow SmoothGrad; the same --seed gives the same numbers, whatever other regions there are."
)


def attribute(
    genome: given.GenomeFile,
    regions: given.Regions,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for a bigWig and logos, or a .h5 file.")],
    model: given.Model,
    species: given.Species = None,
    tracks: given.TrackChoice = None,
    bins: Annotated[
        int | None,
        typer.Option(help="Sum over so many bins around a region's middle. Default: those of the region.", min=1),
    ] = None,
    span: Annotated[
        str | None,
        typer.Option(help="Bases around a region's middle to compute, such as 10kb. Default: those of the region."),
    ] = None,
    mean_centred: Annotated[
        bool, typer.Option("--mean-centred", help="Take from a gradient its mean over the four letters.")
    ] = False,
    rc: given.BothStrands = False,
    shifts: given.Shifts = "0",
    smooth: Annotated[
        int, typer.Option(help="Average over so many sequences with noise; 0: without noise.", min=0)
    ] = 0,
    noise: Annotated[float, typer.Option(help="Standard deviation of that noise; a base is 0 or 1.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of that noise.", min=0)] = 0,
    logos: Annotated[
        int | None, typer.Option(help="Draw the first so many regions. Default: 10 in a folder.", min=0)
    ] = None,
    device: given.Device = None,
    threads: given.Threads = None,
    shard: given.RegionShard = "1/1",
    resume: given.Resume = False,
    quiet: Quiet = False,
) -> None:
    """Computes contributions and says of how many bases."""
    from genoformer.workflows.attribute import attribute as run_attribute
    from genoformer.workflows.attribute_options import AttributeOptions
    from genoformer.workflows.contributions import ContributionSettings

    set_up_log(quiet)
    settings = ContributionSettings(rc, given.parse_shifts(shifts), mean_centred, smooth, noise, seed)
    options = AttributeOptions(
        genome, regions, output, model, species, tuple(tracks or ()), device, threads, parse_shard(shard), resume,
        settings, bins, None if span is None else parse_bases(span, "--span"), logos,
    )  # fmt: skip
    with Count("regions", hidden=quiet) as count:
        summary = run_attribute(options, count.update)
    counts = summary["counts"]
    if not quiet:
        typer.echo(
            f"genoformer: contributions of {counted(counts['bins'], 'base')} in {counted(counts['regions'], 'region')}",
            err=True,
        )
