"""`genoformer consensus simulate` and `fit-errors`: the commands; `cli/consensus.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genoformer.cli.terminal import Quiet, parse_bases, parse_range, set_up_log
from genoformer.wording import counted

SIMULATE_HELP = (
    "Simulate raw subreads, drafts made of them, and their truth: data to train, test and try with.\n\n"
    "Molecules are cut from a genome. Passes over them have the errors, pulse widths, inter-pulse durations and "
    "signal-to-noise of real subreads. 'draft' and 'align' then do to the subreads what they do to real ones. The "
    "folder holds all that 'examples' takes: there, the first 80 % of the genome are for training, the next 10 % for "
    "evaluation, the last 10 % for test.\n\n"
    "The same options give the same bytes, whatever --threads, and a ZMW does not depend on how many there are.\n\n"
    "Needs mappy, edlib and pyabpoa: pip install 'genoformer\\[align]'."  # rich takes a plain [ for markup
)


def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    seed: Annotated[int, typer.Option(help="Seed of everything random.")],
    zmws: Annotated[int, typer.Option(help="Number of ZMWs.")] = 20,
    passes: Annotated[str, typer.Option(help="Subreads a ZMW, least-most; partial ones count.")] = "3-12",
    length: Annotated[str, typer.Option(help="Molecule length in bp, least-most.")] = "800-1500",
    genome: Annotated[Path | None, typer.Option(help="FASTA file to cut molecules from.")] = None,
    random: Annotated[
        str | None, typer.Option(help="Size of a random genome to cut them from instead. Default: 1Mb.")
    ] = None,
    error_model: Annotated[
        Path | None, typer.Option(help="Tables that 'fit-errors' made. Default: those of real Sequel I subreads.")
    ] = None,
    movie: Annotated[str, typer.Option(help="Movie name of the reads.")] = "m00000_000000_000000",
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Simulates and says what there is now."""
    from genoformer.workflows.simulate import SimulateOptions
    from genoformer.workflows.simulate import simulate as run

    if genome is not None and random is not None:
        raise typer.BadParameter("both --genome and --random are given; expected one of them", param_hint="--random")
    min_passes, max_passes = parse_range(passes, "--passes", "3-12")
    min_length, max_length = parse_range(length, "--length", "800-1500")
    options = SimulateOptions(
        output, seed, zmws, min_passes, max_passes, min_length, max_length, genome,
        parse_bases(random or "1Mb", "--random"), error_model, movie, threads,
    )  # fmt: skip
    summary = run(options)
    if quiet:
        return
    splits = ", ".join(f"{count:,} {split}" for split, count in summary.num_molecules.items())
    seconds = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items())
    typer.echo(
        f"genoformer: {counted(summary.num_zmws, 'ZMW')} ({splits}), {counted(summary.num_subreads, 'subread')} of "
        f"{counted(summary.num_subread_bases, 'base')}\n"
        f"genoformer: {counted(summary.num_drafts, 'draft')}, {counted(summary.num_draft_errors, 'error')} in "
        f"{summary.num_truth_bases:,} bp\n"
        f"genoformer: seconds: {seconds}",
        err=True,
    )


FIT_ERRORS_HELP = (
    "Fit the error model of 'simulate' to aligned reads.\n\n"
    "Takes subreads aligned to what they were sequenced from: an assembly, or the truth of each ZMW. Where they lie is "
    "taken from the file; each is then aligned anew by edit distance. Reads with pw, ip and sn tags give kinetics and "
    "signal-to-noise; for others these stay as shipped.\n\n"
    "Since an aligner explains some errors otherwise than they came about, the tables are moved until simulated reads, "
    "aligned and counted in the same way, give the counts of the real ones.\n\n"
    "Needs mappy and edlib: pip install 'genoformer\\[align]'."
)


def fit_errors(
    reads: Annotated[Path, typer.Argument(help="BAM of aligned subreads.")],
    ref: Annotated[Path, typer.Option("--ref", help="FASTA that they are aligned to.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Error model to write, JSON.")],
    limit: Annotated[int, typer.Option(help="Use this many reads, the first ones.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the simulated reads.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Fits and says what was counted."""
    from genoformer.workflows.fit_errors import FitOptions
    from genoformer.workflows.fit_errors import fit_errors as run

    set_up_log(quiet)
    summary = run(FitOptions(reads, ref, output, limit, seed))
    if quiet:
        return
    substituted, inserted, missed = summary.rates.tolist()
    used = f"{counted(summary.num_reads, 'read')} ({summary.num_skipped:,} left out)"
    typer.echo(
        f"genoformer: {used} over {counted(summary.num_bases, 'base')}: {substituted:.4f} substitutions, "
        f"{inserted:.4f} insertions, {missed:.4f} deletions a base"
        + ("" if summary.has_kinetics else "; no pw and ip tags: kinetics as shipped"),
        err=True,
    )
