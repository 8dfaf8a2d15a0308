"""Encodings that tell a transformer where each input position is."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

GammaAxis = Literal["positions", "features"]

NUM_BASES = 3  # exponential, central mask, gamma: each as it is and times the sign of the distance

_SHORTEST_HALF_LIFE = 8.0
_GAMMA_FLOOR = 1e-8  # added to every density, so that none is 0


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


def relative_positions(
    length: int, num_features: int, *, nominal_length: int | None = None, gamma_over: GammaAxis = "positions"
) -> Tensor:
    """Enformer's features of the distances -(L - 1) .. L - 1 from a query to a key, [2L - 1, F], float32 on the CPU.

    With n = F/6 and T the nominal length, a row holds n exponential decays, n masks of a width around the query and n
    gamma densities of the absolute distance, then all of these times the sign of the distance.

    Args:
        length: L.
        num_features: F, a multiple of 6.
        nominal_length: T, that the scales of the features follow; None: L, as in the original. With one T for all, a
            short input's features are those of the same distances in a long one.
        gamma_over: what the largest gamma feature is 1 over: "positions" (all distances below T), as in the
            original, or "features" (all n of a distance), as enformer-pytorch computes them and trains with.
    Source:
        Avsec et al. 2021 (Enformer), supplementary methods, and its `attention_module.py`. Arithmetic is float64 here
        and float32 there, where the gamma densities are off by up to 2.5e-3 at T = 1536.
    """
    num_scales = num_features // (2 * NUM_BASES)
    nominal_length = length if nominal_length is None else nominal_length
    distance = torch.arange(1 - length, length, dtype=torch.float64, device="cpu")  # [2L - 1]
    apart = distance.abs()[:, None]
    gamma = _gamma_densities(apart, num_scales, nominal_length)
    if gamma_over == "features":
        gamma = gamma / gamma.amax(dim=1, keepdim=True)
    else:
        every = torch.arange(nominal_length, dtype=torch.float64, device="cpu")[:, None]
        gamma = gamma / _gamma_densities(every, num_scales, nominal_length).amax(dim=0)
    bases = [_exponential_decays(apart, num_scales, nominal_length), _central_masks(apart, num_scales), gamma]
    unsigned = torch.cat(bases, dim=1)  # [2L - 1, F/2]
    return torch.cat([unsigned, distance.sign()[:, None] * unsigned], dim=1).float()  # [2L - 1, F]


def _exponential_decays(apart: Tensor, num_scales: int, nominal_length: int) -> Tensor:
    """Decays with half lives from 8 to T, a geometric series; apart [n, 1], result [n, num_scales]."""
    logs = torch.linspace(
        math.log2(_SHORTEST_HALF_LIFE), math.log2(nominal_length), num_scales, dtype=torch.float64, device="cpu"
    )
    return torch.exp2(-apart / torch.exp2(logs))


def _central_masks(apart: Tensor, num_scales: int) -> Tensor:
    """1 where the distance is below 2^j - 1, j from 1; apart [n, 1], result [n, num_scales]."""
    widths = torch.exp2(torch.arange(1, num_scales + 1, dtype=torch.float64, device="cpu")) - 1
    return (widths > apart).double()


def _gamma_densities(apart: Tensor, num_scales: int, nominal_length: int) -> Tensor:
    """Gamma densities with means from T/n to T, standard deviation T/2n; apart [n, 1], result [n, num_scales]."""
    step = nominal_length / num_scales
    mean = torch.linspace(step, nominal_length, num_scales, dtype=torch.float64, device="cpu")
    concentration, rate = (mean / (step / 2)) ** 2, mean / (step / 2) ** 2
    log_density = torch.xlogy(concentration - 1, apart) - rate * apart
    log_norm = torch.lgamma(concentration) - concentration * rate.log()
    return torch.exp(log_density - log_norm) + _GAMMA_FLOOR
