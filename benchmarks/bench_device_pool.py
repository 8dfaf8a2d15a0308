"""Windows a second of `correct` on one device and on several, each CPU "device" with a core of its own.

    PYTHONPATH=.:kernels python benchmarks/bench_device_pool.py                              # cpu against cpu,cpu
    PYTHONPATH=.:kernels python benchmarks/bench_device_pool.py --device cuda:0 --devices all

The input is the ten real ZMWs beside the checkout (else the example reads), no window skipped; the model has the
published size and random weights. The two commands run in turns. The pileup process and the main one have no core of
their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_correct import EXAMPLE, REAL, random_model
from record import RESULTS, Timing, print_table, write_rows


def run(inputs: list[str], model: str, devices: str, threads: int, output: Path) -> dict[str, Any]:
    """The summary of one command."""
    words = [sys.executable, "-m", "genoformer.cli.main", "consensus", "correct", *inputs, "-o", str(output)]
    words += ["-m", model, "--device", devices, "--threads", str(threads), "--skip-windows-above", "0"]
    subprocess.run([*words, "--min-quality", "0", "--quiet"], check=True)
    summary: dict[str, Any] = json.loads(Path(f"{output}.summary.json").read_text())
    return summary


def row(devices: str, threads: int, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the results."""
    windows = summaries[0]["counts"]["windows_called"]
    streaming = Timing.of([summary["run"]["seconds"]["streaming"] for summary in summaries])
    busy = [[device["busy"] for device in summary["run"]["devices"]] for summary in summaries]
    return {
        "devices": devices,
        "cores": threads,
        "windows": windows,
        **streaming.rates(windows, "windows_per_s"),
        "busy": f"{sum(map(sum, busy)) / sum(map(len, busy)):.3f}",
        "bottleneck": summaries[0]["run"]["bottleneck"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--devices", default="cpu,cpu")
    parser.add_argument("--threads", default="1,2", help="of the one and of the several devices")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "device_pool.csv")
    arguments = parser.parse_args()
    source = REAL if (REAL / "ccs.bam").is_file() else EXAMPLE
    inputs = [str(source / name) for name in ("subreads_to_ccs.bam", "ccs.bam")]
    cases = list(zip((arguments.device, arguments.devices), map(int, arguments.threads.split(",")), strict=True))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = random_model(folder)
        found: dict[str, list[dict[str, Any]]] = {devices: [] for devices, _ in cases}
        for _ in range(arguments.repeats):
            for devices, threads in cases:
                found[devices].append(run(inputs, model, devices, threads, folder / "corrected.fastq.gz"))
    rows = [row(devices, threads, found[devices]) for devices, threads in cases]
    one = float(rows[0]["windows_per_s"])
    rows = [{**each, "over_one": f"{float(each['windows_per_s']) / one:.2f}"} for each in rows]
    print_table(rows)
    write_rows(arguments.out, [{"input": source.name} | each for each in rows], device=arguments.device)


if __name__ == "__main__":
    main()
