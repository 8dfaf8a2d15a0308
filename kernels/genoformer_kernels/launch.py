"""How Triton kernels are launched: block sizes, number of programs, device checks, the interpreter."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

_WARPS_PER_MULTIPROCESSOR = 64  # that can be resident, on sm_80, sm_90 and sm_100
_INTERPRETED_PROGRAMS = 3  # few, so that programs go through several examples in tests too
_THREADS_PER_WARP = 32
_MAX_WARPS = 16
_MOST_REGISTERS = 128  # of which 16 warps fill a multiprocessor
_OLDEST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class LaunchShape:
    """Block sizes of a launch.

    Attributes:
        columns: lanes of a program, a power of two, at least the number of prediction columns.
        labels: a power of two, at least the number of label columns.
        num_warps: of a program.
        max_registers: of a thread, or None to let the assembler balance them with the number of resident programs;
            for large programs it errs on the side of spilling.
    """

    columns: int
    labels: int
    num_warps: int
    max_registers: int | None

    @property
    def options(self) -> dict[str, int]:
        """What the compiler is told."""
        registers = {} if self.max_registers is None else {"maxnreg": self.max_registers}
        return {"num_warps": self.num_warps, **registers}


def launch_shape(num_columns: int, num_labels: int) -> LaunchShape:
    """One lane a prediction column, and as many warps as give every thread one column, up to 16 warps."""
    columns = max(_THREADS_PER_WARP, triton.next_power_of_2(num_columns))
    labels = max(_THREADS_PER_WARP, triton.next_power_of_2(num_labels))
    num_warps = min(_MAX_WARPS, columns // _THREADS_PER_WARP)
    return LaunchShape(columns, labels, num_warps, _MOST_REGISTERS if num_warps == _MAX_WARPS else None)


def is_interpreting() -> bool:
    """Whether TRITON_INTERPRET=1 was set when triton was imported, so that kernels run on the CPU."""
    return triton.knobs.runtime.interpret


def refusal(tensor: Tensor) -> str | None:
    """Why kernels cannot run on this tensor's device; None where they can."""
    if tensor.is_cuda:
        capability = torch.cuda.get_device_capability(tensor.device)
        if capability < _OLDEST_CAPABILITY:
            return f"it needs compute capability 8.0 or more; {tensor.device} has {capability[0]}.{capability[1]}"
        return None
    if tensor.device.type == "cpu" and is_interpreting():
        return None
    return f"it runs on CUDA; the tensors are on {tensor.device} (TRITON_INTERPRET=1 runs it on a CPU, slowly)"


def num_programs(tensor: Tensor, batch: int, num_warps: int) -> int:
    """Programs that a device can have resident, at most one an example: what bounds the scratch memory."""
    if not tensor.is_cuda:
        return min(batch, _INTERPRETED_PROGRAMS)
    return min(batch, _multiprocessors(tensor.device) * (_WARPS_PER_MULTIPROCESSOR // num_warps))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
