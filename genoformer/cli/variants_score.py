"""`genoformer variants score` and `join`: the commands; `cli/variants.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genoformer.cli.expression_options import (
    BothStrands,
    ChangeBatch,
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
from genoformer.cli.terminal import Count, Devices, Quiet, parse_bases, parse_shard, set_up_log, took
from genoformer.cli.variants_ism import describe_mutagenesis
from genoformer.wording import counted

SCORE_HELP = (
    "Score the variants of a VCF file: how ALT changes the tracks that a model predicts.\n\n"
    "Every ALT of every record is scored: SNVs, MNVs, insertions and deletions. Symbolic, breakend, '*', missing and "
    "REF-equal ALTs are counted and left out. A variant stands at base length / 2 - 1 of its window, as in Basenji. An "
    "indel is predicted with either end of the window in place, and put together at the bin in which it starts.\n\n"
    "Scores, sums over the predicted bins where not said otherwise: sad (ALT - REF), sad_mean, logsad (of logarithms), "
    "sar (logarithm of the sums), d1 and d2 (distances), js (Jensen-Shannon divergence), max (the largest difference); "
    "each with _centre after it for the bins around the variant only.\n\n"
    "Outputs by ending: .h5 (the schema of Basenji's SAD files), .tsv, .tsv.gz, .vcf, .vcf.gz (with index), .parquet "
    "(needs pyarrow). They appear once they are whole; OUTPUT.summary.json holds counts and times. VCF output is the "
    "input with more in INFO: its header and all its records and samples in their order, also those without a score; "
    "where it is not sorted, it has no index.\n\n"
    "The same flags give the same scores on the same machine, whatever --shard and the order of the file. Alleles are "
    "computed where they differ from the genome only, which agrees with full predictions of both within 2e-6 of the "
    "largest value."
)
JOIN_HELP = (
    "Put finished .h5 shards together: the scores of an unsharded run, in any format, or its saturation mutagenesis, "
    "in one .h5 file.\n\n"
    "Shards that are missing, doubled, unfinished or made with other flags, models or inputs are refused by name."
)

Output = Annotated[
    list[str], typer.Option("-o", "--output", help="File to write; may be given several times, one a format.")
]


def score(
    vcf: Annotated[str, typer.Argument(help="VCF file, plain, gzip or bgzip; - for standard input.")],
    genome: GenomeFile,
    *,
    output: Output,
    model: Model,
    scores: Annotated[str, typer.Option(help="Scores, with commas between them.")] = "sad",
    species: Species = None,
    tracks: TrackChoice = None,
    rc: BothStrands = False,
    shifts: Shifts = "0",
    genes: Annotated[
        Path | None, typer.Option(help="GTF file: also score the genes around, as log2 fold changes.")
    ] = None,
    gene_bins: Annotated[
        Literal["tss", "exons"], typer.Option(help="Sum a gene over bins with a transcription start, or with exons.")
    ] = "tss",
    background: Annotated[
        Path | None,
        typer.Option(help="A .h5 file of scores of other variants: also give z-scores and percentiles among these."),
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also keep REF and ALT of every bin, in the .h5 file.")
    ] = False,
    ref_mismatch: Annotated[
        Literal["error", "skip", "flip", "trust"],
        typer.Option(
            help="A REF that the genome does not have: end before scoring; leave the variant out; score it the other "
            "way round where the genome has ALT; or put REF into the genome."
        ),
    ] = "error",
    centre: Annotated[
        Literal["left", "right"], typer.Option(help="Base of the window's middle two at which a variant stands.")
    ] = "left",
    window_grid: Annotated[
        str | None,
        typer.Option(help="Windows around cells of so many bases, such as 2kb, which near variants share: faster."),
    ] = None,
    centre_bins: Annotated[int, typer.Option(help="Bins that scores of the centre look at.", min=1)] = 3,
    no_stitch: Annotated[bool, typer.Option("--no-stitch", help="Anchor indels on the left only.")] = False,
    no_reuse: Annotated[
        bool, typer.Option("--no-reuse", help="Predict every allele in full, to check the shortcut.")
    ] = False,
    batch_size: ChangeBatch = None,
    device: Devices = None,
    precision: Precision = "fp32",
    threads: Threads = None,
    shard: Annotated[
        str, typer.Option(help="i/N: only the i-th of N parts of the records; 'join' puts .h5 shards together.")
    ] = "1/1",
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Scores variants and says what became of them."""
    from genoformer.workflows.score import score as run_score
    from genoformer.workflows.score_options import ScoreOptions, ScoreSettings

    set_up_log(quiet)
    settings = ScoreSettings(
        scores=tuple(scores.split(",")), species=species, tracks=tuple(tracks or ()), rc=rc,
        shifts=parse_shifts(shifts), centre=centre,
        grid_bp=None if window_grid is None else parse_bases(window_grid, "--window-grid"), centre_bins=centre_bins,
        keep_predictions=predictions, stitch=not no_stitch, ref_mismatch=ref_mismatch, reuse=not no_reuse,
        batch_size=batch_size, precision=precision,
    )  # fmt: skip
    options = ScoreOptions(
        vcf, genome, model, tuple(output), settings, background, genes, gene_bins, device, threads, parse_shard(shard),
        resume,
    )  # fmt: skip
    with Count("variants", hidden=quiet) as count:
        summary = run_score(options, lambda done, total: count.update(done))
    if not quiet:
        typer.echo(describe(summary), err=True)


def join(
    shards: Annotated[
        list[str], typer.Argument(help="Outputs of 'score' or 'ism' with --shard i/N, all N of them, in any order.")
    ],
    *,
    output: Output,
    vcf: Annotated[
        str | None, typer.Option(help="The VCF file that was scored, where an output is .vcf or .vcf.gz.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what a join of the same shards has written.")] = False,
    quiet: Quiet = False,
) -> None:
    """Joins shards and says what they hold."""
    from genoformer.workflows.join_mutagenesis import is_mutagenesis, join_mutagenesis
    from genoformer.workflows.join_scores import join_scores

    set_up_log(quiet)
    if is_mutagenesis(shards[0]):
        if len(output) > 1 or vcf is not None:
            raise typer.BadParameter("shards of 'ism' make one .h5 file", param_hint="--output")
        line = describe_mutagenesis(join_mutagenesis(shards, Path(output[0]), resume=resume))
    else:
        line = describe(join_scores(shards, tuple(output), vcf, resume=resume))
    if not quiet:
        typer.echo(line, err=True)


def describe(summary: dict[str, Any]) -> str:
    """A line on what became of the variants of a run, or of shards put together."""
    counts = ", ".join(f"{name} {count:,}" for name, count in summary.get("counts", {}).items())
    scored = f"{counted(summary['variants'], 'variant')} scored{f' ({counts})' if counts else ''}"
    return f"genoformer: {scored}{took(summary)}"
