"""`genoformer expression assess`: the command; `cli/expression.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genoformer.cli.expression_options import BothStrands, Device, Threads, WindowBatch
from genoformer.cli.terminal import Count, Quiet, set_up_log
from genoformer.wording import counted

ASSESS_HELP = (
    "Hold predicted tracks against the measured ones of a split.\n\n"
    "Which Pearson: pearson_bins is the correlation of predicted and measured values of one track over all bins of all "
    "windows of the split together (not the mean of windows, not across tracks), in float64; r2_bins is over the same "
    "bins, and the columns *_log1p are of log(1 + value). Values are as in the data: scaled, pooled, clipped. With "
    "--genes, pearson_genes_log1p is the correlation across genes of log(1 + sum over the bins in which the gene's "
    "transcripts start and one on either side of each), on the gene's strand where a track has a pair.\n\n"
    "The TSV has a row a track, empty fields where a track never varies; the JSON all figures with means and medians "
    "by assay (what a track's description has before the colon); the HTML these with plots, in one file.\n\n"
    "Tracks of model and data are told apart by their identifiers. The same flags give the same figures on the same "
    "machine, whatever --batch-size (on a CPU; a GPU may differ in the last digits).\n\n"
    "HTML needs the package matplotlib: pip install 'genoformer\\[report]'."
)


def assess(
    model: Annotated[str, typer.Argument(help="A .safetensors file, or the name of a model that ships.")],
    *,
    data: Annotated[Path, typer.Option(help="Folder that 'expression examples' wrote into.")],
    split: Annotated[str, typer.Option(help="Which of its splits: train, valid, test, fold0, ...")] = "test",
    output: Annotated[list[str], typer.Option("-o", "--output", help="Report: .tsv, .json or .html; repeatable.")],
    genes: Annotated[
        Path | None, typer.Option(help="GTF of genes, plain or gzip: adds the figures across genes.")
    ] = None,
    gene_type: Annotated[
        list[str] | None,
        typer.Option(help="Only genes of this type, for instance protein_coding; repeatable.", show_default="all"),
    ] = None,
    species: Annotated[
        str | None, typer.Option(help="Head of the model.", show_default="the one with the tracks of the data")
    ] = None,
    rc: BothStrands = False,
    batch_size: WindowBatch = 4,
    threads: Threads = None,
    device: Device = None,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the model.")] = "fp32",
    quiet: Quiet = False,
) -> None:
    """Assesses a model and says the main figures."""
    from genoformer.workflows.expression_assess import AssessExpressionOptions, assess_expression

    options = AssessExpressionOptions(
        model, data, split, tuple(output), species=species, genes=genes, gene_types=tuple(gene_type or ()),
        rc=rc, batch_size=batch_size, device=device, precision=precision, threads=threads,
    )  # fmt: skip
    set_up_log(quiet)
    with Count("windows", hidden=quiet) as count:
        summary = assess_expression(options, count.update)
    if not quiet:
        typer.echo(_describe(summary), err=True)


def _describe(summary: dict[str, Any]) -> str:
    genes = "" if summary["genes"] is None else f", {counted(summary['genes'], 'gene')}"
    read = (
        f"{counted(summary['windows'], 'window')}, {counted(summary['bins'], 'bin')} of {summary['bin_bp']} bp{genes}"
    )
    lines = [f"split {summary['split']}, head {summary['species']}: {read}"]
    for assay, found in [*summary["assays"].items(), ("all", summary["all"])]:
        means = [f"{name} {_number(found[name]['mean'])}" for name in summary["definitions"]]
        lines.append(f"{assay}: {counted(found['tracks'], 'track')}, means: {', '.join(means)}")
    constant = summary["all"]["tracks"] - summary["all"]["pearson_bins"]["tracks"]
    if constant:
        lines.append(f"left out of the means, for they never vary, measured or predicted: {counted(constant, 'track')}")
    return "\n".join(f"genoformer: {line}" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
