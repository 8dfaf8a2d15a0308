import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genoformer.config import ExpressionConfig
from genoformer.models.expression import ExpressionTransformer
from genoformer.training.expression import FineTuneConfig
from genoformer.training.expression_start import prepare_trunk_, start_at_means_
from tests.training.expression_shards import TINY


def model_of():
    torch.manual_seed(1)
    return ExpressionTransformer(ExpressionConfig(**TINY, heads={"human": 4, "mouse": 2}))


def test_a_head_starts_at_the_means_of_its_tracks():
    model, means = model_of().eval(), np.array([1e-2, 0.5, 3.0, 80.0])
    start_at_means_(model, "human", means)
    torch.testing.assert_close(
        F.softplus(model.heads["human"].bias).double(), torch.from_numpy(means), rtol=1e-4, atol=1e-6
    )
    with torch.no_grad():
        predicted = model(F.one_hot(torch.randint(0, 4, (3, 64)), 4))["human"].mean((0, 1))
    torch.testing.assert_close(predicted.double(), torch.from_numpy(means), rtol=0.5, atol=0.1)


def test_a_track_without_coverage_is_taken_to_have_little():
    model = model_of()
    start_at_means_(model, "mouse", np.array([0.0, 1.0]))
    assert F.softplus(model.heads["mouse"].bias[0]).item() == pytest.approx(1e-3, rel=1e-3)


def test_what_learns():
    def learned(trunk):
        model = model_of()
        prepare_trunk_(model, FineTuneConfig(trunk=trunk, lora_rank=2))
        return {name for name, param in model.named_parameters() if param.requires_grad}

    heads = {f"heads.{species}.{part}" for species in ("human", "mouse") for part in ("weight", "bias")}
    assert learned("learned") == {name for name, _ in model_of().named_parameters()}
    assert learned("frozen") == heads
    maps = [f"attention.{name}" for name in ("query", "key", "value", "position", "output")]
    maps += ["feed_forward.hidden", "feed_forward.output"]
    assert learned("lora") == heads | {
        f"layers.{layer}.{name}.parametrizations.weight.0.{part}"
        for layer in (0, 1) for name in maps for part in ("up", "down")
    }  # fmt: skip
