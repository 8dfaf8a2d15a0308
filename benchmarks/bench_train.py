"""What limits training a consensus model: windows a second of the loader alone, of training steps, and of both.

Windows are those of the example reads and, where they lie beside the checkout, of ten real ZMWs, repeated to shards
that are read in random order from the page cache. `ours` is what training reads from; `h5py` is the same shards through
HDF5's own read path. CPU time is that of the reading and the main process together, start of the processes included.

A step is the forward pass, the alignment loss, the backward pass and the optimizer's update of a configuration that
ships, in the precision named, without dropout. `freed_memory` is what becomes of a tensor's memory on a CPU: "returned"
to the kernel, as the C library comes, or "kept", as training asks of it. `share_of_product` is the rate of its matrix
products (three times the forward pass's) over that of the fastest matrix product of this machine, measured in turns.

With both, the loader feeds the steps of the tiny configuration; `workers` "none" is one batch over and over.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice, product
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.bench_consensus_model import DTYPES, best_product, products, random_model, simulated_rows, window_gflop
from benchmarks.bench_pileup import CONFIG, INPUTS, cut, decode, pile_up, read
from benchmarks.record import RESULTS, Timing, print_table, time_in_turns, write_rows
from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.datasets.loader import Batch, Draws, ExampleSource, Loader
from genoformer.datasets.shards import ShardedExamples
from genoformer.io.examples import Examples, ExampleWriter
from genoformer.models.consensus import Precision
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig
from genoformer.training.host_memory import keep_freed_memory
from genoformer.training.optimizer import build_optimizer, set_learning_rate_

NUM_SHARDS = 4
BATCH_SIZE = 64
NUM_WORKERS = (0, 1, 2)
STEPS = 12  # in a row, with the loader
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
WITHOUT_DROPOUT = [f"model.{name}_dropout=0" for name in ("attention", "relu", "residual")]


class H5pySource(ShardedExamples[h5py.File]):
    """The same windows, each read by HDF5 and its filter."""

    def __init__(self, paths: list[Path], config: ConsensusConfig) -> None:
        self.config = config
        super().__init__(paths, [self._num_windows(path) for path in paths], h5py.File)

    def _num_windows(self, path: Path) -> int:
        with h5py.File(path) as file:
            return len(file["windows"])

    def read_batch(self, indices: np.ndarray, draws: Draws | None = None) -> Batch:
        """As `ConsensusDataset.read_batch`, but for the fields that are the same for a molecule."""
        shape = self.config.num_rows, self.config.window_length
        rows = np.zeros((len(indices), *shape), np.int16)
        labels = np.empty((len(indices), shape[1]), np.uint8)
        num_stored = 3 * self.config.max_passes
        for chosen, file, places in self._locate(indices):
            windows = np.stack([file["windows"][place] for place in places.tolist()])
            rows[chosen, :num_stored], labels[chosen] = windows[:, :num_stored], windows[:, -1]
        return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(labels)}


@dataclass(frozen=True)
class Reading:
    """One run of a loader: seconds of the clock and of all CPUs."""

    seconds: float
    cpu_seconds: float


def write_shards(folder: Path, reads: Path, num_windows: int) -> list[Path]:
    """Shards of at least `num_windows` windows with the CCS bases as labels: the reader does not mind."""
    molecules = [
        Examples.from_rows(
            rows, CONFIG, ccs_quals=np.full_like(rows[:, 0], 40), labels=rows[:, 4 * CONFIG.max_passes],
            ccs_start=np.zeros(len(rows)), num_passes=np.zeros(len(rows)), molecule=np.zeros(len(rows)),
        )
        for rows in cut(pile_up(decode(read(reads))))
    ]  # fmt: skip
    writers = [ExampleWriter(folder / f"{index}.h5", CONFIG, "train") for index in range(NUM_SHARDS)]
    turn = 0
    while sum(map(len, writers)) < num_windows:
        for molecule, examples in enumerate(molecules):
            writers[turn % NUM_SHARDS].append(f"m/{molecule}/ccs", examples)
            turn += 1
    for writer in writers:
        writer.finish()
    return [writer.path for writer in writers]


def read_batches(source: ExampleSource, num_workers: int, num_batches: int) -> Reading:
    """One run over random batches, from the start of the reading processes to their end."""
    loader = Loader(source, batch_size=BATCH_SIZE, seed=1, num_workers=num_workers)
    start, cpu = time.perf_counter(), _cpu_seconds()
    batches = iter(loader)
    for _ in islice(batches, num_batches):
        pass
    seconds = time.perf_counter() - start
    batches.close()
    return Reading(seconds, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def loader_rows(name: str, reads: Path, num_windows: int, repeats: int) -> list[dict[str, object]]:
    """One row for each source and number of workers on one input."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_shards(Path(folder), reads, num_windows)
        sources = {"ours": ConsensusDataset(paths, CONFIG), "h5py": H5pySource(paths, CONFIG)}
        num_batches = num_windows // BATCH_SIZE
        size = sum(path.stat().st_size for path in paths) / len(sources["ours"])
        cases = [(what, workers) for what in sources for workers in NUM_WORKERS]
        readings: dict[tuple[str, int], list[Reading]] = {case: [] for case in cases}
        for _ in range(repeats):
            for what, workers in cases:
                readings[what, workers].append(read_batches(sources[what], workers, num_batches))
    count = num_batches * BATCH_SIZE
    return [
        {
            "what": "loader",
            "input": name,
            "source": what,
            "workers": workers,
            "batch": BATCH_SIZE,
            "windows": count,
            **Timing.of([reading.seconds for reading in found]).rates(count, "windows_per_s"),
            "cpu_us_per_window": f"{1e6 * Timing.of([reading.cpu_seconds for reading in found]).median_s / count:.1f}",
            "bytes_per_window": f"{size:.0f}",
            "repeats": repeats,
            "h5py": version("h5py"),
        }
        for (what, workers), found in readings.items()
    ]


def training_step(
    task: ConsensusTask, next_batch: Callable[[], Batch], precision: Precision, device: str
) -> Callable[[], None]:
    """A call that takes one step of the task's optimizer."""
    optimizer = build_optimizer(task.model, task.config.optimizer)
    set_learning_rate_(optimizer, 1e-6)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = task.loss({name: tensor.to(device) for name, tensor in next_batch().items()})["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def same_batch(config: ConsensusTrainConfig, batch_size: int, device: str) -> Callable[[], Batch]:
    """Gives one batch over and over."""
    rows = torch.from_numpy(simulated_rows(config.model, batch_size)).to(device)
    batch = {"rows": rows, "labels": rows[:, 4 * config.model.max_passes].to(torch.uint8)}
    return lambda: batch


def loaded_rows(config_name: str, reads: Path, device: str, repeats: int) -> list[dict[str, object]]:
    """A row for each precision and number of reading processes, which feed the steps of one configuration."""
    config = load_toml(ConsensusTrainConfig, CONFIGS / f"{config_name}.toml", WITHOUT_DROPOUT)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as loaders:
        source = ConsensusDataset(write_shards(Path(folder), reads, STEPS * BATCH_SIZE), config.model)
        calls: dict[str, Callable[[], object]] = {}
        for precision, workers in product(DTYPES, ("none", *NUM_WORKERS)):
            next_batch = same_batch(config, BATCH_SIZE, device)
            if workers != "none":
                loader = Loader(source, batch_size=BATCH_SIZE, seed=1, num_workers=int(workers))
                next_batch = functools.partial(next, loaders.enter_context(contextlib.closing(iter(loader))))
            task = ConsensusTask(random_model(config.model).to(device).train(), config)
            step = training_step(task, next_batch, precision, device)
            calls[f"{precision} {workers}"] = functools.partial(take_steps, step)
        timings = time_in_turns(calls, repeats=repeats, warmup=1, device=device)
    return [
        {
            "config": config_name,
            "precision": name.split()[0],
            "batch": BATCH_SIZE,
            "workers": name.split()[1],
            **timing.rates(STEPS * BATCH_SIZE, "windows_per_s"),
            "repeats": repeats,
        }
        for name, timing in timings.items()
    ]


def take_steps(step: Callable[[], None]) -> None:
    """So many that what was read ahead hardly counts."""
    for _ in range(STEPS):
        step()


def step_rows(
    name: str, batch_sizes: list[int], device: str, freed_memory: str, repeats: int
) -> list[dict[str, object]]:
    """A row for each precision and batch size of one configuration."""
    config = load_toml(ConsensusTrainConfig, CONFIGS / f"{name}.toml", WITHOUT_DROPOUT)
    calls: dict[str, Callable[[], object]] = {}
    for precision in DTYPES:
        calls |= products(precision, device)
        for batch_size in batch_sizes:
            task = ConsensusTask(random_model(config.model).to(device).train(), config)
            calls[f"{precision} {batch_size}"] = training_step(
                task, same_batch(config, batch_size, device), precision, device
            )
    timings = time_in_turns(calls, repeats=repeats, warmup=1, device=device)
    found: list[dict[str, object]] = []
    for precision, batch_size in product(DTYPES, batch_sizes):
        timing = timings[f"{precision} {batch_size}"]
        best, best_rate = best_product(timings, precision)
        rate = 3 * window_gflop(config.model) * batch_size / timing.median_s
        found.append(
            {
                "config": name,
                "precision": precision,
                "batch": batch_size,
                "freed_memory": freed_memory,
                **timing.rates(batch_size, "windows_per_s"),
                "gflop_per_s": f"{rate:.0f}",
                "best_product": best,
                "best_product_gflop_per_s": f"{best_rate:.0f}",
                "share_of_product": f"{rate / best_rate:.3f}",
                "repeats": repeats,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="of the steps")
    parser.add_argument("--only", choices=["loader", "step", "both"])
    parser.add_argument("--configs", nargs="+", default=["consensus_tiny", "consensus_base"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, help="default 32 64 256, on a GPU 256 2048")
    parser.add_argument("--windows", type=int, default=20_000, help="in each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the rows")
    options = parser.parse_args()
    if options.only in (None, "step"):
        batch_sizes = options.batch_sizes or ([32, 64, 256] if options.device == "cpu" else [256, 2048])
        steps = []
        for freed_memory in ("returned", "kept"):  # in this order: a process that keeps it goes on to
            if freed_memory == "returned" or (options.device == "cpu" and keep_freed_memory()):
                for name in options.configs:
                    steps += step_rows(name, batch_sizes, options.device, freed_memory, options.repeats)
        print_table(steps)
        write_rows(options.out / "train_step.csv", steps, device=options.device)
    if options.only in (None, "both"):
        if options.device == "cpu":
            keep_freed_memory()
        rows = loaded_rows("consensus_tiny", INPUTS["examples"], options.device, options.repeats)
        print_table(rows)
        write_rows(options.out / "train_loaded.csv", rows, device=options.device)
    if options.only in (None, "loader"):
        torch.set_num_threads(1)
        folders = {name: folder for name, folder in INPUTS.items() if (folder / "ccs.bam").is_file()}
        reads = [
            row
            for name, folder in folders.items()
            for row in loader_rows(name, folder, options.windows, options.repeats)
        ]
        print_table(reads)
        write_rows(options.out / "train.csv", reads)


if __name__ == "__main__":
    main()
