"""The alignment loss by every backend, batch and length: time and peak memory of the loss, and of loss and gradient.

    autograd    the wavefront of the tests, differentiated by autograd: the baseline
    compiled    torch.compile of the wavefront; CUDA, one size, since compiling takes minutes

A case that would take longer or more memory than the limits is a row that says so. `speedup` is over autograd.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.record import RESULTS, Timing, print_table, time_in_turns, write_rows
from genoformer.errors import UsageError
from genoformer.nn.alignment_wavefront import solve_by_wavefront
from genoformer.nn.losses import alignment_loss, choose_backend
from tests.alignment_cases import random_labels, random_probs, wavefront_by_autograd

SETTINGS = {"deletion_cost": 10.0, "temperature": 0.1}
BATCHES, LENGTHS = [64, 256, 1024, 4096, 16384], [100, 200, 500]
BACKENDS = ["autograd", "reference", "wavefront", "compiled", "native", "triton"]
COMPILED_CASE = 1024, 100
REFERENCE_CASE = 64, 100
# Rough bytes a cell of the table, to leave out what would not fit; what a case took is measured.
BYTES_A_CELL = {"autograd": 150, "reference": 400, "wavefront": 40, "compiled": 40}
REPEATS = 11

Row = dict[str, str | int]


def inputs(batch: int, length: int, device: str) -> tuple[Tensor, Tensor]:
    """Predictions of an untrained model, and labels with gaps in a seventh of their columns."""
    probs = random_probs(batch, length).float().to(device)
    return probs.requires_grad_(), random_labels(batch, length).to(device)


def loss_by(backend: str, probs: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """A call that computes the loss of each example by one backend."""
    if backend == "autograd":
        return lambda: wavefront_by_autograd(probs, labels, **SETTINGS)
    return lambda: alignment_loss(probs=probs, labels=labels, backend=backend, **SETTINGS)


def call_of(backend: str, mode: str, probs: Tensor, labels: Tensor) -> Callable[[], object]:
    """What is timed: the loss alone, or with the gradient."""
    if backend == "compiled":
        solve = torch.compile(solve_by_wavefront, dynamic=False)
        return lambda: solve(probs.detach(), labels, gradient=mode == "loss+gradient", **SETTINGS)
    loss = loss_by(backend, probs, labels)
    if mode == "loss+gradient":
        return lambda: torch.autograd.grad(loss().sum(), probs)

    def without_gradient() -> Tensor:
        with torch.no_grad():
            return loss()

    return without_gradient


def refusal(backend: str, batch: int, length: int, device: str, probs: Tensor, labels: Tensor) -> str | None:
    """Why a case is not run, or None; "" where it does not belong to this device."""
    if backend == "compiled" and (device == "cpu" or (batch, length) != COMPILED_CASE):
        return ""
    if backend == "reference" and (batch, length) != REFERENCE_CASE:
        return ""
    if backend in ("native", "triton"):
        try:
            choose_backend(probs, labels, backend=backend)
        except UsageError as error:
            return "" if (backend == "native") == (device != "cpu") else str(error)
    needed = BYTES_A_CELL.get(backend, 0) * batch * length**2
    if needed > 0.6 * free_memory(device):
        return f"not run: about {needed / 1e9:.0f} GB"
    return None


def free_memory(device: str) -> int:
    """Bytes that are free on the device."""
    if device != "cpu":
        return torch.cuda.mem_get_info()[0]
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def peak_megabytes(call: Callable[[], object], device: str) -> float:
    """The most memory that a call adds to what is there before it."""
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS:")
    call()
    return (resident("VmHWM:") - before) / 1e6


def resident(name: str) -> int:
    """A line of this process's status, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == name)


def measure(batch: int, length: int, mode: str, backends: list[str], args: argparse.Namespace) -> list[Row]:
    """A row for each backend; `args.rate` keeps the slowest seconds a cell seen, to leave out what would take long."""
    probs, labels = inputs(batch, length, args.device)
    rows, calls, peaks = [], {}, {}
    for backend in backends:
        reason = refusal(backend, batch, length, args.device, probs, labels)
        expected = args.rate.get((backend, mode), 0.0) * batch * length**2
        if reason is None and expected > args.seconds:
            reason = f"not run: about {expected:.0f} s a call"
        if reason is None:
            calls[backend] = call_of(backend, mode, probs, labels)
            peaks[backend] = peak_megabytes(calls[backend], args.device)
        elif reason:
            rows.append({"backend": backend, "mode": mode, "B": batch, "L": length, "note": reason})
    timings = time_calls(calls, args.device)
    for backend, timing in timings.items():
        args.rate[backend, mode] = timing.median_s / (batch * length**2)
        baseline = timings.get("autograd")
        row: Row = {"backend": backend, "mode": mode, "B": batch, "L": length}
        row |= {name: f"{1e3 * s:.4g}" for name, s in zip(("ms", "ms_p20", "ms_p80"), times(timing), strict=True)}
        row |= {"repeats": timing.repeats, "peak_mb": f"{peaks[backend]:.4g}"}
        rows.append(row | {"speedup": f"{baseline.median_s / timing.median_s:.3g}" if baseline else "", "note": ""})
    return rows


def times(timing: Timing) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile."""
    return timing.median_s, timing.p20_s, timing.p80_s


def time_calls(calls: dict[str, Callable[[], object]], device: str) -> dict[str, Timing]:
    """Timings in turns; fewer where a call takes seconds."""
    if not calls:
        return {}
    first = time_in_turns(calls, repeats=1, warmup=1, device=device)
    total = sum(timing.median_s for timing in first.values())
    if total > 5:
        return time_in_turns(calls, repeats=3, warmup=0, device=device)
    return time_in_turns(calls, repeats=REPEATS, warmup=1, device=device)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--seconds", type=float, default=5.0, help="leave out calls that would take longer")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "alignment.csv")
    args = parser.parse_args()
    args.rate = {}
    return args


def main() -> None:
    """Measures every case and appends the rows to the results."""
    args = options()
    if args.device == "cpu":
        torch.set_num_threads(args.threads)
    rows: list[Row] = []
    for length, batch in itertools.product(args.lengths, args.batches):
        for mode in ("loss", "loss+gradient"):
            rows += measure(batch, length, mode, args.backends, args)
    print_table(rows)
    write_rows(args.output, rows, device=args.device)


if __name__ == "__main__":
    main()
