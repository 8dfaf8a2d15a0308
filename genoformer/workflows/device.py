"""The device that --device names."""

from __future__ import annotations

import torch

from genoformer.errors import UsageError


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
