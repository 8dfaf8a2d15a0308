"""The average by hand, in the model's place and saved."""

import pytest
import torch
from torch import nn

from genoformer.training.ema import WeightAverage


def scalar_model(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def test_the_average_by_hand():
    model = scalar_model(8.0)
    average = WeightAverage(model, decay=0.25)
    for step, weight in enumerate([19.0, 3.0, 7.0], start=1):
        nn.init.constant_(model.weight, weight)
        average.update_(model, step)
    # d = 2/11: 8 -> 17; d = 3/12: 17 -> 6.5; d = min(0.25, 4/13): 6.5 -> 6.875
    assert average.average["weight"].item() == pytest.approx(6.875)


def test_inside_the_model_has_the_average_and_afterwards_its_own_weights_even_after_an_error():
    model = scalar_model(1.0)
    average = WeightAverage(model, decay=0.5)
    nn.init.constant_(model.weight, 3.0)
    parameter = model.weight

    def fail():
        with average.in_place_of_weights(model):
            raise KeyError(model(torch.ones(1, 1)).item())

    with pytest.raises(KeyError, match=r"1\.0"):
        fail()
    assert model.weight is parameter
    assert (model.weight.item(), average.average["weight"].item()) == (3.0, 1.0)


def test_a_saved_average_is_restored_into_its_own_memory():
    average, other = (WeightAverage(scalar_model(value), decay=0.5) for value in (1.0, 5.0))
    other.load_state_dict(average.state_dict())
    other.average["weight"].add_(1)
    assert (average.average["weight"].item(), other.average["weight"].item()) == (1.0, 2.0)
