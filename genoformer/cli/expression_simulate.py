"""`genoformer expression simulate`: the command; `cli/expression.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genoformer.cli.terminal import Quiet, parse_bases
from genoformer.wording import counted

SIMULATE_HELP = (
    "Simulate a genome whose tracks follow from planted promoters and enhancers: data to train, test and try with.\n\n"
    "They are made of sites in a fixed order, orientation and spacing; some are broken or out of place. "
    "Enhancers of cell A raise the transcription from promoters near them. Writes genome.fa, a bigWig for each of five "
    "tracks, targets.txt and sequences.bed, which 'examples' takes, the elements and their sites as BED, and variants "
    "that break sites or nothing. On the last contig regions are for test, on the one before it for validation.\n\n"
    "The same options give the same bytes."
)


def simulate(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    seed: Annotated[int, typer.Option(help="Seed of everything random.")],
    size: Annotated[str, typer.Option(help="Size of the genome.")] = "2Mb",
    contigs: Annotated[int, typer.Option(help="Number of contigs.")] = 10,
    region: Annotated[str, typer.Option(help="Length of the regions in sequences.bed.")] = "4096",
    quiet: Quiet = False,
) -> None:
    """Simulates and says what there is now."""
    from genoformer.workflows.simulate_expression import SimulateExpressionOptions, simulate_expression

    options = SimulateExpressionOptions(
        output, seed, parse_bases(size, "--size"), contigs, parse_bases(region, "--region")
    )
    summary = simulate_expression(options)
    if not quiet:
        typer.echo(
            f"genoformer: {counted(summary['promoters'], 'promoter')} and {counted(summary['enhancers'], 'enhancer')}, "
            f"{summary['working']:,} of them working; {counted(summary['variants'], 'variant')}",
            err=True,
        )
