"""How well predicted tracks follow measured ones: each track's Pearson correlation and R2 over all bins."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from genoformer.errors import UsageError

# Rows of a state: number of bins; an origin of predictions and one of measurements, near their values; both means less
# the origins; both sums of squared deviations and that of their products; the sum of squared residuals.
_COUNT, _ORIGINS, _MEANS, _SUMS, _RESIDUALS = 0, slice(1, 3), slice(3, 5), slice(5, 8), 8
_NUM_ROWS = 9


class TrackMoments:
    """Moments of predictions and measurements of each track, added up window by window in float64.

    A window's sums are taken about its own means, and two parts are joined by the difference of their means, which are
    kept as distances from the first value seen: nothing cancels however far the values are from 0. Windows are added
    one by one, so that the sums do not depend on how they come in batches. A track that never varies has sums of
    squares of exactly 0.

    Args:
        num_tracks: T.
    Attributes:
        state: float64 [9, T], all there is to send to another process.
    Source:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".
    """

    def __init__(self, num_tracks: int) -> None:
        self.state = torch.zeros(_NUM_ROWS, num_tracks, dtype=torch.float64)

    @classmethod
    def merged(cls, states: Iterable[Tensor]) -> TrackMoments:
        """The moments of several parts together, such as those of training processes; at least one.

        Args:
            states: of each part, [9, T]; a part may have no window.
        """
        first, *others = states
        moments = cls(first.shape[1])
        moments.state = first
        for state in others:
            moments.state = _merge(moments.state, state)
        return moments

    @property
    def num_bins(self) -> int:
        """Bins of all windows together."""
        return int(self.state[_COUNT].max())

    def update_(self, *, predicted: Tensor, measured: Tensor) -> None:
        """Adds windows, [B, N, T] of any real dtype; a value that is no number makes its track's results NaN.

        Raises:
            UsageError: shapes that differ or have another number of tracks.
        """
        num_tracks = self.state.shape[1]
        if predicted.shape != measured.shape or predicted.ndim != 3 or predicted.shape[2] != num_tracks:
            shapes = f"predictions are {list(predicted.shape)} and measurements {list(measured.shape)}"
            raise UsageError(f"{shapes}; expected [B, N, {num_tracks}] both")
        self.state = self.state.to(predicted.device)
        for window in zip(predicted, measured, strict=True):
            values = torch.stack(window).double()  # [2, N, T]
            if values.shape[1]:
                origins = self.state[_ORIGINS] if self.num_bins else values[:, 0]
                self.state = _merge(self.state, _window_state(values, origins))

    def means(self) -> Tensor:
        """Means of predictions and of measurements, float64 [2, T]; 0 of no bins."""
        return self.state[_ORIGINS] + self.state[_MEANS]

    def pearson(self) -> Tensor:
        """Pearson correlation of each track over all bins of all windows together, float64 [T].

        NaN where predictions or measurements do not vary.
        """
        squares, measured_squares, products = self.state[_SUMS]
        return (products / (squares.sqrt() * measured_squares.sqrt())).clamp(-1, 1)

    def r2(self) -> Tensor:
        """1 less the squared residuals over the measurements' squared deviations from their mean, float64 [T].

        NaN where measurements do not vary.
        """
        measured_squares = self.state[_SUMS][1]
        return torch.where(measured_squares != 0, 1 - self.state[_RESIDUALS] / measured_squares, torch.nan)


def _window_state(values: Tensor, origins: Tensor) -> Tensor:
    """The state of one window: predictions and measurements [2, N, T] about origins [2, T]."""
    distances = values - origins[:, None]  # [2, N, T]
    first = distances[:, :1]
    means = first + (distances - first).mean(1, keepdim=True)  # [2, 1, T]; exact where all values are equal
    deviations = distances - means
    sums = [*deviations.square().sum(1), deviations.prod(0).sum(0), (values[0] - values[1]).square().sum(0)]
    count = torch.full_like(origins[:1], values.shape[1])
    return torch.cat([count, origins, means[:, 0], torch.stack(sums)])  # [9, T]


def _merge(one: Tensor, other: Tensor) -> Tensor:
    """The state of two parts together, [9, T] each, about the origins of the first that has a window."""
    if not one[_COUNT].any():
        return other
    count = one[_COUNT] + other[_COUNT]
    weight = other[_COUNT] / count
    delta = (other[_ORIGINS] - one[_ORIGINS]) + (other[_MEANS] - one[_MEANS])  # [2, T]
    between = torch.cat([delta.square(), delta.prod(0, keepdim=True)]) * one[_COUNT] * weight  # [3, T]
    sums = one[_SUMS] + other[_SUMS] + between
    residuals = one[_RESIDUALS] + other[_RESIDUALS]
    return torch.cat([count[None], one[_ORIGINS], one[_MEANS] + weight * delta, sums, residuals[None]])
