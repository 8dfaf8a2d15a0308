"""`genoformer report`: the command; `cli/main.py` registers it."""

from __future__ import annotations

from typing import Annotated

import typer

from genoformer.cli.terminal import set_up_log

REPORT_HELP = (
    "How a run went, from the summary beside its output.\n\n"
    "Molecules, yield by predicted quality, windows, time by stage, use of the devices and failures by reason, of a "
    "whole run, of a shard or of shards that were joined, as one HTML page without links to other files, and, of runs "
    "that write reads, as custom content for MultiQC."
)


def report(
    outputs: Annotated[list[str], typer.Argument(help="What runs wrote; OUTPUT.summary.json must stand beside each.")],
    output: Annotated[str | None, typer.Option("-o", "--output", help="HTML page to write.")] = None,
    multiqc: Annotated[str | None, typer.Option(help="Folder to write files for MultiQC into.")] = None,
) -> None:
    """Writes the report of one run or several."""
    from genoformer.workflows.report_run import write_run_report

    if output is None and multiqc is None:
        raise typer.BadParameter("neither is given; say what to write", param_hint="--output, --multiqc")
    set_up_log(quiet=True)
    write_run_report(outputs, output, multiqc)
