"""`genoformer consensus align`: the command; `cli/consensus.py` registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from genoformer.cli.terminal import Progress, Quiet, parse_shard, set_up_log
from genoformer.wording import counted

if TYPE_CHECKING:
    from genoformer.workflows.align import AlignCounts

ALIGN_HELP = (
    "Align raw subreads to their CCS reads, for 'correct' (replaces actc).\n\n"
    "Reads are matched by movie and hole number. minimap2 finds strand and span, edlib the alignment of least edit "
    "distance; gaps stand as far left as they go, and what does not align is clipped softly, so that every base and "
    "tag is kept. A CCS read of one strand (.../ccs/fwd, .../ccs/rev) gets the subreads of its own strand.\n\n"
    "Subreads of ZMWs without a CCS read, and those that do not align, are left out and counted.\n\n"
    "The same input gives the same bytes, whatever --threads; reads come in the order of the subreads file. Shards "
    "have the whole header: 'samtools cat' of all of them is the file of a run without --shard.\n\n"
    "Needs the packages mappy and edlib: pip install 'genoformer\\[align]'."  # rich takes a plain [ for markup
)


def align(
    subreads: Annotated[str, typer.Argument(help="BAM of raw subreads, ZMW by ZMW, as the instrument writes them.")],
    ccs: Annotated[str, typer.Argument(help="BAM of the CCS reads, best in the same order.")],
    output: Annotated[str, typer.Option("-o", "--output", help="BAM file to write.")],
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/N: only the i-th of N parts of the ZMWs; give each to its own 'correct'.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Aligns subreads to CCS reads and says what became of them."""
    from genoformer.workflows.align import AlignOptions
    from genoformer.workflows.align import align as run

    options = AlignOptions(subreads, ccs, output, threads, None if shard is None else parse_shard(shard))
    set_up_log(quiet)
    with Progress(hidden=quiet) as progress:
        counts = run(options, progress.update)
    if not quiet:
        typer.echo(_describe(counts), err=True)


def _describe(counts: AlignCounts) -> str:
    lines = [f"{counts.aligned:,} of {counted(counts.subreads, 'subread')} of {counted(counts.zmws, 'ZMW')} aligned"]
    if counts.zmws_without_ccs:
        without = counted(counts.subreads_without_ccs, "subread")
        lines.append(f"no CCS read: {without} of {counted(counts.zmws_without_ccs, 'ZMW')}")
    if counts.unaligned:
        lines.append(f"do not align to their CCS read: {counted(counts.unaligned, 'subread')}")
    if counts.other_strand:
        lines.append(f"no CCS read of their strand: {counted(counts.other_strand, 'subread')}")
    return "\n".join(f"genoformer: {line}" for line in lines)
