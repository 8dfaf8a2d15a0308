"""What a small expression model learns from real tracks in a few minutes, beside what is in the letters alone.

    PYTHONPATH=.:kernels python benchmarks/bench_expression_training.py

74 real tracks (CAGE, DNase, RNA) over 45 windows to train with, 10 to validate and 10 to test, from Baskerville's
tests, where they lie beside the checkout. `model` is `genoformer expression train configs/expression_tiny.toml`, one
thread, best model by validation, with three seeds; `model, both strands` is the same file with both strands averaged.
Beside it: ridge regression on counts of 4-mers of either strand in a bin and its neighbours and on their mean over 33
bins, its penalty chosen by validation; counts of G+C, of CpG, and these averaged over 5 bins.

Figures are means over tracks of Pearson's r over 10 windows of 512 bins of 128 bp, of values as the data have them
(float64, centred); `cpu_s` is all CPU time of the training process, evaluations included. Nothing is chosen by test
values. The curves of the runs are rows of their own file.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.record import CHECKOUT, RESULTS, print_table, write_rows
from genoformer.datasets.expression import ExpressionDataset
from genoformer.genome.track import Track
from genoformer.io.expression_examples import WindowShape
from genoformer.models.checkpoint import load_checkpoint
from genoformer.workflows.import_basenji import ImportBasenjiOptions, import_basenji
from genoformer.workflows.track_predictor import TrackPredictor, load_track_model

TINY = CHECKOUT.parent / "shared" / "data" / "expression" / "baskerville_tests" / "tiny" / "hg38"
CONFIG = CHECKOUT / "configs" / "expression_tiny.toml"
SHAPE = WindowShape(sequence_bp=69_632, bin_bp=128, num_bins=512)  # 16 bins on either side
SEEDS = (0, 1, 2)
KMER_BP, NEARBY_BINS, WIDE_BINS, SMOOTH_BINS = 4, 2, 33, 5
PENALTIES = tuple(10.0**power for power in range(2, 8))


class Windows(NamedTuple):
    """A split: genome codes uint8 [W, L], and tracks float64 [W, N, T]."""

    codes: np.ndarray
    tracks: np.ndarray


@dataclass(frozen=True)
class Data:
    """All splits, and what the tracks are."""

    splits: dict[str, Windows]
    tracks: Sequence[Track]


def read(folder: Path) -> Data:
    """Whole windows of the splits."""
    splits = {}
    for split in ("train", "valid", "test"):
        dataset = ExpressionDataset(sorted(folder.glob(f"{split}-*.h5")), SHAPE)
        batch = dataset.read_batch(np.arange(len(dataset)))
        splits[split] = Windows(batch["sequence"].numpy(), batch["targets"].double().numpy())
    return Data(splits, dataset.tracks)


def pearson(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Of each track over all windows and bins, [T]; both [W, N, T], or predictions [W, N, 1] for all tracks."""
    x, y = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (predicted, measured))
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0))


def scores(data: Data, predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, str]:
    """Columns of a row: mean correlations on the validation and test windows, of all tracks and by assay."""
    assays = list(dict.fromkeys(track.assay for track in data.tracks))
    columns = {}
    for split in ("valid", "test"):
        found = pearson(predict(data.splits[split].codes), data.splits[split].tracks)
        columns[split] = f"{found.mean():.4f}"
        for assay in assays:
            chosen = [track.assay == assay for track in data.tracks]
            columns[f"{split}_{assay}"] = f"{found[chosen].mean():.4f}"
    return columns


# ---- baselines


def kmer_classes() -> np.ndarray:
    """For each k-mer, as a number of base 4, the number that it shares with its reverse complement."""
    kmers = list(itertools.product(range(4), repeat=KMER_BP))
    twins = [min(kmer, tuple(3 - base for base in reversed(kmer))) for kmer in kmers]
    numbers = {kmer: number for number, kmer in enumerate(sorted(set(twins)))}
    return np.array([numbers[twin] for twin in twins])


def counts(codes: np.ndarray, width: int, classes: np.ndarray) -> np.ndarray:
    """How many words of `width` letters of each class begin in each bin, [W, L / bin, classes]; none with N."""
    padded = np.pad(codes, ((0, 0), (0, width - 1)), constant_values=4)
    letters = np.stack([padded[:, place : place + codes.shape[1]] for place in range(width)]).astype(np.int64)
    number = np.ravel_multi_index(np.minimum(letters, 3), (4,) * width)
    chosen = (letters < 4).all(0)
    one_hot = np.eye(classes.max() + 1, dtype=np.float32)
    return np.stack([
        (one_hot[classes[row]] * known[:, None]).reshape(-1, SHAPE.bin_bp, one_hot.shape[1]).sum(1)
        for row, known in zip(number, chosen, strict=True)
    ])  # fmt: skip


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means of `width` neighbours, [W, n - width + 1, F] of [W, n, F]."""
    return np.lib.stride_tricks.sliding_window_view(values, width, axis=1).mean(-1)


def middle(values: np.ndarray) -> np.ndarray:
    """The bins that are predicted."""
    spare = (values.shape[1] - SHAPE.num_bins) // 2
    return values[:, spare : spare + SHAPE.num_bins]


def composition(pairs: bool, width: int) -> Callable[[np.ndarray], np.ndarray]:
    """Predicts every track by the number of CpG, or of G and C, in a bin or the mean of `width` bins."""
    classes = np.zeros(16 if pairs else 4, np.int64)
    classes[[6] if pairs else [1, 2]] = 1  # C followed by G

    def predict(codes: np.ndarray) -> np.ndarray:
        return middle(moving_mean(counts(codes, 2 if pairs else 1, classes)[..., 1:], width))

    return predict


def ridge_features(codes: np.ndarray) -> np.ndarray:
    """K-mers of a bin and of its neighbours, and their mean far around, [W, N, F]."""
    found = counts(codes, KMER_BP, kmer_classes())
    spare = (found.shape[1] - SHAPE.num_bins) // 2
    shifts = range(-NEARBY_BINS, NEARBY_BINS + 1)
    nearby = [found[:, spare + shift : spare + shift + SHAPE.num_bins] for shift in shifts]
    return np.concatenate([*nearby, moving_mean(found, WIDE_BINS)], axis=-1)


def fit_ridge(data: Data) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Ridge regression of log(1 + track), with the penalty that is best on the validation windows."""
    train = ridge_features(data.splits["train"].codes)
    train = train.reshape(-1, train.shape[-1]).astype(np.float64)
    mean, deviation = train.mean(0), np.maximum(train.std(0), 1e-9)
    standard = (train - mean) / deviation
    target = np.log1p(data.splits["train"].tracks.reshape(len(train), -1))
    products, sums = standard.T @ standard, standard.T @ (target - target.mean(0))

    def model(penalty: float) -> Callable[[np.ndarray], np.ndarray]:
        weights = np.linalg.solve(products + penalty * np.eye(len(products)), sums)
        return lambda codes: np.expm1((ridge_features(codes) - mean) / deviation @ weights + target.mean(0))

    valid = data.splits["valid"]
    best = max(PENALTIES, key=lambda penalty: pearson(model(penalty)(valid.codes), valid.tracks).mean())
    return model(best), best


def baseline_rows(data: Data) -> list[dict[str, object]]:
    """A row for each baseline."""
    ridge, penalty = fit_ridge(data)
    contenders = {
        "G+C of the bin": composition(False, 1),
        "CpG of the bin": composition(True, 1),
        f"CpG, mean of {SMOOTH_BINS} bins": composition(True, SMOOTH_BINS),
        f"ridge on {KMER_BP}-mers, penalty {penalty:g}": ridge,
    }
    return [{"predictor": name, **scores(data, predict)} for name, predict in contenders.items()]


# ---- the model


def train(folder: Path, run: Path, seed: int, device: str) -> float:
    """Trains by the one command; CPU seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "genoformer.cli.main", "expression", "train", str(CONFIG), "--data", str(folder)]
    options = ["-o", str(run), "--device", device, "-t", "1", "--set", f"seed={seed}", "-q"]
    subprocess.run([*command, *options], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def predictor(path: Path, tracks: Sequence[Track], both_strands: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Predictions of a model file, window by window."""
    model = load_track_model(path, "cpu", 1)
    predict = TrackPredictor(model, "human", tracks, torch.device("cpu"), both_strands=both_strands)
    return lambda codes: np.concatenate([predict(torch.from_numpy(window[None])).numpy() for window in codes])


def model_rows(data: Data, run: Path, seed: int, cpu_s: float) -> list[dict[str, object]]:
    """The best model of a run, reading one strand and both."""
    best = load_checkpoint(run / "best.safetensors")
    common = {"seed": seed, "best_step": best.metadata["step"], "cpu_s": f"{cpu_s:.0f}"}
    return [
        {"predictor": name, **common, "parameters": best.num_parameters,
         **scores(data, predictor(run / "best.safetensors", data.tracks, both))}
        for name, both in (("model", False), ("model, both strands", True))
    ]  # fmt: skip


def curve(run: Path, seed: int) -> list[dict[str, object]]:
    """Loss and correlation on the validation windows by step."""
    with (run / "eval.csv").open(newline="") as file:
        return [{"seed": seed, **row} for row in csv.DictReader(file)]


def means(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Of each predictor with several seeds, the mean over these."""
    found = []
    for name in dict.fromkeys(row["predictor"] for row in rows):
        same = [row for row in rows if row["predictor"] == name]
        columns = [column for column in same[0] if column.startswith(("valid", "test"))]
        average = {column: f"{np.mean([float(str(row[column])) for row in same]):.4f}" for column in columns}
        found.append({"predictor": f"{name}, mean of {len(same)} seeds", **average})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the model's runs")
    parser.add_argument("--out", type=Path, default=RESULTS / "expression_training.csv")
    options = parser.parse_args()
    if not TINY.is_dir():
        print(f"skipped: no {TINY.name} data beside the checkout")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "examples"
        import_basenji(ImportBasenjiOptions(TINY, folder))
        data = read(folder)
        rows, curves = [], []
        for seed in options.seeds:
            run = Path(temporary) / f"seed-{seed}"
            cpu_s = train(folder, run, seed, options.device)
            rows += model_rows(data, run, seed, cpu_s)
            curves += curve(run, seed)
        rows += means(rows) + baseline_rows(data)
    print_table(rows)
    write_rows(options.out, rows, device=options.device)
    if curves:
        write_rows(options.out.with_stem(f"{options.out.stem}_curves"), curves, device=options.device)


if __name__ == "__main__":
    main()
