"""`genoformer consensus assess` and `calibrate`: the commands; `cli/consensus.py` registers them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from genoformer.cli.terminal import Count, Quiet, set_up_log

_READS_HELP = "BAM, FASTQ(.gz) or FASTA(.gz)."
_TRUTH_HELP = "FASTA(.gz): a genome, or one sequence a molecule named movie/hole/..., as 'simulate' writes."
_KIND_HELP = "Take the truth for one sequence a molecule, or for a genome. Default: told by its names."
_THREADS_HELP = "CPU cores to use. Default: all that this process may use."

ASSESS_HELP = (
    "Hold corrected reads and their drafts against the truth.\n\n"
    "Reads belong together by name. With one truth a molecule, reads are aligned to it end to end by edlib, on either "
    "strand; to a genome by minimap2 with the scores of pbmm2, where at least half of a read must align. Reads without "
    "truth, unaligned, clipped or in one file alone are counted.\n\n"
    "Yield: aligned reads with a predicted Phred of at least --min-quality and an identity of at least .99, .999, "
    ".9999, relative to the draft.\n\n"
    "The TSV has a row a read, the JSON all figures, the HTML figures and plots in one file.\n\n"
    "Needs the packages mappy and edlib, and matplotlib for HTML: pip install 'genoformer\\[align,report]'."
)

CALIBRATE_HELP = (
    "Fit what the qualities of corrected reads are worth, for 'correct --calibration'.\n\n"
    "Fits a monotone table from predicted to observed qualities, one for bases that the model predicted and one for "
    "bases copied from the CCS read; the tag cp in BAM files of 'correct' says which are which. Use reads that no "
    "filter has cut down (--min-quality 0), and other molecules than those that are judged afterwards.\n\n"
    "A base counts as wrong where it differs from the truth, is one too many, or bases are missing before it. READS"
    ".summary.json, which 'correct' writes, says which calibration the reads were made with; the file repeats it.\n\n"
    "Needs the packages mappy and edlib: pip install 'genoformer\\[align]'."
)

TruthOption = Annotated[str, typer.Option(help=_TRUTH_HELP)]
TruthPerReadOption = Annotated[
    bool | None, typer.Option("--truth-per-read/--truth-genome", help=_KIND_HELP, show_default=False)
]
ThreadsOption = Annotated[int | None, typer.Option("-t", "--threads", help=_THREADS_HELP)]


def assess(
    corrected: Annotated[str, typer.Argument(help=f"Corrected reads: {_READS_HELP}")],
    draft: Annotated[str, typer.Argument(help=f"The CCS reads they were made from: {_READS_HELP}")],
    truth: TruthOption,
    output: Annotated[list[str], typer.Option("-o", "--output", help="Report: .html, .tsv or .json; repeatable.")],
    truth_per_read: TruthPerReadOption = None,
    calibration: Annotated[
        str | None, typer.Option(help="File of 'calibrate': shows corrected qualities before and after it.")
    ] = None,
    min_quality: Annotated[float, typer.Option(help="Least predicted Phred of a read that counts as yield.")] = 20,
    threads: ThreadsOption = None,
    quiet: Quiet = False,
) -> None:
    """Assesses reads and says the main figures."""
    from genoformer.workflows.assess import AssessOptions
    from genoformer.workflows.assess import assess as run

    kind = _truth_kind(truth_per_read)
    options = AssessOptions(corrected, draft, truth, tuple(output), kind, calibration, min_quality, threads)
    set_up_log(quiet)
    with Count("reads", hidden=quiet) as count:
        summary = run(options, count.update)
    if not quiet:
        typer.echo(_describe(summary), err=True)


def calibrate(
    reads: Annotated[str, typer.Argument(help="Corrected reads: BAM of 'correct', or FASTQ(.gz).")],
    truth: TruthOption,
    output: Annotated[str, typer.Option("-o", "--output", help="Calibration file to write: .json.")],
    truth_per_read: TruthPerReadOption = None,
    threads: ThreadsOption = None,
    quiet: Quiet = False,
) -> None:
    """Fits a calibration and says what it was fitted on."""
    from genoformer.workflows.calibrate import CalibrateOptions
    from genoformer.workflows.calibrate import calibrate as run

    options = CalibrateOptions(reads, truth, output, _truth_kind(truth_per_read), threads)
    set_up_log(quiet)
    with Count("reads", hidden=quiet) as count:
        content = run(options, count.update)
    if not quiet:
        typer.echo(_describe_calibration(content), err=True)


def _truth_kind(truth_per_read: bool | None) -> Literal["read", "genome"] | None:
    return None if truth_per_read is None else "read" if truth_per_read else "genome"


def _describe_calibration(content: dict[str, Any]) -> str:
    origin = content["fitted_on"]
    lines = [f"{origin['aligned']:,} of {origin['num_reads']:,} reads aligned"]
    for source in ("predicted", "copied"):
        bases, errors = sum(content[source]["bases"]), sum(content[source]["errors"])
        lines.append(f"{source} bases: {bases:,}, {errors:,} of them wrong")
    return "\n".join(f"genoformer: {line}" for line in lines)


def _describe(summary: dict[str, Any]) -> str:
    compared = summary["compared"]
    lines = [f"truth: {summary['truth']['description']}"]
    for side in ("draft", "corrected"):
        counts = summary[side]
        lines.append(
            f"{side}: {counts['aligned']:,} of {counts['reads']:,} reads aligned, identity {counts['identity']:.5f}, "
            f"{counts['errors']:,} errors ({counts['mismatches']:,} mismatches, {counts['insertions']:,} extra, "
            f"{counts['deletions']:,} missing bases)"
        )
    lines.append(
        f"reads aligned in both: {compared['reads']:,}, errors {compared['draft_errors']:,} -> "
        f"{compared['corrected_errors']:,}; only in the draft {compared['only_in_draft']:,}, only corrected "
        f"{compared['only_in_corrected']:,}"
    )
    lines += [
        f"yield at Q{name[1:]}: {found['corrected_bases']:,} bases, draft {found['draft_bases']:,}"
        for name, found in summary["yield"].items()
    ]
    return "\n".join(f"genoformer: {line}" for line in lines)
