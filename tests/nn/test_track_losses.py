"""Losses of tracks against their formulas in float64, value and gradient, by loops over bins and tracks."""

import math

import pytest
import torch

from genoformer.errors import UsageError
from genoformer.nn.track_losses import poisson_loss, poisson_multinomial_loss

SHAPES = [(1, 1, 1), (2, 7, 3), (3, 1, 2), (1, 130, 5)]


def values(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predicted = 3 * torch.rand(shape, generator=generator, dtype=torch.float64) + 1e-3
    measured = 4 * torch.rand(shape, generator=generator, dtype=torch.float64)
    measured[torch.rand(shape, generator=generator) < 0.4] = 0.0  # most bins of CAGE
    return predicted, measured


def poisson_by_hand(predicted, measured):
    """The mean over bins and its gradient, example by example and track by track."""
    num_bins = predicted.shape[1]
    value, gradient = torch.zeros(predicted.shape[::2], dtype=torch.float64), torch.zeros_like(predicted)
    for b, n, t in torch.cartesian_prod(*map(torch.arange, predicted.shape)).reshape(-1, 3).tolist():
        p, y = predicted[b, n, t].item(), measured[b, n, t].item()
        value[b, t] += (p - y * math.log(p + 1e-7)) / num_bins
        gradient[b, n, t] = (1 - y / (p + 1e-7)) / num_bins
    return value, gradient


def multinomial_by_hand(predicted, measured, total_weight):
    batch, num_bins, num_tracks = predicted.shape
    value, gradient = torch.zeros(batch, num_tracks, dtype=torch.float64), torch.zeros_like(predicted)
    for b in range(batch):
        for t in range(num_tracks):
            p = [x + 1e-6 for x in predicted[b, :, t].tolist()]
            y = [x + 1e-6 for x in measured[b, :, t].tolist()]
            s, z = sum(p), sum(y)
            shape = -sum(y_n * math.log(p_n / s) for p_n, y_n in zip(p, y, strict=True))
            value[b, t] = (shape + total_weight * (s - z * math.log(s + 1e-7))) / num_bins
            for n in range(num_bins):
                of_shape = -y[n] / p[n] + z / s
                gradient[b, n, t] = (of_shape + total_weight * (1 - z / (s + 1e-7))) / num_bins
    return value, gradient


def computed(loss, predicted, measured, **settings):
    predicted = predicted.clone().requires_grad_()
    value = loss(predicted=predicted, measured=measured, **settings)
    value.sum().backward()
    return value.detach(), predicted.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_poisson(shape, dtype):
    predicted, measured = values(shape)
    expected = poisson_by_hand(predicted, measured)
    found = computed(poisson_loss, predicted.to(dtype), measured.to(dtype))
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-6}
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs.to(dtype), **tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("total_weight", [0.0, 0.2, 1.0])
def test_poisson_multinomial(shape, dtype, total_weight):
    predicted, measured = values(shape, seed=1)
    expected = multinomial_by_hand(predicted, measured, total_weight)
    found = computed(poisson_multinomial_loss, predicted.to(dtype), measured.to(dtype), total_weight=total_weight)
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs.to(dtype), **tolerance)


def test_the_shape_loss_does_not_see_the_scale():
    predicted, measured = values((2, 9, 2))
    one, other = (
        poisson_multinomial_loss(predicted=factor * predicted, measured=measured, total_weight=0.0)
        for factor in (1, 50)
    )
    torch.testing.assert_close(one, other, rtol=1e-3, atol=0)
    assert not torch.allclose(poisson_loss(predicted=predicted, measured=measured),
                              poisson_loss(predicted=50 * predicted, measured=measured))  # fmt: skip


@pytest.mark.parametrize("loss", [poisson_loss, lambda **v: poisson_multinomial_loss(total_weight=0.2, **v)])
def test_the_measurement_itself_is_the_best_prediction(loss):
    _, measured = values((2, 9, 2))
    measured = measured + 0.1
    best = loss(predicted=measured, measured=measured)
    for seed in range(5):
        other = measured * (1 + 0.3 * values(measured.shape, seed)[0])
        assert (loss(predicted=other, measured=measured) > best).all()


@pytest.mark.parametrize("loss", [poisson_loss, lambda **v: poisson_multinomial_loss(total_weight=0.2, **v)])
def test_a_prediction_of_zero_has_a_finite_loss_and_gradient(loss):
    for found in computed(loss, torch.zeros(1, 4, 2), torch.ones(1, 4, 2)):
        assert torch.isfinite(found).all()


def test_shapes_that_differ_are_named():
    with pytest.raises(UsageError, match=r"predictions are \[1, 4, 2\] and measurements \[1, 4, 3\]; expected"):
        poisson_loss(predicted=torch.ones(1, 4, 2), measured=torch.ones(1, 4, 3))
