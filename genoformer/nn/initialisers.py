"""Random initial weights by the rules of Sonnet, the library that Enformer was written with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_KEPT_STD = 0.87962566  # what is left of a normal's standard deviation when it is cut off at two of them


def fan_in_normal_(weight: Tensor) -> None:
    """Fills a weight [D_out, D_in, ...] with normal draws of variance 1/fan-in, cut off at two standard deviations.

    Source:
        Sonnet 2, default of `Linear` and `Conv1D`: the variance is that before the cut.
    """
    _truncated_normal_(weight, (len(weight) / weight.numel()) ** 0.5)


def variance_scaling_(weight: Tensor, fan_in: int, scale: float) -> None:
    """Fills `weight` with normal draws cut off at two standard deviations, variance `scale`/fan-in after the cut.

    Source:
        Sonnet 2, `initializers.VarianceScaling` in its mode "fan_in".
    """
    _truncated_normal_(weight, (scale / fan_in) ** 0.5 / _KEPT_STD)


def _truncated_normal_(weight: Tensor, std: float) -> None:
    with torch.no_grad():
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
