"""Speed of the consensus model: `prepare_for_inference` against plain PyTorch, and both against the fastest matrix
product that this machine has. Training steps are timed by `bench_train.py`.

The baseline is `ConsensusTransformer` with every linear map by PyTorch, float32. A product's rate is the best median
over the shapes and libraries below, measured in turns with the models. GFLOP/s count the linear maps and the pairs of
columns within the attention's band, nothing else.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.record import RESULTS, Timing, print_table, time_in_turns, write_rows
from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import load_consensus_model
from genoformer.models.consensus import (
    NUM_SYMBOLS,
    ConsensusTransformer,
    Precision,
    base_probs,
    call_bases,
    prepare_for_inference,
)
from genoformer.nn.linear import FrozenLinear, Linear, onednn_refusal

MODELS = {"6 layers, ReZero": ConsensusConfig(), "5 layers, pre-norm": ConsensusConfig(num_layers=5, rezero=False)}
PRODUCT_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
PRODUCTS_A_CALL = 4
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def random_model(config: ConsensusConfig) -> ConsensusTransformer:
    """A model with seeded random weights, ReZero's scales away from 0."""
    torch.manual_seed(0)
    model = ConsensusTransformer(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("_scale"):
            torch.nn.init.uniform_(parameter, 0.3, 0.7)
    return model


def simulated_rows(config: ConsensusConfig, num_windows: int) -> np.ndarray:
    """Pileups of random molecules whose subreads are wrong in one column of ten, int16 [B, R, L]."""
    rng = np.random.default_rng(0)
    shape = (num_windows, config.max_passes, config.window_length)
    molecule = rng.integers(0, 5, (num_windows, 1, config.window_length))
    bases = np.where(rng.random(shape) < 0.1, rng.integers(0, 5, shape), molecule)
    kinetics = [rng.geometric(0.06, shape).clip(max=255) * (bases > 0) for _ in range(2)]
    strand = np.broadcast_to(1 + np.arange(config.max_passes)[:, None] % 2, shape)
    quality = [rng.integers(-1, 94, molecule.shape)] if config.use_ccs_quality else []
    noise = np.broadcast_to(rng.integers(4, 20, (num_windows, 4, 1)), (num_windows, 4, config.window_length))
    return np.concatenate([bases, *kinetics, strand, molecule, *quality, noise], axis=1).astype(np.int16)


def window_gflop(config: ConsensusConfig) -> float:
    """10^9 additions and multiplications of one window's linear maps and attention scores within the band."""
    length, width = config.window_length, config.hidden_width
    reach = length if config.attention_window is None else config.attention_window
    pairs = sum(min(length - 1, i + reach) - max(0, i - reach) + 1 for i in range(length))
    layer = length * (4 * width**2 + 2 * width * config.filter_width) + 2 * pairs * width
    condenser = 0 if config.condenser_width is None else length * config.embedding_width * width
    return 2e-9 * (config.num_layers * layer + condenser + length * width * NUM_SYMBOLS)


def products(precision: Precision, device: str) -> dict[str, Callable[[], object]]:
    """Square matrix products to time, by name "product <precision> <library> <size>", `PRODUCTS_A_CALL` at once."""

    def several(product: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], object]:
        return lambda: [product(x) for _ in range(PRODUCTS_A_CALL)]

    calls = {}
    for size in PRODUCT_SIZES[device]:
        x, weight = torch.randn(2, size, size, device=device).to(DTYPES[precision])
        calls[f"product {precision} torch {size}"] = several(functools.partial(F.linear, weight=weight), x)
        if onednn_refusal(x.device, x.dtype) is None:
            calls[f"product {precision} onednn {size}"] = several(FrozenLinear(weight, num_rows=size), x)
    return calls


def best_product(timings: dict[str, Timing], precision: Precision) -> tuple[str, float]:
    """Library and size of the fastest product of a precision, and its GFLOP/s."""
    rates = {
        name.removeprefix(f"product {precision} "): 2e-9
        * PRODUCTS_A_CALL
        * int(name.split()[-1]) ** 3
        / timing.median_s
        for name, timing in timings.items()
        if name.startswith(f"product {precision}")
    }
    best = max(rates, key=lambda name: rates[name])
    return best, rates[best]


def use_plain_linear(model: ConsensusTransformer) -> ConsensusTransformer:
    """The model with every linear map by PyTorch."""
    for part in model.modules():
        if isinstance(part, Linear):
            part.backend = "torch"
    return model


def measure(
    name: str, model: ConsensusTransformer, batch_size: int, precisions: list[Precision], device: str, repeats: int
) -> list[dict[str, object]]:
    """Rows of one model at one batch size: the baseline, then each precision."""
    rows = simulated_rows(model.config, batch_size)
    model = use_plain_linear(model.to(device))
    predictors = {precision: prepare_for_inference(model, precision) for precision in precisions}

    def baseline() -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.from_numpy(rows).to(device))

    forward: dict[str, Callable[[], torch.Tensor]] = {"baseline": baseline}
    forward |= {precision: functools.partial(predictor, rows) for precision, predictor in predictors.items()}
    calls: dict[str, Callable[[], object]] = dict(forward)
    for dtype_name in DTYPES:
        calls |= products(dtype_name, device)
    with torch.inference_mode():
        timings = time_in_turns(calls, repeats=repeats, device=device)
        expected = baseline()

    found: list[dict[str, object]] = []
    for kind, compute in forward.items():
        precision: Precision = "bf16" if kind == "bf16" else "fp32"
        logits = compute()
        product, product_rate = best_product(timings, precision)
        rate = window_gflop(model.config) * batch_size / timings[kind].median_s
        differs = call_bases(logits)[0] != call_bases(expected)[0]
        found.append(
            {
                "model": name,
                "path": "plain PyTorch" if kind == "baseline" else predictors[precision].linear_backend,
                "precision": precision,
                "batch_size": batch_size,
                **timings[kind].rates(batch_size, "windows_per_s"),
                "gflop_per_s": f"{rate:.0f}",
                "best_product": product,
                "best_product_gflop_per_s": f"{product_rate:.0f}",
                "share_of_product": f"{rate / product_rate:.3f}",
                "speedup": f"{timings['baseline'].median_s / timings[kind].median_s:.2f}",
                "calls_that_differ": f"{differs.float().mean().item():.2e}",
                "largest_prob_difference": f"{(base_probs(logits) - base_probs(expected)).abs().max().item():.1e}",
                "repeats": repeats,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument(
        "--batch-sizes", nargs="+", type=int, help="windows a call; default 32 64 256, on a GPU 256 2048"
    )
    parser.add_argument("--model", type=Path, help="a trained model instead of the random ones")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS / "consensus_model.csv")
    options = parser.parse_args()
    models = {name: random_model(config) for name, config in MODELS.items()}
    if options.model is not None:
        models = {options.model.name: load_consensus_model(options.model)}
    rows = []
    for name, model in models.items():
        for batch_size in options.batch_sizes or ([32, 64, 256] if options.device == "cpu" else [256, 2048]):
            rows += measure(name, model, batch_size, options.precision, options.device, options.repeats)
    print_table(rows)
    write_rows(options.out, rows, device=options.device)


if __name__ == "__main__":
    main()
