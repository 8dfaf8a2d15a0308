"""`genoformer variants`: effects of sequence variants by an expression model."""

from __future__ import annotations

import typer

from genoformer.cli.variants_ism import ISM_HELP, ism
from genoformer.cli.variants_report import REPORT_HELP, report
from genoformer.cli.variants_score import JOIN_HELP, SCORE_HELP, join, score

app = typer.Typer(help="Effects of sequence variants on gene regulation.", no_args_is_help=True)

app.command(help=SCORE_HELP)(score)
app.command(help=JOIN_HELP)(join)
app.command(help=ISM_HELP)(ism)
app.command(help=REPORT_HELP)(report)
