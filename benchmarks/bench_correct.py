"""The whole `correct` command: seconds by stage, windows and ZMWs a second, and peak memory of its processes.

    PYTHONPATH=.:kernels python benchmarks/bench_correct.py                      # vote and a random 6-layer model
    PYTHONPATH=.:kernels python benchmarks/bench_correct.py --model m.safetensors --copies 1,10 --memory-copies 50

The input is the ten real ZMWs beside the checkout (else the example reads) with their molecules renumbered and repeated
`--copies` times. `model_alone` runs the model on the same windows held in memory, in the same process as nothing else,
so `over_model` is what the rest of the command adds once it has started.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from process_memory import run_measured
from record import CHECKOUT, RESULTS, Timing, print_table, write_rows
from replicate import replicate

from genoformer.config import ConsensusConfig
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import iterate_molecules
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.workflows.correct_options import VOTE, CorrectOptions
from genoformer.workflows.predictor import load_predictor
from genoformer.workflows.prepare import PrepareSettings, prepare_molecule

REAL, EXAMPLE = CHECKOUT.parent / "shared" / "data" / "consensus" / "human_1m", CHECKOUT / "data" / "examples"


def random_model(folder: Path) -> str:
    """A checkpoint of the published size with weights from a fixed seed."""
    torch.manual_seed(0)
    config = ConsensusConfig()
    path = folder / "random_6_layers.safetensors"
    save_checkpoint(path, ConsensusTransformer(config).state_dict(), config)
    return str(path)


def model_alone(options: CorrectOptions, repeats: int) -> Timing | None:
    """Seconds that the model takes for all windows of the input; None for a vote."""
    predictor = load_predictor(options)
    if predictor.model is None:
        return None
    settings = PrepareSettings(
        Path(options.subreads), Path(options.ccs), predictor.config, False, options.skip_windows_above, 5, False
    )
    with BamReader(options.subreads) as subreads, CcsFinder(options.ccs) as ccs:
        prepared = [prepare_molecule(raw, settings).rows for raw in iterate_molecules(subreads, ccs)]
    rows = np.concatenate([rows for rows in prepared if rows is not None])
    missing = -len(rows) % predictor.batch_size
    batches = np.pad(rows, ((0, missing), (0, 0), (0, 0))).reshape(-1, predictor.batch_size, *rows.shape[1:])
    predict = predictor.model.load(predictor.devices[0])
    predict(batches[0])
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for batch in batches:
            predict(batch)
        seconds.append(time.perf_counter() - began)
    return Timing.of(seconds)


def run_command(options: CorrectOptions, timed: int, sampled: int) -> tuple[list[dict[str, Any]], list[float], float]:
    """Summaries and wall seconds of the command, and its peak memory in MB.

    Args:
        timed: runs that are only timed; sampled: further runs that sample the memory, which slows them down. Their
            seconds count only where no run is timed.
    """
    words = [sys.executable, "-m", "genoformer.cli.main", "consensus", "correct", options.subreads, options.ccs]
    words += ["-o", options.output, "-m", options.model, "--precision", options.precision, "--min-quality", "0"]
    words += ["--skip-windows-above", str(options.skip_windows_above), "--quiet"]
    words += ["--device", options.device] if options.device and options.model != VOTE else []
    summaries, seconds, peak = [], [], 0.0
    for memory in [False] * timed + [True] * sampled:
        finished = run_measured(words, memory=memory)
        if finished.returncode:
            raise SystemExit(f"{' '.join(words)}: exit {finished.returncode}")
        peak = max(peak, finished.peak_pss_mb)
        if not memory or not timed:
            summaries.append(json.loads(Path(f"{options.output}.summary.json").read_text()))
            seconds.append(finished.seconds)
    return summaries, seconds, peak


def row(options: CorrectOptions, copies: int, timed: int, sampled: int, with_model_alone: bool) -> dict[str, Any]:
    """One line of the results."""
    summaries, seconds, peak = run_command(options, timed, sampled)
    counts = summaries[0]["counts"]
    stages = {
        name: np.median([s["run"]["seconds"][name] for s in summaries]) for name in summaries[0]["run"]["seconds"]
    }
    wall = Timing.of(seconds)
    found = {
        "model": "vote" if options.model == VOTE else Path(options.model).stem,
        "precision": options.precision,
        "skip_above": f"{options.skip_windows_above:g}",
        "copies": copies,
        "zmws": counts["zmws"],
        "windows": counts["windows"],
        "called": counts["windows_called"],
        "wall_s": f"{wall.median_s:.3f}",
        "wall_s_p20": f"{wall.p20_s:.3f}",
        "wall_s_p80": f"{wall.p80_s:.3f}",
        **{f"{name}_s": f"{value:.3f}" for name, value in stages.items()},
        "called_per_s": f"{counts['windows_called'] / stages['streaming']:.4g}",
        "zmws_per_s": f"{counts['zmws'] / stages['streaming']:.4g}",
        "peak_pss_mb": f"{peak:.0f}" if sampled else "",
    }
    alone = model_alone(options, timed) if with_model_alone else None
    if alone is not None:
        found |= {
            "model_alone_s": f"{alone.median_s:.3f}",
            "over_model": f"{stages['streaming'] / alone.median_s - 1:+.3f}",
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="checkpoint; default: random weights of the published size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32,bf16")
    parser.add_argument("--copies", default="1,10", help="how often the input is repeated")
    parser.add_argument("--memory-copies", type=int, default=50, help="a larger input, for its memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "correct.csv")
    arguments = parser.parse_args()
    source = REAL if (REAL / "ccs.bam").is_file() else EXAMPLE
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or random_model(folder)
        copies = [int(count) for count in arguments.copies.split(",")]
        inputs = {
            count: replicate(source / "subreads_to_ccs.bam", source / "ccs.bam", count, folder)
            for count in {*copies, arguments.memory_copies}
        }
        runs = [(VOTE, "fp32", count, 45.0) for count in (*copies, arguments.memory_copies)]
        precisions = arguments.precision.split(",")
        runs += [(model, precision, count, 0.0) for precision in precisions for count in copies]
        runs += [(model, precisions[-1], count, 45.0) for count in (copies[0], arguments.memory_copies)]
        rows = []
        for name, precision, count, skip in runs:
            subreads, ccs = map(str, inputs[count])
            output = str(folder / "corrected.fastq.gz")
            options = CorrectOptions(
                subreads, ccs, output, model=name, precision=precision, skip_windows_above=skip, device=arguments.device
            )
            for_memory = count == arguments.memory_copies
            timed = 0 if for_memory else arguments.repeats if count < 10 else 1
            sampled = int(for_memory or count == copies[0])
            with_model_alone = name != VOTE and skip == 0
            rows.append({"input": source.name} | row(options, count, timed, sampled, with_model_alone))
            print_table(rows[-1:])
            sys.stdout.flush()
        write_rows(arguments.out, rows, device=arguments.device)


if __name__ == "__main__":
    main()
