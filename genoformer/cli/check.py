"""`genoformer check`: the command; `cli/main.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CHECK_HELP = (
    "Whether files that genoformer wrote are whole.\n\n"
    "Reads them to their end: reads, examples, predictions, tracks, scores, models, checkpoints, tables, pictures, "
    "summaries. A file that has a summary beside it must be what that says. A value changed within a table, a FASTQ or "
    "HDF5 file that is not compressed is not noticed. Prints a line for each whole file; each other one is an "
    "error on stderr, and the exit code is 1."
)


def check(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders with such files.", metavar="FILE...")],
) -> None:
    """Checks all files, also after one that is not whole."""
    from genoformer.errors import GenoformerError
    from genoformer.workflows.check import check_file, files_to_check

    num_bad = 0
    for file in (file for path in files for file in files_to_check(path)):
        try:
            typer.echo(f"{file}: whole, {check_file(file)}")
        except GenoformerError as error:
            typer.echo(f"genoformer: error: {error}", err=True)
            num_bad += 1
    if num_bad:
        raise typer.Exit(1)
