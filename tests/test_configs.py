"""Every configuration that ships is built and takes a training step."""

import tomllib
from pathlib import Path

import pytest
import torch

from genoformer.config import ExpressionConfig, parse_config
from genoformer.models.consensus import ConsensusTransformer
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig
from genoformer.training.optimizer import build_optimizer, learning_rate, set_learning_rate_
from tests.training.consensus_shards import random_examples

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def test_the_configurations_are_found():
    assert {"consensus_base.toml", "consensus_tiny.toml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name.startswith("consensus")], ids=lambda p: p.stem)
def test_a_consensus_configuration_takes_a_step(path):
    config = load_toml(ConsensusTrainConfig, path)
    torch.manual_seed(config.seed)
    task = ConsensusTask(ConsensusTransformer(config.model), config)
    examples = random_examples(2, config.model, seed=1)
    optimizer = build_optimizer(task.model, config.optimizer)
    set_learning_rate_(optimizer, learning_rate(1, config, total_steps=50_000))
    before = [param.detach().clone() for param in task.model.parameters()]
    values = task.loss(
        {"rows": torch.from_numpy(examples.rows(config.model)), "labels": torch.from_numpy(examples.labels)}
    )
    values["loss"].backward()
    optimizer.step()
    assert torch.isfinite(values["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before, task.model.parameters(), strict=True))


def test_the_published_enformer():
    values = tomllib.loads((CONFIGS[0].parent / "expression_base.toml").read_text())["model"]
    assert parse_config(ExpressionConfig, values, "model") == ExpressionConfig(position_bins=1536)
    assert values.keys() == ExpressionConfig.model_fields.keys()
