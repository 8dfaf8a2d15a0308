"""`genoformer consensus correct` and `run`: the commands; `cli/consensus.py` registers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genoformer.cli.consensus_draft import MAX_LENGTH_HELP, MAX_PASSES_HELP, MIN_PASSES_HELP
from genoformer.cli.terminal import Devices, Progress, Quiet, parse_shard, set_up_log, took
from genoformer.wording import counted

if TYPE_CHECKING:
    from genoformer.workflows.correct_options import CorrectOptions

OUTPUT_HELP = "File to write: .fastq, .fastq.gz (BGZF) or .bam; - for FASTQ on stdout."

Output = Annotated[str, typer.Option("-o", "--output", help=OUTPUT_HELP)]
Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="A .safetensors file; 'consensus-tiny', the model that ships; or 'vote': a column vote, without a model.",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Windows that the model takes at once. Default: 64 on CPU, 1024 on CUDA.")
]
BatchZmws = Annotated[
    int, typer.Option(help="Molecules read ahead of the model, or two a pileup process where that is more.")
]
Threads = Annotated[
    int | None, typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.")
]
Precision = Annotated[
    Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the model; bf16 is faster and calls a few other bases.")
]
SkipWindowsAbove = Annotated[
    float, typer.Option(help="Keep the CCS where a window's mean-error Phred is above this; 0 corrects all.")
]
MinQuality = Annotated[float, typer.Option(help="Least predicted Phred of a read that is written.")]
MinLength = Annotated[int, typer.Option(help="Least length of a read that is written.")]
MaxBaseQuality = Annotated[int, typer.Option(help="Cap on base qualities, 1 to 93.")]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="A .json file of 'calibrate'; or 'threshold,w,b': q -> w*q + b above the threshold; or 'skip'. "
        "Default: the model's own."
    ),
]
CcsCalibration = Annotated[
    str | None, typer.Option(help="A line for bases copied from the CCS. Default: skip, or the file's table.")
]
InsTrim = Annotated[int, typer.Option(help="Remove longer insertions from subreads; 0 keeps all.")]
Limit = Annotated[int | None, typer.Option(help="Stop after this many ZMWs.")]
Shard = Annotated[
    str | None, typer.Option(help="i/N: only the i-th of N parts of the ZMWs; 'join' puts them together.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run of the same kind ended.")]
OnFail = Annotated[
    Literal["drop", "ccs"],
    typer.Option(help="A molecule that fails a filter, or has no subreads: 'drop' it, or write its 'ccs'."),
]
Report = Annotated[str | None, typer.Option(help="TSV file to write with a row a molecule.")]

CORRECT_HELP = (
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


def correct(
    subreads: Annotated[str, typer.Argument(help="BAM of subreads aligned to their CCS reads, ZMW by ZMW (actc).")],
    ccs: Annotated[str, typer.Argument(help="BAM of the CCS reads, in any order.")],
    output: Output,
    model: Model = "consensus-tiny",
    batch_size: BatchSize = None,
    batch_zmws: BatchZmws = 8,
    threads: Threads = None,
    device: Devices = None,
    precision: Precision = "fp32",
    skip_windows_above: SkipWindowsAbove = 45,
    min_quality: MinQuality = 20,
    min_length: MinLength = 0,
    max_base_quality: MaxBaseQuality = 93,
    calibration: Calibration = None,
    ccs_calibration: CcsCalibration = None,
    ins_trim: InsTrim = 5,
    smart_windows: Annotated[
        bool, typer.Option("--smart-windows", help="Take window lengths from the wl tag.")
    ] = False,
    limit: Limit = None,
    shard: Shard = None,
    resume: Resume = False,
    on_fail: OnFail = "drop",
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Corrects CCS reads and says what became of the molecules."""
    from genoformer.workflows.correct_options import CorrectOptions

    options = CorrectOptions(
        subreads=subreads, ccs=ccs, output=output, model=model, batch_size=batch_size, batch_zmws=batch_zmws,
        threads=threads, device=device, precision=precision, skip_windows_above=skip_windows_above,
        min_quality=min_quality, min_length=min_length, max_base_quality=max_base_quality, calibration=calibration,
        ccs_calibration=ccs_calibration, ins_trim=ins_trim, smart_windows=smart_windows, limit=limit,
        shard=None if shard is None else parse_shard(shard), resume=resume, on_fail=on_fail, report=report,
    )  # fmt: skip
    _correct(options, quiet)


RUN_HELP = (
    "Draft, align and correct in one go, from raw subreads.\n\n"
    "Makes the reads of 'draft', 'align' and 'correct' one after the other, with no files in between. A ZMW without a "
    "draft is counted as no_draft. Everything else is as these commands say: what a draft needs, and that CCS reads of "
    "a current 'ccs' are the safer start where there are any.\n\n"
    "Needs the packages mappy, edlib and pyabpoa: pip install 'genoformer\\[align]'."  # rich takes a plain [ for markup
)


def run(
    subreads: Annotated[str, typer.Argument(help="BAM of raw subreads, ZMW by ZMW, as the instrument writes them.")],
    output: Output,
    model: Model = "consensus-tiny",
    min_passes: Annotated[int, typer.Option(help=MIN_PASSES_HELP)] = 3,
    max_passes: Annotated[int, typer.Option(help=MAX_PASSES_HELP)] = 30,
    max_length: Annotated[int, typer.Option(help=MAX_LENGTH_HELP)] = 50_000,
    batch_size: BatchSize = None,
    batch_zmws: BatchZmws = 8,
    threads: Threads = None,
    device: Devices = None,
    precision: Precision = "fp32",
    skip_windows_above: SkipWindowsAbove = 45,
    min_quality: MinQuality = 20,
    min_length: MinLength = 0,
    max_base_quality: MaxBaseQuality = 93,
    calibration: Calibration = None,
    ccs_calibration: CcsCalibration = None,
    ins_trim: InsTrim = 5,
    limit: Limit = None,
    shard: Shard = None,
    resume: Resume = False,
    on_fail: OnFail = "drop",
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Corrects drafts of raw subreads and says what became of the molecules."""
    from genoformer.workflows.correct_options import CorrectOptions
    from genoformer.workflows.draft_zmw import DraftSettings

    options = CorrectOptions(
        subreads=subreads, ccs=None, output=output, model=model, batch_size=batch_size, batch_zmws=batch_zmws,
        threads=threads, device=device, precision=precision, skip_windows_above=skip_windows_above,
        min_quality=min_quality, min_length=min_length, max_base_quality=max_base_quality, calibration=calibration,
        ccs_calibration=ccs_calibration, ins_trim=ins_trim, limit=limit,
        shard=None if shard is None else parse_shard(shard), resume=resume, on_fail=on_fail, report=report,
        draft=DraftSettings(min_passes, max_passes, max_length),
    )  # fmt: skip
    _correct(options, quiet)


def _correct(options: CorrectOptions, quiet: bool) -> None:
    from genoformer.workflows.correct import correct as run_correct

    set_up_log(quiet)
    with Progress(hidden=quiet) as progress:
        summary = run_correct(options, progress.update)
    if not quiet:
        typer.echo(describe(summary), err=True)


def describe(summary: dict[str, Any]) -> str:
    """Lines on what became of the molecules of a run, or of shards put together."""
    counts = summary["counts"]
    outcomes = ", ".join(f"{name} {count:,}" for name, count in counts["outcomes"].items() if count)
    lines = [
        f"{counted(counts['molecules'], 'molecule')} ({outcomes or 'none'}); "
        f"{counted(counts['written'], 'read')} written",
        f"{counted(counts['windows'], 'window')}, {counts['windows_called']:,} corrected",
    ]
    if in_time := took(summary):
        lines[-1] += f"{in_time}; what held it up: {summary['run']['bottleneck']}"
    return "\n".join(f"genoformer: {line}" for line in lines)
