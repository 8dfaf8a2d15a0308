"""One training process among several: who it is, on which device, and sums over all of them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from genoformer.errors import UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Process:
    """A training process."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes files."""
        return self.rank == 0


@contextlib.contextmanager
def start_process(device: str = "auto") -> Iterator[Process]:
    """This process as torchrun's variables describe it (RANK, LOCAL_RANK, WORLD_SIZE), connected to the others.

    Without WORLD_SIZE it is the only one. Several exchange small sums over Gloo, and gradients over NCCL on CUDA.

    Args:
        device: "auto" for CUDA where there is any, "cpu" or "cuda".
    Raises:
        UsageError: variables that are no numbers, CUDA where there is none, or fewer GPUs than processes.
    """
    rank, local_rank, world_size = (_number(name, default) for name, default in _VARIABLES)
    process = Process(rank, world_size, _choose_device(device, local_rank))
    logger.info("process %d of %d on %s", rank + 1, world_size, process.device)
    if process.device.type == "cuda":
        torch.cuda.set_device(process.device)
        _choose_repeatable_sums()
    if "WORLD_SIZE" not in os.environ:
        yield process
        return
    dist.init_process_group("gloo")
    try:
        yield process
    finally:
        dist.destroy_process_group()


def _choose_repeatable_sums() -> None:
    """Gives the same bits in every run on the same GPUs, for the rest of this process; before its first product there.

    Where an operation has no such form, torch warns.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    fill: Any = torch.utils.deterministic  # typed as a plain module
    fill.fill_uninitialized_memory = False  # kernels write all of what they allocate


_VARIABLES = (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise UsageError(f"environment variable {name} is '{text}'; expected a number: start with torchrun")
    return int(text)


def _choose_device(device: str, local_rank: int) -> torch.device:
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is '{device}'; expected auto, cpu or cuda")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not num_gpus):
        return torch.device("cpu")
    if local_rank >= num_gpus:
        raise UsageError(f"process {local_rank} of this machine has no GPU: it has {num_gpus}; start that many")
    return torch.device("cuda", local_rank)


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's `values`, the same in all; any shape and device, in the dtype given."""
    total = values.detach().to("cpu", copy=True)
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.to(values.device)


def gather_at_all(values: Tensor) -> list[Tensor]:
    """Every process's `values` by rank, in all processes; equal shapes, any device, the results on the CPU."""
    values = values.detach().cpu()
    if not dist.is_initialized():
        return [values]
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return gathered


def gather_at_main(values: Tensor) -> list[Tensor]:
    """Every process's `values` by rank in the main process, an empty list elsewhere; equal shapes on the CPU."""
    if not dist.is_initialized():
        return [values]
    if dist.get_rank():
        dist.gather(values)
        return []
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.gather(values, gathered)
    return gathered


def take_buffers_from_main_(model: nn.Module) -> None:
    """Gives every process the main process's buffers, such as running means of BatchNorm, which each has its own."""
    if dist.is_initialized():
        for buffer in model.buffers():
            from_main = buffer.to("cpu", copy=True)
            dist.broadcast(from_main, src=0)
            buffer.copy_(from_main)


def average_gradients_of(model: nn.Module, process: Process) -> nn.Module:
    """The model, wrapped so that its backward pass averages gradients over processes; as it is in a lone process.

    All processes start from the main one's weights. Some parameters may have no gradient in some steps.
    """
    if not dist.is_initialized():
        return model
    on_gpu = process.device.type == "cuda"
    return DistributedDataParallel(
        model,
        device_ids=[process.device] if on_gpu else None,
        # A group of its own: torch never frees the one that it is given, and the threads of the other must have
        # ended when Python does.
        process_group=dist.new_group(backend="nccl" if on_gpu else "gloo"),
        # With False, torch arranges the gradients anew after its first step. Sums of more than two processes then
        # differ in their last bits between that step and the others, so a resumed run from an uninterrupted one.
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )


def wait_for_all() -> None:
    """Returns once every process has got here."""
    if dist.is_initialized():
        sum_over_processes(torch.zeros(()))
