"""How far predicted tracks are from measured ones: what expression models learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from genoformer.errors import UsageError

_POISSON_FLOOR = 1e-7  # inside the logarithm, as in Keras
_SHARE_FLOOR = 1e-6  # of every bin, as in Baskerville


def poisson_loss(*, predicted: Tensor, measured: Tensor) -> Tensor:
    """The mean over bins of predicted - measured * log(predicted), [B, T].

    It is the negative logarithm of the Poisson probability of a count, less what does not depend on the prediction.

    Args:
        predicted: [B, N, T], at least 0.
        measured: [B, N, T], at least 0.
    Raises:
        UsageError: shapes that differ.
    Source:
        Avsec et al. 2021 (Enformer), methods; `tf.keras.losses.poisson`, which adds 1e-7 inside the logarithm.
    """
    _check_shapes(predicted, measured)
    return _poisson(predicted, measured).mean(1)


def poisson_multinomial_loss(*, predicted: Tensor, measured: Tensor, total_weight: float) -> Tensor:
    """How the total of a track is shared out to bins, and how large it is, each by its own loss, [B, T].

    With s the sum over the N bins, it is the mean over bins of -measured * log(predicted / s(predicted)), plus
    `total_weight` / N times the Poisson loss of s(predicted) against s(measured). 1e-6 is added to every bin first.

    Args:
        predicted, measured: as in `poisson_loss`.
        total_weight: 0.2 in Borzoi.
    Raises:
        UsageError: shapes that differ.
    Source:
        Linder et al. 2025 (Borzoi, Nature Genetics 57:949), methods.
    """
    _check_shapes(predicted, measured)
    predicted, measured = predicted + _SHARE_FLOOR, measured + _SHARE_FLOOR
    total, measured_total = predicted.sum(1), measured.sum(1)  # [B, T]
    shape_loss = -(measured * (predicted / total[:, None]).log()).mean(1)
    return shape_loss + total_weight * _poisson(total, measured_total) / predicted.shape[1]


def _poisson(predicted: Tensor, measured: Tensor) -> Tensor:
    return predicted - measured * torch.log(predicted + _POISSON_FLOOR)


def _check_shapes(predicted: Tensor, measured: Tensor) -> None:
    if predicted.shape != measured.shape or predicted.ndim != 3:
        raise UsageError(
            f"predictions are {list(predicted.shape)} and measurements {list(measured.shape)}; expected [B, N, T] both"
        )
