"""`genoformer consensus draft`: the command; `cli/consensus.py` registers it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genoformer.cli.terminal import Progress, Quiet, parse_shard, set_up_log
from genoformer.wording import counted

MIN_PASSES_HELP = "Full passes, adapter to adapter, that a draft needs. 1: one pass will do; 0: a partial one."
MAX_PASSES_HELP = "Passes that are looked at: full ones nearest to their median length, then the longest others."
MAX_LENGTH_HELP = "Longer subreads do not count."

DRAFT_HELP = (
    "Draft a consensus read of each ZMW from its raw subreads.\n\n"
    "For subreads without CCS reads. abPOA joins up to six full passes; every edit of a base is then weighed by the "
    "likelihood of all passes, with their pulse widths, inter-pulse durations and signal-to-noise ratios where they "
    "have them. On six real Sequel I molecules (74.7 kb) that makes 163 errors; the reads of 'ccs' have 184. That is "
    "little to go by: where there are CCS reads of a current 'ccs', take those.\n\n"
    "Subreads must have the tag cx, as instruments write it. ZMWs with too few full passes are left out and counted. "
    "Beside the output stands OUTPUT.summary.json with the counts.\n\n"
    "The same input gives the same records, whatever --threads and --shard; reads come in the order of the subreads "
    "file, and 'samtools cat' of all shards is the file of a run without.\n\n"
    "Needs the packages mappy, edlib and pyabpoa: pip install 'genoformer\\[align]'."  # rich takes a plain [ for markup
)


def draft(
    subreads: Annotated[str, typer.Argument(help="BAM of raw subreads, ZMW by ZMW, as the instrument writes them.")],
    output: Annotated[str, typer.Option("-o", "--output", help="BAM file to write.")],
    min_passes: Annotated[int, typer.Option(help=MIN_PASSES_HELP)] = 3,
    max_passes: Annotated[int, typer.Option(help=MAX_PASSES_HELP)] = 30,
    max_length: Annotated[int, typer.Option(help=MAX_LENGTH_HELP)] = 50_000,
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="i/N: only the i-th of N parts of the ZMWs.")] = None,
    quiet: Quiet = False,
) -> None:
    """Drafts consensus reads and says what became of the ZMWs."""
    from genoformer.workflows.draft import DraftOptions
    from genoformer.workflows.draft import draft as run
    from genoformer.workflows.draft_zmw import DraftSettings

    settings = DraftSettings(min_passes, max_passes, max_length)
    options = DraftOptions(subreads, output, settings, threads, None if shard is None else parse_shard(shard))
    set_up_log(quiet)
    with Progress(hidden=quiet) as progress:
        summary = run(options, progress.update)
    if not quiet:
        typer.echo(_describe(summary["counts"]), err=True)


def _describe(counts: dict[str, Any]) -> str:
    drafts = f"{counted(counts['drafts'], 'draft')} of {counted(counts['bases'], 'base')}"
    lines = [f"{drafts} from {counted(counts['zmws'], 'ZMW')}"]
    if counts["too_few_passes"]:
        lines.append(f"too few full passes: {counted(counts['too_few_passes'], 'ZMW')}")
    if counts["not_alike"]:
        lines.append(f"passes that do not align to one another: {counted(counts['not_alike'], 'ZMW')}")
    return "\n".join(f"genoformer: {line}" for line in lines)
