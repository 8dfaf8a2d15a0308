"""Speed and memory of the expression model, forward pass and training step, beside enformer-pytorch with equal weights.

On a CPU every row is a process of its own, one after the other: seconds, CPU seconds (of user and system, the figure to
compare where others use the machine) and peak memory are those of one call after `--warmup` others; ratios are to the
first row of a model and call. `difference` is the largest of a forward pass's outputs to those of the first row, over
its largest output; all programs have the gamma basis over features, which is the only one that enformer-pytorch
computes. On a GPU rows are calls in one process, timed in turns with matrix products of the same precision, whose
fastest is the rate that `share_of_product` refers to; float32 is as PyTorch comes, which lets convolutions use TF32.
FLOP are those of the published model's convolutions, linear maps and attention, whatever a program leaves out; a
training step counts three times the forward pass.

enformer-pytorch, the baseline, is installed by `pip install -c constraints.txt -e '.[peers]'`; without it there are
rows of ours alone. torch.compile is not among the programs: that of PyTorch 2.13 cannot compile oneDNN's products.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.bench_consensus_model import DTYPES, best_product, products
from benchmarks.record import CHECKOUT, RESULTS, Timing, print_table, time_in_turns, write_rows
from genoformer.config import ExpressionConfig
from genoformer.models.enformer_names import pytorch_name, pytorch_shape
from genoformer.models.export_enformer import enformer_pytorch_config
from genoformer.models.expression import ExpressionTransformer
from genoformer.models.shapes import expression_shapes

CONFIGS = {
    "published": ExpressionConfig(gamma_over="features"),
    "384 wide, 4 layers": ExpressionConfig(
        gamma_over="features", stem_width=192, tower_widths=(256, 256, 256, 256, 384, 384), num_layers=4,
        value_width=48, position_features=48, filter_width=768, pointwise_width=768,
    ),
}  # fmt: skip
THEIRS, OURS, RECOMPUTING = PROGRAMS = ["enformer-pytorch", "genoformer", "genoformer, checkpoint_tower"]


def window_gflop(config: ExpressionConfig) -> float:
    """10^9 additions and multiplications of one window, pooling with logits of every position."""
    length, total = config.window_bp, config.window_bp * 4 * config.stem_width * config.stem_kernel
    widths = (config.stem_width, *config.tower_widths)
    for stage, width in enumerate(widths):
        before = widths[stage - 1] * config.tower_kernel if stage else 0
        total += length * width * (before + 2 * width)
        length //= 2
    width, heads = config.hidden_width, config.num_heads
    projections = heads * (2 * config.key_width + 2 * config.value_width) * width + 2 * width * config.filter_width
    scores = heads * length * (3 * config.key_width + config.value_width)
    total += config.num_layers * length * (projections + scores)
    tracks = sum(config.heads.values())
    return 2e-9 * (total + config.target_bins * config.pointwise_width * (width + tracks))


def build(program: str, config: ExpressionConfig, device: str) -> nn.Module:
    """A model with the same random weights in either program, output projections and running means away from 0."""
    if program == THEIRS:
        from enformer_pytorch import Enformer

        model: nn.Module = Enformer.from_hparams(**enformer_pytorch_config(config))
    else:
        with torch.device("meta"):
            model = ExpressionTransformer(config)
        positions = model.positions
        model.to_empty(device="cpu").positions = positions
        model.checkpoint_tower = program == RECOMPUTING
    tensors, generator = dict(model.state_dict(keep_vars=True)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, shape in expression_shapes(config):
            is_weight, is_positive = len(shape) > 1, name.endswith(("running_var", "norm.weight"))
            draws = torch.randn(shape, generator=generator)
            draws *= (shape[0] / draws.numel()) ** 0.5 if is_weight else 0.1
            theirs = program == THEIRS
            tensor = tensors[pytorch_name(name) if theirs else name]
            tensor.copy_(
                (draws.exp() if is_positive else draws).reshape(pytorch_shape(name, shape) if theirs else shape)
            )
    return model.to(device).eval()


def random_sequence(config: ExpressionConfig, batch_size: int, device: str) -> torch.Tensor:
    codes = torch.randint(0, 4, (batch_size, config.window_bp), generator=torch.Generator().manual_seed(1))
    return torch.eye(4)[codes].to(device)


def forward_call(model: nn.Module, sequence: torch.Tensor, precision: str) -> Callable[[], dict[str, torch.Tensor]]:
    model.eval()

    def forward() -> dict[str, torch.Tensor]:
        with torch.inference_mode(), torch.autocast(sequence.device.type, DTYPES[precision], precision == "bf16"):
            return model(sequence)

    return forward


def step_call(model: nn.Module, sequence: torch.Tensor, precision: str) -> Callable[[], dict[str, torch.Tensor]]:
    """A training step on the first head: Poisson loss, backward pass, clipped Adam."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def step() -> dict[str, torch.Tensor]:
        with torch.autocast(sequence.device.type, DTYPES[precision], precision == "bf16"):
            outputs = model(sequence)
        found = next(iter(outputs.values())).float()
        loss = (found - torch.log(found + 1e-7)).mean()  # of tracks that are 1 everywhere
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.2)
        optimizer.step()
        optimizer.zero_grad()
        return outputs

    return step


CALLS = {"forward": forward_call, "step": step_call}


def memory_gib(reset: bool = False) -> float:
    """The largest resident memory since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM"))


def measure_here(options: argparse.Namespace) -> None:
    """One row on the CPU in this process; figures as JSON on stdout, outputs in the file named."""
    config = CONFIGS[options.model]
    model = build(options.program, config, "cpu")
    call = CALLS[options.what](model, random_sequence(config, options.batch_size, "cpu"), options.precision)
    for _ in range(options.warmup):
        call()
    memory_gib(reset=True)
    times, began = os.times(), time.perf_counter()
    outputs = call()
    seconds, after = time.perf_counter() - began, os.times()
    print(
        json.dumps({
            "seconds": seconds,
            "cpu_seconds": after.user + after.system - times.user - times.system,
            "system_seconds": after.system - times.system,
            "peak_memory_gib": memory_gib(),
        })
    )  # fmt: skip
    torch.save(next(iter(outputs.values())).detach(), options.outputs)


def measure_apart(model: str, program: str, what: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row on the CPU by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs.pt"
        arguments = ["--model", model, "--program", program, "--what", what, "--precision", precision]
        arguments += ["--batch-size", str(options.batch_size), "--warmup", str(options.warmup)]
        command = [sys.executable, "-m", "benchmarks.bench_expression", *arguments, "--outputs", str(outputs)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{model}, {program}, {what}, {precision}: {done.stderr.strip().splitlines()[-1]}")
        return {**json.loads(done.stdout.splitlines()[-1]), "outputs": torch.load(outputs, weights_only=True)}


def runs_of(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Program and precision of each row, the baseline first; on a CPU it is measured in float32 alone."""
    return [
        (program, precision)
        for program in PROGRAMS
        for precision in options.precisions
        if program in options.programs and (program != THEIRS or has_peer())
        if program != THEIRS or precision == "fp32" or options.device == "cuda"
    ]


def rows_on_cpu(options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of every model and call; figures of the first are what the others' are compared with."""
    rows = []
    for model, what in ((model, what) for model in options.models for what in options.calls):
        first: dict[str, Any] = {}
        for program, precision in runs_of(options):
            found = measure_apart(model, program, what, precision, options)
            first = first or found
            work = window_gflop(CONFIGS[model]) * options.batch_size * (3 if what == "step" else 1)
            row = {
                "model": model, "what": what, "program": program, "precision": precision,
                "batch_size": options.batch_size,
            }  # fmt: skip
            row |= {name: f"{found[name]:.4g}" for name in found if name != "outputs"}
            row["gflop_per_cpu_s"] = f"{work / found['cpu_seconds']:.0f}"
            for name in ("cpu_seconds", "peak_memory_gib"):
                row[f"{name}_ratio"] = f"{found[name] / first[name]:.3f}"
            if what == "forward":  # a step drops other values every time
                expected = first["outputs"]
                row["difference"] = f"{float((found['outputs'] - expected).abs().max() / expected.abs().max()):.1e}"
            rows.append(row)
            print_table([row])
    return rows


def rows_on_gpu(options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of every model, program, precision and batch size on CUDA."""
    rows: list[dict[str, object]] = []
    baseline: dict[tuple[str, str, int], float] = {}  # seconds of enformer-pytorch in float32
    sizes = [(model, batch_size) for model in options.models for batch_size in options.batch_sizes]
    for (model, batch_size), (program, precision) in itertools.product(sizes, runs_of(options)):
        network = build(program, CONFIGS[model], "cuda")
        sequence = random_sequence(CONFIGS[model], batch_size, "cuda")
        for what in options.calls:
            try:
                timings, memory = time_on_gpu(CALLS[what](network, sequence, precision), precision, options.repeats)
            except torch.cuda.OutOfMemoryError:
                print(f"{model}, {program}, {precision}, batch {batch_size}, {what}: out of memory")
                continue
            seconds = timings["call"].median_s
            if (program, precision) == (THEIRS, "fp32"):
                baseline[model, what, batch_size] = seconds
            gflop_per_s = window_gflop(CONFIGS[model]) * batch_size * (3 if what == "step" else 1) / seconds
            product, product_rate = best_product(timings, precision)  # type: ignore[arg-type]
            theirs = baseline.get((model, what, batch_size))
            rows.append({
                "model": model, "what": what, "program": program, "precision": precision, "batch_size": batch_size,
                **timings["call"].rates(batch_size, "windows_per_s"),
                "ms_per_window": f"{1e3 * seconds / batch_size:.3f}",
                "tflop_per_s": f"{gflop_per_s / 1e3:.1f}", "best_product": product,
                "share_of_product": f"{gflop_per_s / product_rate:.3f}",
                "times_baseline_fp32": "" if theirs is None else f"{theirs / seconds:.2f}",
                "peak_memory_gib": f"{memory:.2f}", "repeats": options.repeats,
            })  # fmt: skip
            print_table(rows[-1:])
    return rows


def time_on_gpu(call: Callable[[], object], precision: str, repeats: int) -> tuple[dict[str, Timing], float]:
    """Timings of a call and of matrix products by name, and the call's peak memory in GiB."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    call()
    memory = torch.cuda.max_memory_allocated() / 2**30
    calls = {"call": call, **products(precision, "cuda")}  # type: ignore[arg-type]
    return time_in_turns(calls, repeats=repeats, device="cuda"), memory


@functools.cache
def has_peer() -> bool:
    return importlib.util.find_spec("enformer_pytorch") is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--models", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--calls", nargs="+", default=["forward"], choices=list(CALLS))
    parser.add_argument("--programs", nargs="+", default=[THEIRS, OURS], choices=PROGRAMS)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=list(DTYPES))
    parser.add_argument("--batch-size", type=int, default=1, help="windows a call on a CPU")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 2, 4, 8], help="windows a call on a GPU")
    parser.add_argument("--warmup", type=int, default=0, help="calls before the one that is measured, on a CPU")
    parser.add_argument("--repeats", type=int, default=7, help="calls of each, on a GPU")
    parser.add_argument("--out", type=Path, default=RESULTS / "expression.csv")
    one = parser.add_argument_group("one row, in this process")
    one.add_argument("--outputs", type=Path, help="file for the outputs; the figures go to stdout")
    one.add_argument("--model", choices=list(CONFIGS))
    one.add_argument("--program", choices=PROGRAMS)
    one.add_argument("--what", choices=list(CALLS))
    one.add_argument("--precision", choices=list(DTYPES))
    options = parser.parse_args()
    if options.outputs is not None:
        measure_here(options)
        return
    rows = rows_on_cpu(options) if options.device == "cpu" else rows_on_gpu(options)
    write_rows(options.out, rows, device=options.device)


if __name__ == "__main__":
    main()
