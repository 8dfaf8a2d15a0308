"""Positions against values worked by hand and against Python's own float64 mathematics."""

import math

import numpy as np
import pytest
import torch

from genoformer.nn.positions import relative_positions, sinusoidal_positions


def test_four_columns_by_hand():
    # Scales 1 and 10,000; position 0 has sines 0 and cosines 1.
    expected = [[0.0, 0.0, 1.0, 1.0], [math.sin(1), math.sin(1e-4), math.cos(1), math.cos(1e-4)]]
    torch.testing.assert_close(sinusoidal_positions(2, 4), torch.tensor(expected))


def test_one_scale_is_one_position():
    expected = torch.tensor([[math.sin(i), math.cos(i)] for i in range(5)])
    torch.testing.assert_close(sinusoidal_positions(5, 2), expected)


@pytest.mark.parametrize(("length", "width", "longest"), [(1, 6, 1e4), (7, 10, 50.0), (120, 560, 1e4)])
def test_each_value_in_float64(length, width, longest):
    half = width // 2
    scales = [longest ** (i / (half - 1)) for i in range(half)]
    expected = [[math.sin(p / s) for s in scales] + [math.cos(p / s) for s in scales] for p in range(length)]
    found = sinusoidal_positions(length, width, longest=longest, dtype=torch.float64)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    # float32 rounds the angle, at most `length`, to 2^-24 of itself
    single = sinusoidal_positions(length, width, longest=longest)
    assert single.dtype == torch.float32
    assert (single - found).abs().max() < 4 * length * 2**-24 + 1e-7


def test_relative_positions_by_hand():
    # L = T = 8, F = 6: one decay (half life 8), one mask (2^1 - 1 = 1 wide), one gamma with mean 8 and deviation 4:
    # concentration 4, rate 1/2, so its density at x is x^3 exp(-x/2) / (16 * 3!).
    found = relative_positions(8, 6)
    assert found.shape == (15, 6)
    assert found.dtype == torch.float32
    density = [x**3 * math.exp(-x / 2) / 96 + 1e-8 for x in range(8)]
    for row, distance in enumerate(range(-7, 8)):
        apart = abs(distance)
        unsigned = [2 ** (-apart / 8), float(apart < 1), density[apart] / max(density)]
        sign = (distance > 0) - (distance < 0)
        expected = torch.tensor(unsigned + [sign * value for value in unsigned])
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-6)


def columns(features):
    """Features by their bases: exponential, mask, gamma, and these with a sign."""
    count = features.shape[1] // 6
    names = ("exponential", "mask", "gamma", "signed exponential", "signed mask", "signed gamma")
    return {name: features[:, i * count : (i + 1) * count] for i, name in enumerate(names)}


# TensorFlow's float32 gamma densities are off by up to 2.5e-3 at T = 1536: the concentration reaches 4,096.
@pytest.mark.parametrize(("length", "gamma_tolerance"), [(1536, 3e-3), (48, 6e-5)])
def test_relative_positions_of_the_original(shared_data, length, gamma_tolerance):
    folder = shared_data / "expression" / "tf_golden"
    original = {
        1536: lambda: np.load(folder / "posfeat_T1536_F192.npz")["posfeat"],
        48: lambda: np.load(folder / "posfeat_T48_F48.npy"),
    }[length]()
    found = columns(relative_positions(length, original.shape[1]).numpy())
    for name, expected in columns(original).items():
        tolerance = gamma_tolerance if "gamma" in name else 1e-6
        assert np.abs(found[name] - expected).max() < tolerance
    # Negative control: the largest of the features at a distance is 1 instead.
    other = columns(relative_positions(length, original.shape[1], gamma_over="features").numpy())
    assert np.abs(other["gamma"] - columns(original)["gamma"]).max() > 0.9
    assert np.array_equal(other["mask"], found["mask"])


def test_gamma_over_features_as_enformer_pytorch_computes_it():
    found = columns(relative_positions(48, 48, gamma_over="features"))["gamma"].double()
    apart = torch.arange(-47, 48).abs().double()[:, None]
    mean = torch.linspace(6, 48, 8, dtype=torch.float64)
    gamma = torch.distributions.Gamma((mean / 3) ** 2, mean / 9)
    density = gamma.log_prob(apart.clamp(min=1e-300)).exp() + 1e-8
    torch.testing.assert_close(found, density / density.amax(1, keepdim=True), rtol=0, atol=1e-6)


def test_a_nominal_length_makes_short_inputs_part_of_long_ones():
    whole = relative_positions(96, 48)
    for length in (1, 17, 96):
        part = relative_positions(length, 48, nominal_length=96)
        torch.testing.assert_close(part, whole[96 - length : 95 + length], rtol=0, atol=1e-7)
    assert not torch.allclose(relative_positions(17, 48), whole[79:112])
    longer = relative_positions(120, 48, nominal_length=96)
    torch.testing.assert_close(longer[24:215], whole, rtol=0, atol=1e-7)
