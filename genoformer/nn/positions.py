"""Encodings that tell a transformer where each input position is."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_positions(
    length: int,
    width: int,
    *,
    longest: float = 1.0e4,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Absolute sine and cosine encodings of positions 0 .. length - 1, [L, D].

    Column i of the first half is sin(position / scale_i), of the second half cos(position / scale_i),
    where the D/2 scales run geometrically from 1 to `longest`.

    Args:
        width: D, even.
        longest: the last scale, in positions.
        dtype: also of the arithmetic; the original's is float32.
    Source:
        Vaswani et al. 2017, section 3.5, with the halves side by side instead of interleaved and with D/2 - 1
        steps between the first and the last scale, as `official.nlp` (the layer that DeepConsensus uses) has it.
    """
    num_scales = width // 2
    step = math.log(longest) / max(num_scales - 1, 1)
    frequency = torch.exp(torch.arange(num_scales, dtype=dtype, device=device) * -step)  # [D/2]
    angle = torch.arange(length, dtype=dtype, device=device)[:, None] * frequency  # [L, D/2]
    return torch.cat([angle.sin(), angle.cos()], dim=1)  # [L, D]
