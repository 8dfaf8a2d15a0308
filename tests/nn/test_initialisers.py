"""Initial weights against the figures of Sonnet's rules."""

import math

import torch

from genoformer.nn.initialisers import fan_in_normal_, variance_scaling_

# A normal cut off at two standard deviations keeps 1 - 4 phi(2) / (2 Phi(2) - 1) of its variance.
KEPT_VARIANCE = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))


def test_linear_and_convolution_weights_are_cut_after_their_variance_is_set():
    torch.manual_seed(0)
    for shape, fan_in in (((500, 100), 100), ((300, 20, 5), 100)):
        weight = torch.empty(shape)
        fan_in_normal_(weight)
        assert weight.abs().max() <= 2 / math.sqrt(fan_in)
        assert abs(weight.var().item() * fan_in / KEPT_VARIANCE - 1) < 0.03
        assert abs(weight.mean().item()) < 0.003


def test_variance_scaling_sets_the_variance_after_the_cut():
    torch.manual_seed(0)
    weight = torch.empty(400, 100)
    variance_scaling_(weight, 100, 2.0)
    assert abs(weight.var().item() * 100 / 2 - 1) < 0.03
    # Enformer's position biases: eight heads are taken for the fan-in, so the standard deviation is 0.5.
    variance_scaling_(weight, 8, 2.0)
    assert abs(weight.std().item() - 0.5) < 0.01
