"""What limits training a consensus model: windows a second of the loader alone.

Windows are those of the example reads and, where they lie beside the checkout, of ten real ZMWs, repeated to shards
that are read in random order from the page cache. `ours` is what training reads from; `h5py` is the same shards through
HDF5's own read path. CPU time is that of the reading and the main process together, start of the processes included.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.bench_pileup import CONFIG, INPUTS, cut, decode, pile_up, read
from benchmarks.record import RESULTS, Timing, print_table, write_rows
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.datasets.loader import Batch, Draws, ExampleSource, Loader
from genoformer.io.examples import Examples, ExampleWriter

NUM_SHARDS = 4
BATCH_SIZE = 64
NUM_WORKERS = (0, 1, 2)


class H5pySource(ConsensusDataset):
    """The same windows, each read by HDF5 and its filter."""

    def read_batch(self, indices: np.ndarray, draws: Draws | None = None) -> Batch:
        """As `ConsensusDataset.read_batch`, but for the fields that are the same for a molecule."""
        places = np.searchsorted(self._ends, indices, side="right")
        starts = np.concatenate([[0], self._ends])[places]
        windows = np.stack([
            self._file(place)["windows"][index]
            for place, index in zip(places.tolist(), (indices - starts).tolist(), strict=True)
        ])  # fmt: skip
        rows = np.zeros((len(indices), self.config.num_rows, self.config.window_length), np.int16)
        rows[:, : 3 * self.config.max_passes] = windows[:, : 3 * self.config.max_passes]
        return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(windows[:, -1])}

    def _file(self, place: int) -> h5py.File:
        return self._shard(place)._file


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="the loader uses the CPU either way")
    parser.add_argument("--windows", type=int, default=20_000, help="in each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "train.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folders = {name: folder for name, folder in INPUTS.items() if (folder / "ccs.bam").is_file()}
    rows = [
        row for name, folder in folders.items() for row in loader_rows(name, folder, options.windows, options.repeats)
    ]
    print_table(rows)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
