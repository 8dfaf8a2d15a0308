"""`genoformer variants report`: the command; `cli/variants.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genoformer.cli.terminal import Quiet, set_up_log
from genoformer.wording import counted

REPORT_HELP = (
    "Show the variants with the largest scores in one HTML page: a table to sort and filter and, where scores were "
    "made with --predictions, tracks of REF, ALT and their difference around each.\n\n"
    "With --igv the page also has a genome browser: igv.js, MIT licence, which goes into the page. 'make igv' in a "
    "checkout, or 'npm pack igv@3.8.10', fetches it once. The page asks nothing of the network."
)


def report(
    scores: Annotated[Path, typer.Argument(help="The .h5 file of 'score' or 'join'.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")],
    top: Annotated[int, typer.Option(help="Number of variants.", min=1)] = 50,
    rank_by: Annotated[
        str | None, typer.Option(help="Score that ranks them, up or down. Default: the first of the file.")
    ] = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(
            help="Tracks of the file that count, by their place there (0-2), identifier or description with * and ?; "
            "may be given several times. Default: all."
        ),
    ] = None,
    plots: Annotated[int, typer.Option(help="Tracks to draw of a variant: those with the largest scores.", min=0)] = 3,
    igv: Annotated[Path | None, typer.Option(help="igv.min.js, dist/igv.min.js of npm's package igv.")] = None,
    quiet: Quiet = False,
) -> None:
    """Writes the page and says what it has."""
    from genoformer.workflows.report_scores import ReportOptions, report_scores

    set_up_log(quiet)
    summary = report_scores(ReportOptions(scores, output, top, rank_by, tuple(tracks or ()), plots, igv))
    if not quiet:
        typer.echo(f"genoformer: {summary['variants']:,} of {counted(summary['of'], 'variant')} in {output}", err=True)
