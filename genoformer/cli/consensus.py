"""`genoformer consensus`: align, correct, assess, calibrate, join, filter and simulate reads; examples for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genoformer.cli.consensus_align import ALIGN_HELP, align
from genoformer.cli.consensus_assess import ASSESS_HELP, CALIBRATE_HELP, assess, calibrate
from genoformer.cli.consensus_draft import DRAFT_HELP, draft
from genoformer.cli.consensus_import import IMPORT_HELP, import_
from genoformer.cli.consensus_train import TRAIN_HELP, train
from genoformer.cli.terminal import Progress, parse_range, parse_shard, set_up_log

app = typer.Typer(help="Corrected consensus reads from PacBio subreads.", no_args_is_help=True)

_OUTPUT_HELP = "File to write: .fastq, .fastq.gz (BGZF) or .bam; - for FASTQ on stdout."


_CORRECT_HELP = (
    "Correct CCS reads with their subreads.\n\n"
    "Until the output is whole it is called OUTPUT.partial; beside it stands OUTPUT.summary.json with counts and "
    "times.\n\n"
    "The same flags give the same records on the same machine, whatever --threads, --batch-zmws, --shard and the order "
    "of the CCS file; reads come in the order of the subreads file.\n\n"
    "Subreads that are unmapped, secondary or supplementary are left out and counted. A molecule without subreads "
    "fails: see --on-fail. CCS reads to which no record of the subreads file belongs are not part of the run. Subreads "
    "without pw, ip or sn tags are an error, except for 'vote'. The exit code is 0 also where no read passes the "
    "filters; the counts say so."
)


@app.command(help=_CORRECT_HELP)
def correct(
    subreads: Annotated[str, typer.Argument(help="BAM of subreads aligned to their CCS reads, ZMW by ZMW (actc).")],
    ccs: Annotated[str, typer.Argument(help="BAM of the CCS reads, in any order.")],
    output: Annotated[str, typer.Option("-o", "--output", help=_OUTPUT_HELP)],
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="A .safetensors model, or 'vote': a column vote that needs no weights."),
    ] = "vote",
    batch_size: Annotated[
        int | None, typer.Option(help="Windows that the model takes at once. Default: 64 on CPU, 1024 on CUDA.")
    ] = None,
    batch_zmws: Annotated[int, typer.Option(help="Molecules read ahead of the model; bounds memory.")] = 8,
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N. Default: cuda where there is one, else cpu.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"],
        typer.Option(help="Arithmetic of the model; bf16 is faster and calls a few other bases."),
    ] = "fp32",
    skip_windows_above: Annotated[
        float, typer.Option(help="Keep the CCS where a window's mean-error Phred is above this; 0 corrects all.")
    ] = 45,
    min_quality: Annotated[float, typer.Option(help="Least predicted Phred of a read that is written.")] = 20,
    min_length: Annotated[int, typer.Option(help="Least length of a read that is written.")] = 0,
    max_base_quality: Annotated[int, typer.Option(help="Cap on base qualities, 1 to 93.")] = 93,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="A .json file of 'calibrate'; or 'threshold,w,b': q -> w*q + b above the threshold; or 'skip'. "
            "Default: the model's own."
        ),
    ] = None,
    ccs_calibration: Annotated[
        str | None, typer.Option(help="A line for bases copied from the CCS. Default: skip, or the file's table.")
    ] = None,
    ins_trim: Annotated[int, typer.Option(help="Remove longer insertions from subreads; 0 keeps all.")] = 5,
    smart_windows: Annotated[
        bool, typer.Option("--smart-windows", help="Take window lengths from the wl tag.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Stop after this many ZMWs.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/N: only the i-th of N parts of the ZMWs; 'join' puts them together.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run of the same kind ended.")] = False,
    on_fail: Annotated[
        Literal["drop", "ccs"],
        typer.Option(help="A molecule that fails a filter, or has no subreads: 'drop' it, or write its 'ccs'."),
    ] = "drop",
    report: Annotated[str | None, typer.Option(help="TSV file to write with a row a molecule.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")] = False,
) -> None:
    from genoformer.workflows.correct import correct as run
    from genoformer.workflows.correct_options import CorrectOptions

    options = CorrectOptions(
        subreads=subreads, ccs=ccs, output=output, model=model, batch_size=batch_size, batch_zmws=batch_zmws,
        threads=threads, device=device, precision=precision, skip_windows_above=skip_windows_above,
        min_quality=min_quality, min_length=min_length, max_base_quality=max_base_quality, calibration=calibration,
        ccs_calibration=ccs_calibration, ins_trim=ins_trim, smart_windows=smart_windows, limit=limit,
        shard=None if shard is None else parse_shard(shard), resume=resume, on_fail=on_fail, report=report,
    )  # fmt: skip
    set_up_log(quiet)
    with Progress(hidden=quiet) as progress:
        summary = run(options, progress.update)
    if not quiet:
        typer.echo(_describe(summary), err=True)


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
) -> None:
    from genoformer.workflows.join import join_shards

    summary = join_shards(shards, output, report=report, shard_reports=shard_report or [])
    typer.echo(_describe(summary), err=True)


_FILTER_HELP = (
    "Keep reads by the Phred of their mean error probability.\n\n"
    "It is computed from the base qualities; the rq tag of a BAM file may be older than they are and plays no part. "
    "From BAM to BAM, records and header stay as they are."
)


@app.command("filter", help=_FILTER_HELP)
def filter_(
    reads: Annotated[str, typer.Argument(help="FASTQ, FASTQ.gz or BAM file with base qualities.")],
    output: Annotated[str, typer.Option("-o", "--output", help=_OUTPUT_HELP)],
    min_quality: Annotated[float, typer.Option(help="Least Phred of the mean error probability of a kept read.")],
) -> None:
    from genoformer.workflows.filter import filter_reads

    counts = filter_reads(reads, output, min_quality)
    typer.echo(f"kept {counts.kept:,} of {counts.total:,} reads, {counts.kept_bases:,} bases", err=True)


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
) -> None:
    from genoformer.workflows.examples import ExamplesOptions, make_examples

    summary = make_examples(
        ExamplesOptions(
            subreads, ccs, truth_to_ccs, truth_bed, truth_split, output, genome, max_passes, window_length, ins_trim,
            smart_windows, limit, parse_shard(shard), num_workers=threads - 1,
        )
    )  # fmt: skip
    counts = ", ".join(f"{summary.get(f'n_examples_{split}', 0):,} {split}" for split in ("train", "eval", "test"))
    typer.echo(f"{summary.get('n_zmw_pass', 0):,} of {summary['n_zmw_processed']:,} molecules: {counts}", err=True)


app.command("import", help=IMPORT_HELP)(import_)

_SIMULATE_HELP = (
    "Simulate subreads, draft consensus reads and their truth.\n\n"
    "Error rates, pulse widths, inter-pulse durations and signal-to-noise follow real Sequel I subreads. Writes "
    "subreads_to_ccs.bam, ccs.bam, truth.fasta and simulation.json into the folder, over files of these names. The "
    "same options give the same bytes, and a ZMW does not depend on how many there are."
)


@app.command(help=_SIMULATE_HELP)
def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    seed: Annotated[int, typer.Option(help="Seed of everything random.")],
    zmws: Annotated[int, typer.Option(help="Number of ZMWs.")] = 20,
    passes: Annotated[str, typer.Option(help="Subreads a ZMW, least-most.")] = "3-12",
    length: Annotated[str, typer.Option(help="Molecule length in bp, least-most.")] = "800-1500",
    genome: Annotated[
        Path | None, typer.Option(help="FASTA file to cut molecules from. Default: random molecules.")
    ] = None,
    movie: Annotated[str, typer.Option(help="Movie name of the reads.")] = "m00000_000000_000000",
) -> None:
    from genoformer.workflows.simulate import SimulateOptions
    from genoformer.workflows.simulate import simulate as run

    min_passes, max_passes = parse_range(passes, "--passes", "3-12")
    min_length, max_length = parse_range(length, "--length", "800-1500")
    summary = run(SimulateOptions(output, seed, zmws, min_passes, max_passes, min_length, max_length, genome, movie))
    typer.echo(
        f"{summary.num_zmws:,} ZMWs, {summary.num_subreads:,} subreads of {summary.num_subread_bases:,} bases, "
        f"{summary.num_draft_errors:,} draft errors in {summary.num_truth_bases:,} bp",
        err=True,
    )


def _describe(summary: dict[str, Any]) -> str:
    counts = summary["counts"]
    outcomes = ", ".join(f"{name} {count:,}" for name, count in counts["outcomes"].items() if count)
    lines = [
        f"{counts['molecules']:,} molecules ({outcomes or 'none'}); {counts['written']:,} reads written",
        f"{counts['windows']:,} windows, {counts['windows_called']:,} corrected",
    ]
    seconds = summary.get("run", {}).get("seconds", {}).get("total")
    if seconds:
        lines[-1] += f" in {seconds:,.1f} s"
    return "\n".join(f"genoformer: {line}" for line in lines)
