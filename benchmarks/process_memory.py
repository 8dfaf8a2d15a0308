"""Peak memory of a command and all its children, as the sum of their proportional set sizes (Linux)."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class FinishedProcess:
    """What a command took."""

    returncode: int
    seconds: float
    peak_pss_mb: float


def _tree(pid: int) -> list[int]:
    children = [pid]
    for parent in children:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return children


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def run_measured(command: list[str], *, memory: bool) -> FinishedProcess:
    """Runs a command to its end; sampling the memory of its process tree slows it down, so time it without."""
    began, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if memory:
                peak = max(peak, sum(_pss_mb(pid) for pid in _tree(process.pid)))
            time.sleep(_SAMPLE_SECONDS)
    return FinishedProcess(process.returncode, time.perf_counter() - began, peak)
