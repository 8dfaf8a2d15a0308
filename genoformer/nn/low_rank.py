"""Low-rank adaptation (LoRA): linear maps whose weights stay, and learn a difference of low rank instead."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_ORIGINAL = re.compile(r"(.+)\.parametrizations\.weight\.original")


class LowRankDifference(nn.Module):
    """weight + alpha / r * up down, with up [D_out, r], which starts at 0, and down [r, D_in].

    Args:
        weight: [D_out, D_in], for its shape and device.
        rank: r.
        alpha: of the difference; with it over the rank, one learning rate suits all ranks.
    Source:
        Hu et al. 2021 (arXiv 2106.09685), section 4.1.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its difference, [D_out, D_in]."""
        return weight + self.scale * (self.up @ self.down)


def adapt_linear_maps_(module: nn.Module, *, rank: int, alpha: float) -> None:
    """Freezes what is in `module` and gives each of its linear maps a `LowRankDifference` to learn.

    In a state dict, `X.weight` becomes X.parametrizations.weight.original, .0.up and .0.down; see `merge_differences`.
    """
    module.requires_grad_(False)
    for part in [part for part in module.modules() if isinstance(part, nn.Linear)]:
        parametrize.register_parametrization(part, "weight", LowRankDifference(part.weight, rank, alpha))


def merge_differences(weights: Mapping[str, Tensor], *, alpha: float) -> dict[str, Tensor]:
    """A state dict with the plain weights that the adapted ones amount to; any other is returned as it is.

    Args:
        weights: of a module that `adapt_linear_maps_` may have changed, with the same `alpha`.
    """
    merged = {name: tensor for name, tensor in weights.items() if ".parametrizations." not in name}
    for name, original in weights.items():
        if match := _ORIGINAL.fullmatch(name):
            up, down = (weights[f"{match[1]}.parametrizations.weight.0.{part}"] for part in ("up", "down"))
            merged[f"{match[1]}.weight"] = torch.add(original, up @ down, alpha=alpha / len(down))
    return merged
