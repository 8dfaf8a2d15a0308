"""The devices that --device names, and the cores that --threads grants."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from genoformer.errors import GenoformerError, UsageError


def find_device(name: str | None) -> torch.device:
    """The device of a name, "cpu", "cuda" or "cuda:N"; of None, CUDA where there is any, else the CPU.

    Raises:
        UsageError: another name, or a CUDA device that is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device is '{name}'; expected cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device is '{name}'; expected cpu, cuda or cuda:N")
    index = device.index or 0  # torch keeps it in eight bits: cuda:999 has a negative one
    if device.type == "cuda" and not 0 <= index < torch.cuda.device_count():
        raise UsageError(f"--device is '{name}', but torch sees {torch.cuda.device_count()} CUDA devices here")
    return device


def find_devices(names: str | None) -> tuple[str, ...]:
    """The devices of several names with commas between them, or of "all": every CUDA device. Else as `find_device`.

    Raises:
        UsageError: one that is not there, or devices of several kinds, each of which would compute other digits.
    """
    if names == "all":
        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if not found:
            raise UsageError("--device is 'all', but torch sees no CUDA device here; leave it out for the CPU")
    else:
        found = [str(find_device(name)) for name in (names.split(",") if names else [None])]
    kinds = {torch.cuda.get_device_name(name) if name.startswith("cuda") else name for name in found}
    if len(kinds) > 1:
        raise UsageError(f"--device is '{names}': {', '.join(sorted(kinds))}; name devices of one kind")
    return tuple(found)


def num_threads(threads: int | None) -> int:
    """What --threads says; of None, the number of cores for this process.

    Raises:
        UsageError: fewer than one.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; expected at least 1")
    return threads or len(os.sched_getaffinity(0))


@contextlib.contextmanager
def enough_memory(device: str, what: str) -> Iterator[None]:
    """Raises GenoformerError where a device has too little memory for `what` at once."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise GenoformerError(
            f"{device} has too little memory for {what} at once; use a smaller --batch-size"
        ) from None
