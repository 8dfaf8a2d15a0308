"""An exponential moving average of a model's weights, which is often better than the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """average = d * average + (1 - d) * weight after every step, with d = min(decay, (1 + step) / (10 + step)).

    The smaller d of the first steps keeps the random initial weights from lingering. Buffers are not averaged.

    Source:
        Polyak and Juditsky 1992; the rise of d is that of TensorFlow's ExponentialMovingAverage with num_updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: param.detach().clone() for name, param in model.named_parameters()}

    @torch.no_grad()
    def update_(self, model: nn.Module, step: int) -> None:
        """Takes in the model's weights after `step` steps, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = zip(*((self.average[name], param) for name, param in model.named_parameters()), strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextlib.contextmanager
    def in_place_of_weights(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model has the average; afterwards its own weights again, the same bits."""
        self._exchange_(model)
        try:
            yield
        finally:
            self._exchange_(model)

    def _exchange_(self, model: nn.Module) -> None:
        for name, param in model.named_parameters():
            param.data, self.average[name] = self.average[name], param.data

    def state_dict(self) -> dict[str, Tensor]:
        """The average by parameter name."""
        return dict(self.average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over a saved average of the same model."""
        for name, tensor in self.average.items():
            tensor.copy_(state[name])
