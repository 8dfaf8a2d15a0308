"""What every benchmark shares: timing in turns, the description of machine and software, and rows of a CSV file."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "benchmarks" / "results"
_SOURCES = ("genoformer", "kernels", "benchmarks/*.py")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, 20th and 80th percentile of `repeats` calls."""

    median_s: float
    p20_s: float
    p80_s: float
    repeats: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """The timing of calls that took so many seconds each."""
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], 1)
        fifths = statistics.quantiles(seconds, n=5, method="inclusive")
        return cls(statistics.median(seconds), fifths[0], fifths[3], len(seconds))

    def rates(self, count: float, name: str) -> dict[str, str]:
        """Columns `name`, `name`_p20 and `name`_p80: how many of `count` things a call are done per second."""
        values = {name: self.median_s, f"{name}_p20": self.p80_s, f"{name}_p80": self.p20_s}
        return {column: f"{count / seconds:.4g}" for column, seconds in values.items()}


def time_in_turns(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int = 10, warmup: int = 2, device: str = "cpu"
) -> dict[str, Timing]:
    """Timings of several calls by name, taken in turns, so that a noisy moment falls on all of them.

    Args:
        warmup: calls of each before the clock starts.
        device: "cuda" waits for the GPU before the clock is read.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + repeats):
        for name, call in calls.items():
            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing.of(taken) for name, taken in seconds.items()}


def environment(device: str = "cpu") -> dict[str, str]:
    """Machine, versions, commit, date and command of this run, as columns of a row."""
    return {
        "machine": _gpu() if device.startswith("cuda") else _cpu(),
        "driver": _run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if device != "cpu" else "",
        "threads": _threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "triton", "numpy")},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": _command(),
    }


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, device: str = "cpu") -> None:
    """Appends rows to a CSV file, each with its `environment`; columns that older rows lack stay empty there."""
    described = environment(device)
    new = [{**row, **described} for row in rows]
    old: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="") as file:
            old = list(csv.DictReader(file))
    columns = [column for column in dict.fromkeys(key for row in [*new, *old] for key in row) if column]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*old, *new])
    partial.replace(path)


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows on stdout, columns aligned."""
    table = list(rows)
    columns = list(dict.fromkeys(key for row in table for key in row))
    lines = [columns, *([str(row.get(column, "")) for column in columns] for row in table)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def _cpu() -> str:
    name = platform.processor() or platform.machine()
    family = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        values = {key.strip(): value.strip() for key, _, value in lines}
        name = values.get("model name", name)
        family = f" (family {values['cpu family']}, model {values['model']})" if "cpu family" in values else ""
    return f"{name}{family}, {len(os.sched_getaffinity(0))} cores"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name()


def _threads() -> str:
    torch = sys.modules.get("torch")
    return str(torch.get_num_threads()) if torch else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    commit = _run("git", "rev-parse", "--short=12", "HEAD")
    changed = _run("git", "status", "--porcelain", "--", *_SOURCES)
    return f"{commit} with changes" if commit and changed else commit


def _run(*command: str) -> str:
    try:
        result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _command() -> str:
    """The command line, with paths inside the checkout made relative and the folders of others left out."""
    words = ["python"]
    for word in sys.argv:
        path = Path(word)
        if path.is_absolute() or path.exists():
            path = path.resolve()
            word = str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else path.name
        words.append(word)
    return shlex.join(words)
