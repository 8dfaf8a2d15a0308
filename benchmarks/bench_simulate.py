"""Simulated ZMWs a minute, drafts and alignments included, and the seconds of each stage.

Molecules of 3 kb with 8 passes and of 12 kb with 10, in one process and in two. Each run is whole: genome, subreads,
drafts, alignments, truth.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.record import RESULTS, print_table, write_rows
from genoformer.errors import UsageError
from genoformer.workflows.draft import drafting_versions
from genoformer.workflows.simulate import SimulateOptions, SimulateSummary, simulate

CASES = ((60, 3_000, 8), (10, 12_000, 10))  # ZMWs, bases, passes
SEED = 7


def run_once(num_zmws: int, length_bp: int, num_passes: int, threads: int) -> SimulateSummary:
    """One whole simulation in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        options = SimulateOptions(Path(folder), SEED, num_zmws, num_passes, num_passes, length_bp, length_bp)
        return simulate(replace(options, threads=threads))


def measure(num_zmws: int, length_bp: int, num_passes: int, threads: int, repeats: int) -> dict[str, object]:
    """One row: medians over the repeats."""
    summaries = [run_once(num_zmws, length_bp, num_passes, threads) for _ in range(repeats)]
    totals = [sum(one.seconds.values()) for one in summaries]
    stages = {
        f"{stage}_s": f"{statistics.median(one.seconds[stage] for one in summaries):.2f}"
        for stage in summaries[0].seconds
    }
    return {
        "zmws": num_zmws,
        "bases": length_bp,
        "passes": num_passes,
        "processes": threads,
        "zmws_per_min": f"{60 * num_zmws / statistics.median(totals):.1f}",
        "zmws_per_min_least": f"{60 * num_zmws / max(totals):.1f}",
        **stages,
        "drafts": summaries[0].num_drafts,
        "draft_errors": summaries[0].num_draft_errors,
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="simulating uses the CPU either way")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "simulate.csv")
    options = parser.parse_args()
    try:
        drafting_versions()
    except UsageError as error:
        print(f"bench_simulate: skipped: {error}")
        return
    rows = [measure(*case, threads, options.repeats) for case in CASES for threads in (1, 2)]
    print_table(rows)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
