"""Scoring of variants against full forward passes of both alleles: time, exactness, and what less precision costs.

Substitutions lie in one window. `cpu_s` is what the predictor takes for them, user and system, `forward_cpu_s` what one
full forward pass of the same model takes (median of those of REF and of one ALT), and `ratio` the first over one
forward pass for REF and one for each variant. `difference` is the largest of the predictions to those of the full
passes, over the largest prediction. Weights are random, with a gain on the tower's convolutions so that variants have
effects far above rounding.

With --precisions, rows of rank correlations instead: of each score between a precision and fp32, over variants, mean
over tracks. With --demo, a row of how well the demo model tells the variants of data/examples/expression that break a
site of the simulated genome from as many beside one, by the largest fall of a track (`sar`), as AUROC.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_expression import CONFIGS, OURS, build
from benchmarks.record import CHECKOUT, RESULTS, print_table, write_rows
from genoformer import score_variants
from genoformer.genome.alphabet import GENOME_LETTERS, one_hot
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Variant, allele_codes
from genoformer.genome.variant_scores import score_alleles
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.allele_predictor import PRECISIONS, AllelePredictor, Comparison, PredictorSettings

SPECIES = "human"
SCORES = ("sad_sum", "d2_sum", "max")
TOWER_GAIN = 1.4


class Measured:
    """Runs calls and keeps how long they took."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds, self.cpu_seconds = device, 0.0, 0.0

    def __call__(self, call: Callable[[], Any]) -> Any:
        times, began = os.times(), time.perf_counter()
        result = call()
        if self.device == "cuda":
            torch.cuda.synchronize()
        after = os.times()
        self.seconds = time.perf_counter() - began
        self.cpu_seconds = after.user + after.system - times.user - times.system
        return result


def scaled_model(name: str, device: str) -> ExpressionTransformer:
    model = build(OURS, CONFIGS[name], "cpu")
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.startswith(("stem.", "tower.")) and key.endswith("convolution.weight"):
                weight *= TOWER_GAIN
    assert isinstance(model, ExpressionTransformer)
    return model.to(device)


def random_window(model: ExpressionTransformer, num_variants: int) -> tuple[np.ndarray, list[Variant]]:
    """Codes of a genome of one window, and substitutions spread over the bins that are predicted."""
    config, rng = model.config, np.random.default_rng(0)
    codes = rng.integers(0, 4, config.window_bp).astype(np.uint8)
    covered = config.target_bins * config.bin_bp
    starts = (config.window_bp - covered) // 2 + (np.arange(num_variants) + 0.5) * covered / num_variants
    letters = GENOME_LETTERS.decode()
    places = [(int(start), int(codes[int(start)])) for start in starts]
    return codes, [Variant("chr1", start, letters[code], letters[code - 3]) for start, code in places]


def predictor_of(
    model: ExpressionTransformer, codes: np.ndarray, batch_size: int, precision: str = "fp32"
) -> AllelePredictor:
    settings = PredictorSettings(SPECIES, batch_size=batch_size, precision=precision)  # type: ignore[arg-type]
    return AllelePredictor(model, lambda where: codes[where.start : where.end], settings)


def comparisons(model: ExpressionTransformer, variants: list[Variant]) -> list[Comparison]:
    window = Interval("chr1", 0, model.config.window_bp)
    return [Comparison(window, None, variant) for variant in variants]


def full_forward(model: ExpressionTransformer, codes: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        sequence = torch.from_numpy(one_hot(codes[None])).to(model.positions.device)
        return model(sequence, [SPECIES])[SPECIES][0].cpu().numpy()


def rows_of_time(options: argparse.Namespace) -> list[dict[str, object]]:
    model = scaled_model(options.model, options.device)
    codes, variants = random_window(model, max(options.variants))
    window, measured = Interval("chr1", 0, model.config.window_bp), Measured(options.device)
    changed = allele_codes(variants[0], window, lambda where: codes[where.start : where.end])
    if options.device == "cuda":
        full_forward(model, codes)
    expected, forward_cpu_s, forward_s = [], [], []
    for sequence in (codes, changed):
        expected.append(measured(lambda sequence=sequence: full_forward(model, sequence)))
        forward_cpu_s.append(measured.cpu_seconds)
        forward_s.append(measured.seconds)
    cpu_s, seconds = statistics.median(forward_cpu_s), statistics.median(forward_s)
    rows: list[dict[str, object]] = []
    for count in options.variants:
        predictor = predictor_of(model, codes, options.batch_size)
        found = measured(lambda predictor=predictor, count=count: [
            pair if place == 0 else None
            for place, pair in enumerate(predictor.predict(comparisons(model, variants[:count])))
        ])  # fmt: skip
        difference = max(
            np.abs(mine - theirs).max() / np.abs(theirs).max() for mine, theirs in zip(found[0], expected, strict=True)
        )
        effect = np.abs(expected[1] - expected[0]).max() / np.abs(expected[0]).max()
        rows.append({
            "what": "substitutions in one window", "model": options.model, "variants": count,
            "batch_size": options.batch_size, "cpu_s": f"{measured.cpu_seconds:.4g}",
            "forward_cpu_s": f"{cpu_s:.4g}", "forwards": count + 1,
            "ratio": f"{measured.cpu_seconds / (cpu_s * (count + 1)):.3f}",
            "cpu_s_per_variant": f"{measured.cpu_seconds / count:.4g}", "seconds": f"{measured.seconds:.4g}",
            "ratio_of_seconds": f"{measured.seconds / (seconds * (count + 1)):.3f}",
            "variants_per_s": f"{count / measured.seconds:.4g}", "difference": f"{difference:.1e}",
            "effect": f"{effect:.1e}",
        })  # fmt: skip
        print_table(rows[-1:])
    return rows


def rows_of_precision(options: argparse.Namespace) -> list[dict[str, object]]:
    model = scaled_model(options.model, options.device)
    codes, variants = random_window(model, options.variants[-1])
    scores = {
        precision: scores_of(predictor_of(model, codes, options.batch_size, precision), variants)
        for precision in ["fp32", *options.precisions]
    }
    rows: list[dict[str, object]] = []
    for precision in options.precisions:
        row: dict[str, object] = {
            "what": "rank correlation with fp32", "model": options.model, "variants": len(variants),
            "precision": precision,
        }  # fmt: skip
        for place, name in enumerate(SCORES):
            row[name] = f"{rank_correlation(scores['fp32'][:, place], scores[precision][:, place]):.4f}"
        rows.append(row)
        print_table(rows[-1:])
    return rows


def scores_of(predictor: AllelePredictor, variants: list[Variant]) -> np.ndarray:
    """Scores of all variants, [n, scores, T]."""
    pairs = predictor.predict(comparisons(predictor.model, variants))
    return np.array([score_alleles(ref, alt, SCORES, slice(None)) for ref, alt in pairs])


def rows_of_demo() -> list[dict[str, object]]:
    folder = CHECKOUT / "data" / "examples" / "expression"
    model = CHECKOUT / "data" / "checkpoints" / "expression-demo.safetensors"
    calls = folder / "variants.vcf"
    lines = [line for line in calls.read_text().splitlines() if not line.startswith("#")]
    breaks = np.array(["BREAKS=." not in line for line in lines])
    fall = -score_variants(model, folder / "genome.fa", calls, scores=["sar"], device="cpu")["sar_sum"].min(axis=1)
    row: dict[str, object] = {
        "what": "broken sites against neutral variants", "model": "expression-demo", "variants": len(fall),
        "auroc": f"{auroc(fall, breaks):.4f}",
    }  # fmt: skip
    print_table([row])
    return [row]


def auroc(values: np.ndarray, is_positive: np.ndarray) -> float:
    """The share of pairs in which the positive one has the larger value."""
    return float((values[is_positive][:, None] > values[~is_positive]).mean())


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's of each column of [n, T], their mean."""
    ranks = [values.argsort(axis=0).argsort(axis=0).astype(float) for values in (one, other)]
    centred = [values - values.mean(axis=0) for values in ranks]
    return float(
        ((centred[0] * centred[1]).sum(0) / np.sqrt((centred[0] ** 2).sum(0) * (centred[1] ** 2).sum(0))).mean()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="published", choices=list(CONFIGS))
    parser.add_argument("--variants", nargs="+", type=int, default=[1, 20], help="how many share the window")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--precisions", nargs="*", default=[], choices=[name for name in PRECISIONS if name != "fp32"])
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS / "variants.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.demo:
        rows = rows_of_demo()
    else:
        rows = rows_of_precision(options) if options.precisions else rows_of_time(options)
    write_rows(options.out, rows, device=options.device)


if __name__ == "__main__":
    main()
