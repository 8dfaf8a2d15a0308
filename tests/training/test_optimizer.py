"""LAMB against the original's steps, parameter groups, learning rates by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from genoformer.config import ConsensusConfig
from genoformer.models.consensus import ConsensusTransformer
from genoformer.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from genoformer.training.optimizer import (
    Lamb,
    build_optimizer,
    learning_rate,
    parameter_groups,
    set_learning_rate_,
)

ORIGINAL = ScheduleConfig(kind="linear", end=2.86594e-5, warmup_steps=3, decay_steps=10)
NUM_STEPS = 6


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data / "consensus" / "golden" / "lamb.npz") as file:
        return {name: file[name] for name in file}


class Weights(nn.Module):
    """Parameters with the original's names."""

    def __init__(self, golden):
        super().__init__()
        self.kernel = nn.Parameter(torch.from_numpy(golden["k0"].copy()))
        self.bias = nn.Parameter(torch.from_numpy(golden["b0"].copy()))


def largest_errors(golden, optimizer_config):
    """The largest relative difference over six steps, of kernel and of bias."""
    model = Weights(golden)
    optimizer = build_optimizer(model, optimizer_config)
    config = TrainConfig(steps=100, optimizer=optimizer_config, schedule=ORIGINAL)
    errors = []
    for step in range(NUM_STEPS):
        set_learning_rate_(optimizer, learning_rate(step, config, 100))
        model.kernel.grad = torch.from_numpy(golden[f"gk{step}"])
        model.bias.grad = torch.from_numpy(golden[f"gb{step}"])
        optimizer.step()
        found = (model.kernel.detach().numpy(), golden[f"k{step + 1}"]), (model.bias.detach(), golden[f"b{step + 1}"])
        errors.append([np.abs(np.asarray(value) / expected - 1).max() for value, expected in found])
    return np.max(errors, axis=0)


LAMB = {"kind": "lamb", "lr": 3.6246e-3, "eps": 1e-6, "weight_decay": 6.9868e-3}


def test_six_steps_are_the_original_s(golden):
    assert max(largest_errors(golden, OptimizerConfig(**LAMB))) < 1e-6


@pytest.mark.parametrize(
    "change", [{"weight_decay": 0.0}, {"exclude": ("kernel",)}, {"exclude": ()}, {"beta2": 0.998}, {"kind": "adamw"}]
)
def test_other_settings_are_seen(golden, change):
    assert max(largest_errors(golden, OptimizerConfig(**{**LAMB, **change}))) > 1e-5


def test_the_original_s_learning_rates(golden):
    config = TrainConfig(steps=100, optimizer=LAMB, schedule=ORIGINAL)
    found = [learning_rate(step, config, 100) for step in range(NUM_STEPS)]
    assert found == pytest.approx([float(golden[f"lr{step}"]) for step in range(NUM_STEPS)], rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("linear", 0, 0.0),
        ("linear", 1, 0.5 * (0.1 + 0.9 * 0.8)),  # halfway to what is left at step 2 of 10
        ("linear", 2, 0.1 + 0.9 * 0.8),
        ("linear", 5, 0.55),
        ("linear", 10, 0.1),
        ("linear", 99, 0.1),
        ("cosine", 1, 0.5 * (0.1 + 0.45 * (1 + 0.8090169943749475))),  # cos 36 degrees
        ("cosine", 5, 0.55),
        ("cosine", 10, 0.1),
        ("constant", 1, 0.5),
        ("constant", 99, 1.0),
    ],
)
def test_learning_rates_by_hand(kind, step, expected):
    schedule = ScheduleConfig(kind=kind, end=0.1, warmup_steps=2)
    config = TrainConfig(steps=10, optimizer={"lr": 1.0}, schedule=schedule)
    assert learning_rate(step, config, 10) == pytest.approx(expected)


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, TrainConfig(steps=10, optimizer={"lr": 0.5}), 10) == 0.5


def test_groups_of_the_consensus_model():
    config = ConsensusConfig(max_passes=2, window_length=4, condenser_width=8, num_layers=1, filter_width=8)
    decayed, excluded = parameter_groups(ConsensusTransformer(config), OptimizerConfig(weight_decay=0.3))
    assert (decayed["weight_decay"], decayed["adapt"]) == (0.3, True)
    assert (excluded["weight_decay"], excluded["adapt"]) == (0.0, False)
    assert {"layers.0.attention_scale", "base_embedding.weight", "condenser.weight"} <= set(decayed["names"])
    assert set(excluded["names"]) == {
        "layers.0.feed_forward.hidden.bias", "layers.0.feed_forward.output.bias",
        "final_norm.weight", "final_norm.bias", "head.bias",
    }  # fmt: skip


def test_frozen_parameters_are_in_no_group_and_empty_groups_are_left_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    [group] = parameter_groups(model, OptimizerConfig())
    assert group["names"] == ["weight"]


def test_a_zero_scale_moves_by_adam_s_step_and_a_parameter_without_gradient_stays():
    # m / sqrt(v), both corrected, is the gradient's sign after one step; eps is 1e-6 of it
    scale, other = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))
    optimizer = Lamb([scale, other], lr=0.1, weight_decay=0.5)
    scale.grad = torch.tensor(-4.0)
    optimizer.step()
    assert scale.item() == pytest.approx(0.1, rel=1e-5)
    assert other.item() == 1.0


def test_a_restored_optimizer_takes_the_same_step(golden):
    model = Weights(golden)
    optimizer = build_optimizer(model, OptimizerConfig(**LAMB))
    twin = Weights(golden)
    twin_optimizer = build_optimizer(twin, OptimizerConfig(**LAMB))
    for step in range(2):
        if step == 1:
            twin.load_state_dict(model.state_dict())
            twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for one in (model, twin):
            one.kernel.grad = torch.from_numpy(golden[f"gk{step}"])
            one.bias.grad = torch.from_numpy(golden[f"gb{step}"])
        for one in (optimizer, twin_optimizer):
            if step == 1 or one is optimizer:
                set_learning_rate_(one, 0.01)
                one.step()
    assert torch.equal(model.kernel, twin.kernel)
    assert torch.equal(model.bias, twin.bias)
