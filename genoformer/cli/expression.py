"""`genoformer expression`: examples for training from a genome and its tracks."""

from __future__ import annotations

import typer

from genoformer.cli.expression_examples import EXAMPLES_HELP, examples

app = typer.Typer(help="Tracks of gene regulation from genome sequence.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Makes typer treat the one command as one of a group."""


app.command(help=EXAMPLES_HELP)(examples)
