"""Examples a second on one core: making expression examples, and reading them in random order for training.

Inputs are 74 real tracks over 45 windows (`tiny`, where they lie beside the checkout) and examples of Enformer's size,
5,313 tracks, random where it does not matter. `read` is `ExpressionDataset` with augmentation; `h5py` reads the same
arrays through HDF5 alone, without augmentation. `make` is `expression examples` from simulated bigWigs with a value for
every base; `pyBigWig` only reads their values. `import` takes the real TFRecords.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
import torch

from benchmarks.record import CHECKOUT, RESULTS, print_table, time_in_turns, write_rows
from genoformer.datasets.expression import ExpressionDataset
from genoformer.datasets.loader import Draws
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionWriter, WindowShape, pack_example
from genoformer.io.fasta import write_fasta
from genoformer.workflows.expression_examples import ExpressionExamplesOptions, make_expression_examples
from genoformer.workflows.import_basenji import ImportBasenjiOptions, import_basenji
from tests.bigwig_builder import write_bigwig

TINY = CHECKOUT.parent / "shared" / "data" / "expression" / "baskerville_tests" / "tiny" / "hg38"
CROP = WindowShape(sequence_bp=20_480, bin_bp=128, num_bins=128)
ENFORMER = WindowShape(sequence_bp=196_608, bin_bp=128, num_bins=896)
NUM_ENFORMER_TRACKS, NUM_ENFORMER_EXAMPLES = 5313, 4
NUM_TRACKS, NUM_REGIONS, REGION_BP = 20, 16, 131_072


def write_enformer(path: Path) -> Path:
    """A shard of examples of Enformer's size; targets are small counts, most of them 0, in float16."""
    rng = np.random.default_rng(0)
    tracks = [Track(str(index), "", "", "sum", 1.0, None, None, index) for index in range(NUM_ENFORMER_TRACKS)]
    writer = ExpressionWriter(path, ENFORMER, tracks, dtype="float16", transform="", split="train")
    for _ in range(NUM_ENFORMER_EXAMPLES):
        codes = rng.integers(0, 4, ENFORMER.sequence_bp, np.uint8)
        targets = rng.poisson(0.3, (len(tracks), ENFORMER.num_bins)) / 8
        writer.append(pack_example(Interval("chr1", 0, ENFORMER.target_bp), codes, targets, "float16"))
    writer.finish()
    return path


def reading_calls(path: Path, shape: WindowShape, count: int) -> dict[str, Callable[[], object]]:
    """Reads `count` examples of a shard in random order, by us and by HDF5 alone."""
    dataset = ExpressionDataset([path], shape, max_shift_bp=3, reverse_complement=True)
    order = np.random.default_rng(0).integers(0, len(dataset), count)
    file = h5py.File(path)

    def read_by_hdf5() -> None:
        for index in order:
            torch.from_numpy(file["sequences"][index])
            torch.from_numpy(file["targets"][index]).float().T.contiguous()

    return {
        "read": lambda: [dataset.read_batch(order[at : at + 1], Draws(0, at)) for at in range(count)],
        "h5py": read_by_hdf5,
    }


def write_tracks(folder: Path) -> ExpressionExamplesOptions:
    """A simulated genome, its tracks and regions."""
    rng = np.random.default_rng(0)
    length = NUM_REGIONS * REGION_BP
    write_fasta(folder / "genome.fa", [("chr1", rng.choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes())])
    regions = [f"chr1\t{start}\t{start + REGION_BP}\ttrain\n" for start in range(0, length, REGION_BP)]
    (folder / "regions.bed").write_text("".join(regions))
    rows = [f"{index}\t{index}\t{index}.bw\n" for index in range(NUM_TRACKS)]
    (folder / "targets.txt").write_text("".join(["\tidentifier\tfile\n", *rows]))
    for index in range(NUM_TRACKS):
        write_bigwig(folder / f"{index}.bw", {"chr1": np.repeat(rng.poisson(0.5, length // 8), 8).astype(float)})
    names = folder / "genome.fa", folder / "targets.txt", folder / "regions.bed"
    return ExpressionExamplesOptions(*names, folder / "out")


def read_bigwigs(options: ExpressionExamplesOptions) -> None:
    """What any program has to do: the values of all regions, track by track."""
    for index in range(NUM_TRACKS):
        file = pyBigWig.open(str(options.targets.parent / f"{index}.bw"))
        for start in range(0, NUM_REGIONS * REGION_BP, REGION_BP):
            file.values("chr1", start, start + REGION_BP, numpy=True)


def measure(folder: Path, repeats: int) -> list[dict[str, object]]:
    """One row for each input and call."""
    options = write_tracks(folder)
    making = {
        "make": functools.partial(make_expression_examples, options),
        "pyBigWig": functools.partial(read_bigwigs, options),
    }
    groups: dict[str, tuple[int, dict[str, Callable[[], object]]]] = {
        "simulated": (NUM_REGIONS, making),
        "enformer": (4, reading_calls(write_enformer(folder / "enformer.h5"), ENFORMER, 4)),
    }
    if TINY.is_dir():
        take = functools.partial(import_basenji, ImportBasenjiOptions(TINY, folder / "tiny"))
        groups["tiny"] = (take()["n_examples"], {"import": take})
        shard = folder / "tiny" / "train-00001-of-00001.h5"
        groups["tiny 20 kb"] = (45, reading_calls(shard, CROP, 45))
        groups["tiny 131 kb"] = (45, reading_calls(shard, WindowShape(131_072, 128, 512), 45))
    rows: list[dict[str, object]] = []
    for name, (count, calls) in groups.items():
        for what, timing in time_in_turns(calls, repeats=repeats, warmup=1).items():
            row = {"input": name, "what": what, "examples": count, **timing.rates(count, "examples_per_s")}
            row["cpu_ms_per_example"] = f"{least_cpu_s(calls[what], repeats) / count * 1e3:.3g}"
            rows.append(row | {"repeats": repeats} | {name: version(name) for name in ("h5py", "pyBigWig", "pyfaidx")})
    return rows


def least_cpu_s(call: Callable[[], object], repeats: int) -> float:
    """CPU-seconds of the fastest of some calls."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="examples use the CPU either way")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS / "expression_examples.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options.repeats)
    print_table(rows)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
