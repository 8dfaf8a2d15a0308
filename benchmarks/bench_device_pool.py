"""Rates of `correct`, `predict` and `score` on one device and on several, each CPU "device" with a core of its own.

    PYTHONPATH=.:kernels python benchmarks/bench_device_pool.py                              # cpu against cpu,cpu
    PYTHONPATH=.:kernels python benchmarks/bench_device_pool.py --device cuda:0 --devices all --tasks predict

`correct` reads the ten real ZMWs beside the checkout (else the example reads), no window skipped, with a model of the
published size. `predict` and `score` read a random genome, windows and substitutions one after the other, with a model
of Enformer's window, bins, tracks and depth and a quarter of its widths. Weights are random. The commands run in turns.
The pileup process and the main one have no core of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from bench_correct import EXAMPLE, REAL, random_model
from record import RESULTS, Timing, print_table, write_rows

from genoformer.config import ExpressionConfig
from genoformer.genome.alphabet import GENOME_LETTERS
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.expression import ExpressionTransformer

QUARTER = ExpressionConfig(
    heads={"human": 5313}, stem_width=192, tower_widths=(192, 224, 256, 288, 320, 384), key_width=16, value_width=48,
    filter_width=768, pointwise_width=768, position_features=48,
)  # fmt: skip
SPACING_BP = QUARTER.target_bins * QUARTER.bin_bp  # of windows, and of variants


class Task(NamedTuple):
    """A command without its devices and its output.

    Attributes:
        what: windows or variants.
        count: how many of these a summary tells of.
    """

    input: str
    words: list[str]
    output: str
    what: str
    count: Callable[[dict[str, Any]], int]


def correct_task(folder: Path, _: int) -> Task:
    source = REAL if (REAL / "ccs.bam").is_file() else EXAMPLE
    inputs = [str(source / name) for name in ("subreads_to_ccs.bam", "ccs.bam")]
    words = ["consensus", "correct", *inputs, "-m", random_model(folder), "--skip-windows-above", "0"]
    return Task(
        source.name, [*words, "--min-quality", "0"], "out.fastq.gz", "windows", lambda s: s["counts"]["windows_called"]
    )


def expression_words(folder: Path, num_items: int) -> tuple[list[str], str]:
    """The genome and the model of a command, and the genome's letters."""
    codes = np.random.default_rng(0).integers(0, 4, (num_items + 1) * SPACING_BP)
    letters = np.frombuffer(GENOME_LETTERS, np.uint8)[codes].tobytes().decode()
    (folder / "genome.fa").write_text(f">chr1\n{letters}\n")
    torch.manual_seed(0)
    save_checkpoint(folder / "quarter.safetensors", ExpressionTransformer(QUARTER).state_dict(), QUARTER)
    return [str(folder / "genome.fa"), "-m", str(folder / "quarter.safetensors")], letters


def predict_task(folder: Path, num_items: int) -> Task:
    words, letters = expression_words(folder, num_items)
    starts = range(0, len(letters) - SPACING_BP, SPACING_BP)
    (folder / "regions.bed").write_text("".join(f"chr1\t{start}\t{start + SPACING_BP}\n" for start in starts))
    words = ["expression", "predict", *words, str(folder / "regions.bed")]
    return Task("random", words, "out.h5", "windows", lambda s: s["run"]["windows"])


def score_task(folder: Path, num_items: int) -> Task:
    words, letters = expression_words(folder, num_items)
    rows = ["##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"]
    for place in range(SPACING_BP, len(letters), SPACING_BP):
        ref = letters[place - 1]
        rows.append(f"chr1\t{place}\t.\t{ref}\t{'ACGT'['ACGT'.index(ref) - 3]}\t.\t.\t.\n")
    (folder / "calls.vcf").write_text("".join(rows))
    words = ["variants", "score", str(folder / "calls.vcf"), *words]
    return Task("random", words, "out.h5", "variants", lambda s: s["run"]["variants"])


TASKS = {"correct": correct_task, "predict": predict_task, "score": score_task}


def run(task: Task, folder: Path, devices: str, threads: int) -> dict[str, Any]:
    """The summary of one command."""
    output = folder / task.output
    words = [sys.executable, "-m", "genoformer.cli.main", *task.words, "-o", str(output), "--quiet"]
    subprocess.run([*words, "--device", devices, "--threads", str(threads)], check=True)
    summary: dict[str, Any] = json.loads(Path(f"{output}.summary.json").read_text())
    return summary


def row(name: str, task: Task, devices: str, threads: int, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the results."""
    count = task.count(summaries[0])
    streaming = Timing.of([summary["run"]["seconds"]["streaming"] for summary in summaries])
    busy = [device["busy"] for summary in summaries for device in summary["run"]["devices"]]
    return {
        "task": name,
        "input": task.input,
        "devices": devices,
        "cores": threads,
        "what": task.what,
        "count": count,
        **streaming.rates(count, "per_s"),
        "busy": f"{sum(busy) / len(busy):.3f}",
        "bottleneck": summaries[0]["run"]["bottleneck"],
    }


def rows_of(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of one command on both lists of devices."""
    cores = map(int, arguments.threads.split(","))
    cases = list(zip((arguments.device, arguments.devices), cores, strict=True))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        task = TASKS[name](folder, arguments.count)
        found: dict[str, list[dict[str, Any]]] = {devices: [] for devices, _ in cases}
        for _ in range(arguments.repeats):
            for devices, threads in cases:
                found[devices].append(run(task, folder, devices, threads))
    rows = [row(name, task, devices, threads, found[devices]) for devices, threads in cases]
    one = float(rows[0]["per_s"])
    return [{**each, "over_one": f"{float(each['per_s']) / one:.2f}"} for each in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--devices", default="cpu,cpu")
    parser.add_argument("--threads", default="1,2", help="of the one and of the several devices")
    parser.add_argument("--count", type=int, default=24, help="windows to predict, and variants to score")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "device_pool.csv")
    arguments = parser.parse_args()
    for name in arguments.tasks:
        rows = rows_of(name, arguments)
        print_table(rows)
        write_rows(arguments.out, rows, device=arguments.device)


if __name__ == "__main__":
    main()
