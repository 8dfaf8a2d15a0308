"""A plan for a SMRT Cell of 15 kb molecules: the rate of every stage of `correct` on this machine, time and cost.

    PYTHONPATH=.:kernels python benchmarks/bench_cell.py
    PYTHONPATH=.:kernels python benchmarks/bench_cell.py --device cuda --precision bf16

The input is the ten real ZMWs beside the checkout (else the example reads), molecules renumbered and repeated; every
stage runs alone, on one core. Rates count all windows but the model's, which counts those that it is given. The plan
scales them to a cell: 2.9 million molecules, 43 Gb, 1.37 windows per 100 bp, `--skipped` of them kept as they are (38
to 52 % at the default threshold on the real molecules). Prices are assumptions, to be set.

Columns of the plan: hours; the processes (shards at the same time) that it takes so that no main process, which reads,
packs and writes, is the slowest stage; cores of all of these, of the pileups and one for each device; what limits it.
The row `original` is DeepConsensus v1.2 as published: 532 hours of a machine with 16 CPUs.
"""

from __future__ import annotations

import argparse
import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
from bench_correct import EXAMPLE, REAL, random_model
from record import RESULTS, print_table, write_rows
from replicate import replicate

from genoformer.genome.quality import MAX_FASTQ_QUALITY
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import RawMolecule, iterate_molecules
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.output import CorrectedOutput
from genoformer.workflows.pipeline import Flow, WindowBatches
from genoformer.workflows.predictor import Predictor, load_predictor
from genoformer.workflows.prepare import Calls, PreparedMolecule, PrepareSettings, prepare_molecule
from genoformer.workflows.stitch import Outcome, StitchSettings, corrected_read, stitch

BASES, WINDOWS_PER_BASE = 43e9, 1.37 / 100
ORIGINAL_HOURS, ORIGINAL_CORES = 532, 16
SERIAL = ("read", "pack", "write")  # in the main process of a run
DEVICES = (1, 4, 8)


def read(options: CorrectOptions) -> list[RawMolecule]:
    """The molecules of both files."""
    assert options.ccs is not None
    with BamReader(options.subreads) as subreads, CcsFinder(options.ccs) as ccs:
        return list(iterate_molecules(subreads, ccs))


def prepare_all(raw: list[RawMolecule], options: CorrectOptions, predictor: Predictor) -> list[PreparedMolecule]:
    """What pileup processes make of them."""
    settings = PrepareSettings(
        Path(options.subreads), Path(options.ccs or ""), predictor.config, False, options.skip_windows_above, 5, False
    )
    return [prepare_molecule(molecule, settings) for molecule in raw]


def pack(prepared: list[PreparedMolecule], predictor: Predictor) -> list[tuple[PreparedMolecule, Calls]]:
    """Molecules taken over from another process, and packed for a model that takes no time."""
    shape = (predictor.batch_size, predictor.config.num_rows, predictor.config.window_length)
    calls = np.ones((shape[0], shape[2]), np.uint8), np.full((shape[0], shape[2]), 1e-4, np.float32)
    called: Future[tuple[np.ndarray, ...]] = Future()
    called.set_result(calls)
    batches = WindowBatches(lambda rows: called, shape, 1, Flow())
    received: Iterator[PreparedMolecule] = (
        ForkingPickler.loads(ForkingPickler.dumps(molecule)) for molecule in prepared
    )
    return list(batches.called(received))


def write(called: list[tuple[PreparedMolecule, Calls]], folder: Path) -> None:
    """Stitches the molecules and writes them as BAM."""
    settings = StitchSettings(0, 0, MAX_FASTQ_QUALITY, None, None)
    output = CorrectedOutput(str(folder / "out.bam"), "@HD\tVN:1.6\n", {}, None, resume=False)
    for molecule, calls in called:
        stitched = stitch(molecule, calls, settings)
        output.add(
            molecule, stitched, corrected_read(molecule, stitched) if stitched.outcome is Outcome.SUCCESS else None
        )
    output.finish({})


def call(prepared: list[PreparedMolecule], predictor: Predictor) -> Callable[[], int]:
    """A call of the model on whole batches; gives the number of windows."""
    assert predictor.model is not None
    rows = np.concatenate([molecule.rows for molecule in prepared if molecule.rows is not None])
    batch = np.resize(rows, (predictor.batch_size, *rows.shape[1:]))
    predict = predictor.model.load(predictor.devices[0])
    predict(batch)

    def run() -> int:
        for _ in range(4):
            predict(batch)
        return 4 * len(batch)

    return run


def timed(function: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """What a function gives, and the median of its seconds after a first call."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return result, float(np.median(seconds))


def rates(options: CorrectOptions, folder: Path, repeats: int) -> dict[str, float]:
    """Windows a second of each stage, on one core or on one device."""
    predictor = load_predictor(options)
    raw, read_s = timed(functools.partial(read, options), repeats)
    prepared, pileup_s = timed(functools.partial(prepare_all, raw, options, predictor), repeats)
    called, pack_s = timed(functools.partial(pack, prepared, predictor), repeats)
    _, write_s = timed(functools.partial(write, called, folder), repeats)
    num_called, model_s = timed(call(prepared, predictor), repeats)
    windows = sum(len(molecule.ccs_range) for molecule in prepared)
    seconds = {"read": read_s, "pileup": pileup_s, "pack": pack_s, "write": write_s}
    return {stage: windows / taken for stage, taken in seconds.items()} | {"model": num_called / model_s}


def plan(found: dict[str, float], devices: int, skipped: float, prices: tuple[float, float]) -> dict[str, Any]:
    """Time, cores and cost of a cell with so many devices."""
    windows = BASES * WINDOWS_PER_BASE
    seconds = {stage: windows / rate for stage, rate in found.items()}
    seconds["model"] *= 1 - skipped
    wall = seconds["model"] / devices
    serial = sum(seconds[stage] for stage in SERIAL)
    processes = max(1, math.ceil(serial / wall))
    cores = math.ceil(serial / wall + seconds["pileup"] / wall) + devices
    return {
        "devices": devices,
        "hours": f"{wall / 3600:.1f}",
        "processes": processes,
        "cores": cores,
        "cost": f"{wall / 3600 * (devices * prices[0] + cores * prices[1]):.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="checkpoint; default: random weights of the published size")
    parser.add_argument("--device", default="cpu", help="on a CPU a device is one core")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skipped", type=float, default=0.45, help="part of the windows that keep the CCS read")
    parser.add_argument("--device-hour", type=float, help="price; default: 2.5 for a GPU, 0.05 for a core")
    parser.add_argument("--core-hour", type=float, default=0.05, help="price")
    parser.add_argument("--out", type=Path, default=RESULTS / "cell.csv")
    arguments = parser.parse_args()
    source = REAL if (REAL / "ccs.bam").is_file() else EXAMPLE
    is_cpu = arguments.device == "cpu"
    device_hour = arguments.device_hour if arguments.device_hour is not None else arguments.core_hour if is_cpu else 2.5
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or random_model(folder)
        subreads, ccs = replicate(source / "subreads_to_ccs.bam", source / "ccs.bam", arguments.copies, folder)
        options = CorrectOptions(
            str(subreads), str(ccs), str(folder / "out.bam"), model=model, device=arguments.device, threads=1,
            precision=arguments.precision,
        )  # fmt: skip
        found = rates(options, folder, arguments.repeats)
    stages = {f"{stage}_windows_per_s": f"{rate:.4g}" for stage, rate in found.items()}
    print_table([stages])
    prices = 0.0 if is_cpu else device_hour, arguments.core_hour
    plans = [plan(found, devices, arguments.skipped, prices) for devices in DEVICES]
    cost = f"{ORIGINAL_HOURS * ORIGINAL_CORES * arguments.core_hour:.0f}"
    plans.append(
        {"devices": "original", "hours": ORIGINAL_HOURS, "processes": "", "cores": ORIGINAL_CORES, "cost": cost}
    )
    print_table(plans)
    shared = {
        "input": source.name, "model": Path(model).stem, "precision": arguments.precision, **stages,
        "skipped": arguments.skipped, "device_hour": prices[0], "core_hour": prices[1],
    }  # fmt: skip
    write_rows(arguments.out, [shared | each for each in plans], device=arguments.device)


if __name__ == "__main__":
    main()
