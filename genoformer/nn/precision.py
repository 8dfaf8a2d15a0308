"""How CUDA multiplies float32 numbers: torch lets convolutions round to TF32 unless told otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def float32_products(*, allow_tf32: bool = False) -> Iterator[None]:
    """Products and convolutions of float32 numbers in float32, or in TF32 where that is allowed; then as before."""
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = allow_tf32
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
