"""`genoformer consensus`: draft, align, correct, assess, calibrate, join, filter and simulate; training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from genoformer.cli.consensus_align import ALIGN_HELP, align
from genoformer.cli.consensus_assess import ASSESS_HELP, CALIBRATE_HELP, assess, calibrate
from genoformer.cli.consensus_correct import CORRECT_HELP, OUTPUT_HELP, RUN_HELP, correct, describe, run
from genoformer.cli.consensus_draft import DRAFT_HELP, draft
from genoformer.cli.consensus_import import IMPORT_HELP, import_
from genoformer.cli.consensus_simulate import FIT_ERRORS_HELP, SIMULATE_HELP, fit_errors, simulate
from genoformer.cli.consensus_train import TRAIN_HELP, train
from genoformer.cli.terminal import Quiet, parse_shard, set_up_log
from genoformer.wording import counted

app = typer.Typer(help="Corrected consensus reads from PacBio subreads.", no_args_is_help=True)

app.command(help=CORRECT_HELP)(correct)
app.command(help=RUN_HELP)(run)
app.command(help=ALIGN_HELP)(align)
app.command(help=DRAFT_HELP)(draft)
app.command(help=ASSESS_HELP)(assess)
app.command(help=CALIBRATE_HELP)(calibrate)
app.command(help=TRAIN_HELP)(train)

_JOIN_HELP = (
    "Put finished shards together: the records of an unsharded run, in its order.\n\n"
    "SHARD.summary.json must stand beside each shard. Shards that are missing, doubled, unfinished or made with other "
    "flags, models or inputs are refused by name."
)


@app.command(help=_JOIN_HELP)
def join(
    shards: Annotated[list[str], typer.Argument(help="Outputs of 'correct --shard i/N', all N of them, in any order.")],
    output: Annotated[str, typer.Option("-o", "--output", help="File to write, in the shards' format.")],
    report: Annotated[str | None, typer.Option(help="TSV file to write with the rows of every --shard-report.")] = None,
    shard_report: Annotated[
        list[str] | None, typer.Option(help="Report of a shard; once for each, in the order of the shards named.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a join of the same shards ended.")] = False,
    quiet: Quiet = False,
) -> None:
    from genoformer.workflows.join import join_shards

    set_up_log(quiet)
    summary = join_shards(shards, output, report=report, shard_reports=shard_report or [], resume=resume)
    if not quiet:
        typer.echo(describe(summary), err=True)


_FILTER_HELP = (
    "Keep reads by the Phred of their mean error probability.\n\n"
    "It is computed from the base qualities; the rq tag of a BAM file may be older than they are and plays no part. "
    "From BAM to BAM, records and header stay as they are."
)


@app.command("filter", help=_FILTER_HELP)
def filter_(
    reads: Annotated[str, typer.Argument(help="FASTQ, FASTQ.gz or BAM file with base qualities.")],
    output: Annotated[str, typer.Option("-o", "--output", help=OUTPUT_HELP)],
    min_quality: Annotated[float, typer.Option(help="Least Phred of the mean error probability of a kept read.")],
    quiet: Quiet = False,
) -> None:
    from genoformer.workflows.filter import filter_reads

    set_up_log(quiet)
    counts = filter_reads(reads, output, min_quality)
    if not quiet:
        kept = f"{counts.kept:,} of {counted(counts.total, 'read')}, {counted(counts.kept_bases, 'base')}"
        typer.echo(f"kept {kept}", err=True)


_EXAMPLES_HELP = (
    "Make labelled pileup windows for training.\n\n"
    "Writes HDF5 shards of the splits train, eval and test and a summary with all counts into the folder. A molecule's "
    "split is that of the chromosome its truth lies on: 1-18, X, Y train, 21, 22 evaluate and 19, 20 test for human; "
    "1-8, 9 and 10 for maize."
)


@app.command(help=_EXAMPLES_HELP)
def examples(
    subreads: Annotated[str, typer.Argument(help="BAM of subreads aligned to their CCS reads, ZMW by ZMW (actc).")],
    ccs: Annotated[str, typer.Argument(help="BAM of the CCS reads, in any order.")],
    truth_to_ccs: Annotated[str, typer.Option(help="BAM of the truth of each CCS read, aligned to it.")],
    truth_bed: Annotated[str, typer.Option(help="BED: contig, begin, end and CCS read name of each truth.")],
    truth_split: Annotated[str, typer.Option(help="TSV: contig and chromosome.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    genome: Annotated[Literal["human", "maize"], typer.Option(help="Which chromosomes make which split.")] = "human",
    max_passes: Annotated[int, typer.Option(help="Subreads in a window.", min=1, max=255)] = 20,
    window_length: Annotated[int, typer.Option(help="Columns of a window.", min=1, max=4096)] = 100,
    ins_trim: Annotated[int, typer.Option(help="Remove longer insertions from subreads; 0 keeps all.", min=0)] = 5,
    smart_windows: Annotated[
        bool, typer.Option("--smart-windows", help="Take window lengths from the wl tag.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Stop after this many molecules with truth.", min=1)] = None,
    shard: Annotated[str, typer.Option(help="i/N: only the i-th of N parts of the ZMWs.")] = "1/1",
    threads: Annotated[int, typer.Option("-t", "--threads", help="CPU cores to use.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    from genoformer.workflows.examples import ExamplesOptions, make_examples

    set_up_log(quiet)
    summary = make_examples(
        ExamplesOptions(
            subreads, ccs, truth_to_ccs, truth_bed, truth_split, output, genome, max_passes, window_length, ins_trim,
            smart_windows, limit, parse_shard(shard), num_workers=threads - 1,
        )
    )  # fmt: skip
    if not quiet:
        counts = ", ".join(f"{summary.get(f'n_examples_{split}', 0):,} {split}" for split in ("train", "eval", "test"))
        molecules = counted(summary["n_zmw_processed"], "molecule")
        typer.echo(f"{summary.get('n_zmw_pass', 0):,} of {molecules}: {counts}", err=True)


app.command("import", help=IMPORT_HELP)(import_)
app.command(help=SIMULATE_HELP)(simulate)
app.command("fit-errors", help=FIT_ERRORS_HELP)(fit_errors)
