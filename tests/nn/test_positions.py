"""Positions against values worked by hand and against Python's own float64 mathematics."""

import math

import pytest
import torch

from genoformer.nn.positions import sinusoidal_positions


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
