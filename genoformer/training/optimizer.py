"""Optimizers and learning rates: parameter groups by name, LAMB as DeepConsensus trains with it, AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from genoformer.training.config import OptimizerConfig, TrainConfig


class Lamb(torch.optim.Optimizer):
    """Adam's step with weight decay, rescaled for each tensor to a length in proportion to that of its weights.

    m and v are the decayed means of gradient and squared gradient, each divided by 1 - beta^t:

        update = m / (sqrt(v) + eps) + weight_decay * weight
        weight = weight - lr * |weight| / |update| * update

    A tensor of length zero (a ReZero scale at the start) and a group with `adapt` False have 1 for the quotient.

    Args:
        params: parameters or groups; a group may have its own `lr`, `weight_decay` and `adapt`.
    Source:
        You et al. 2020 (arXiv 1904.00962), algorithm 2 with phi(z) = z, and the implementation that DeepConsensus v1.2
        trains with (TensorFlow Model Garden's), which corrects both means for their start at zero.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        adapt: bool = True,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "adapt": adapt, "step": 0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient.

        Args:
            closure: not supported; the argument is torch's.
        """
        assert closure is None
        for group in self.param_groups:
            group["step"] += 1
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                self._move_(params, group)

    def _move_(self, params: list[Tensor], group: dict[str, Any]) -> None:
        updates = self._adam_updates(params, group)
        if group["weight_decay"]:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        if group["adapt"]:
            torch._foreach_mul_(updates, _trust_ratios(params, updates))
        torch._foreach_add_(params, updates, alpha=-group["lr"])

    def _adam_updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """m / (sqrt(v) + eps), both corrected, after taking in this step's gradients."""
        (beta1, beta2), step = group["betas"], group["step"]
        grads = [param.grad for param in params if param.grad is not None]
        for param in params:
            if not self.state[param]:
                self.state[param] = {"mean": torch.zeros_like(param), "square": torch.zeros_like(param)}
        means = [self.state[param]["mean"] for param in params]
        squares = [self.state[param]["square"] for param in params]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        divisors = torch._foreach_div(squares, 1 - beta2**step)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, group["eps"])
        updates = torch._foreach_div(means, 1 - beta1**step)
        torch._foreach_div_(updates, divisors)
        return list(updates)


def _trust_ratios(params: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """|weight| / |update| of each tensor, 1 where either is zero."""
    weights, lengths = torch.stack(torch._foreach_norm(params)), torch.stack(torch._foreach_norm(updates))
    ratios = torch.where((weights > 0) & (lengths > 0), weights / lengths, torch.ones_like(weights))
    return list(ratios.unbind())


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: decayed and adapted, or excluded by name.

    Args:
        config: a parameter is excluded if its name contains one of `exclude`, in upper or lower case.
    Returns:
        groups for an optimizer, with `weight_decay`, `adapt` and the `names` of their parameters; no empty group.
    Source:
        DeepConsensus v1.2, `model_utils.create_optimizer`. ReZero scales are decayed and adapted there, as here.
    """
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    excluded = {name for name, _ in named if any(part.lower() in name.lower() for part in config.exclude)}
    groups = []
    for is_excluded in (False, True):
        chosen = [(name, param) for name, param in named if (name in excluded) == is_excluded]
        if chosen:
            groups.append({
                "params": [param for _, param in chosen],
                "names": [name for name, _ in chosen],
                "weight_decay": 0.0 if is_excluded else config.weight_decay,
                "adapt": not is_excluded,
            })  # fmt: skip
    return groups


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """LAMB or AdamW over the model's parameter groups, its learning rate still 0: see `set_learning_rate_`."""
    groups = parameter_groups(model, config)
    betas = (config.beta1, config.beta2)
    if config.kind == "lamb":
        return Lamb(groups, lr=0.0, betas=betas, eps=config.eps)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.eps)


def learning_rate(step: int, config: TrainConfig, total_steps: int) -> float:
    """The learning rate of the update that follows `step` updates.

    In the warm-up it rises linearly from 0 to what the fall has reached at its last step; `end` stays once reached.

    Args:
        total_steps: of the run; where the fall ends unless the config says otherwise.
    Source:
        DeepConsensus v1.2, `model_utils.create_optimizer`: kind "linear" is its polynomial of power 1.
    """
    warmup_steps = config.schedule.warmup_steps
    if step < warmup_steps:
        return _fallen(warmup_steps, config, total_steps) * step / warmup_steps
    return _fallen(step, config, total_steps)


def _fallen(step: int, config: TrainConfig, total_steps: int) -> float:
    """The learning rate without warm-up."""
    highest, schedule = config.optimizer.lr, config.schedule
    if schedule.kind == "constant":
        return highest
    done = min(1.0, step / (schedule.decay_steps or total_steps))
    left = 1.0 - done if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return schedule.end + (highest - schedule.end) * left


def set_learning_rate_(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
