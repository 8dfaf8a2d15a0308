"""What the alignment loss accepts, and how far the kernels' numbers reach; without triton, for all of its backends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NUM_CLASSES = 5
LOWEST_TEMPERATURE = 1e-6  # in nats; below, float32 probabilities do not tell it from the minimum
_LARGEST_COST = -math.log(1e-7)  # of a class in a column, in nats
_EXACT_UNITS = 2**24  # float32 holds whole numbers up to here


def unit(temperature: float | None) -> float:
    """What the kernels count table values in, in nats: a factor of two in a weight."""
    return math.log(2) * (1.0 if temperature is None else temperature)


def complaint(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> str | None:
    """What is wrong with shapes, types or parameters, found and expected; None where nothing is."""
    if probs.ndim != 3 or probs.shape[2] != NUM_CLASSES or not probs.shape[1] or not probs.is_floating_point():
        return f"probs are {probs.dtype} {list(probs.shape)}; expected floating [B, L, {NUM_CLASSES}] with L >= 1"
    if labels.ndim != 2 or labels.shape[0] != probs.shape[0]:
        return f"labels are {list(labels.shape)}; expected [B, M] with B = {probs.shape[0]} as in probs"
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        return f"labels are {labels.dtype}; expected whole numbers, for example labels.long()"
    if labels.device != probs.device:
        return f"labels are on {labels.device} and probs on {probs.device}; move one of them"
    if not (math.isfinite(deletion_cost) and deletion_cost >= 0):
        return f"deletion_cost is {deletion_cost}; expected a finite number, 0 or more"
    if temperature is not None and not (math.isfinite(temperature) and temperature >= LOWEST_TEMPERATURE):
        return (
            f"temperature is {temperature}; expected a finite number of {LOWEST_TEMPERATURE} or more, or None for "
            f"the minimum"
        )
    return None


def out_of_range(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> str | None:
    """Why the kernels' two floats a value could lose whole units in a table of this size; None where they cannot."""
    most = (labels.shape[1] + 1) * deletion_cost + (probs.shape[1] + 1) * _LARGEST_COST  # in nats
    if most / unit(temperature) <= _EXACT_UNITS:
        return None
    return (
        f"its values are exact up to 2^24 units of {unit(temperature):.3g} nats, and a table of this size may hold "
        f"larger ones; lower deletion_cost or raise the temperature"
    )


def check(probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None) -> None:
    """Raises ValueError where a kernel cannot align these."""
    for rule in (complaint, out_of_range):
        if wrong := rule(probs, labels, deletion_cost=deletion_cost, temperature=temperature):
            raise ValueError(f"alignment kernel: {wrong}")
