"""Every configuration that ships is built and takes a training step."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from genoformer.config import ExpressionConfig, parse_config
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.expression import ExpressionTransformer
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig
from genoformer.training.expression import ExpressionTask, ExpressionTrainConfig, targets_name
from genoformer.training.optimizer import build_optimizer, learning_rate, set_learning_rate_
from tests.training.consensus_shards import random_examples

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def test_the_configurations_are_found():
    names = {f"{task}_{size}.toml" for task in ("consensus", "expression") for size in ("base", "tiny")}
    assert names <= {path.name for path in CONFIGS}


def take_step(task, config, batch):
    optimizer = build_optimizer(task.model, config.optimizer)
    set_learning_rate_(optimizer, learning_rate(1, config, total_steps=50_000))
    before = [param.detach().clone() for param in task.model.parameters()]
    values = task.loss(batch)
    values["loss"].backward()
    optimizer.step()
    assert torch.isfinite(values["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before, task.model.parameters(), strict=True))


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name.startswith("consensus")], ids=lambda p: p.stem)
def test_a_consensus_configuration_takes_a_step(path):
    config = load_toml(ConsensusTrainConfig, path)
    torch.manual_seed(config.seed)
    task = ConsensusTask(ConsensusTransformer(config.model), config)
    examples = random_examples(2, config.model, seed=1)
    rows, labels = examples.rows(config.model), examples.labels
    take_step(task, config, {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(labels)})


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name.startswith("expression")], ids=lambda p: p.stem)
def test_an_expression_configuration_takes_a_step(path):
    """With a tenth of the widths where the model is as large as the published one, and a tenth of the sequence."""
    config = load_toml(ExpressionTrainConfig, path)
    torch.manual_seed(config.seed)
    model = config.model
    if model.stem_width > 500:
        model = model.model_copy(update=SMALLER)
    model = model.model_copy(update={"heads": {"human": 3}})
    task = ExpressionTask(ExpressionTransformer(model), config, {"human": np.ones(3)})
    num_bins = config.augmentation.crop_bins or model.target_bins
    length = model.window_bp - (model.target_bins - num_bins) * model.bin_bp
    batch = {
        "sequence": torch.randint(0, 5, (1, length), dtype=torch.uint8),
        targets_name("human"): torch.rand(1, num_bins, 3),
    }
    take_step(task, config, batch)


SMALLER = {
    "window_bp": 20_480, "target_bins": 128, "stem_width": 76, "tower_widths": (76, 88, 104, 116, 128, 144),
    "num_layers": 2, "filter_width": 288, "pointwise_width": 288,
}  # fmt: skip


def test_the_published_enformer():
    values = tomllib.loads((CONFIGS[0].parent / "expression_base.toml").read_text())["model"]
    assert parse_config(ExpressionConfig, values, "model") == ExpressionConfig(position_bins=1536)
    assert values.keys() == ExpressionConfig.model_fields.keys()
