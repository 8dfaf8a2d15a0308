"""Models written for enformer-pytorch: its state dict, its config, and what it cannot have."""

import json
import os

import pytest
import torch

from genoformer.config import ConsensusConfig, ExpressionConfig
from genoformer.errors import OutputError, UsageError
from genoformer.models.checkpoint import Checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.convert_enformer import convert_pytorch
from genoformer.models.export_enformer import enformer_pytorch_config, enformer_pytorch_state, save_enformer_pytorch
from tests.enformer_files import CONFIG, SETTINGS, pytorch_state, small_model


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def checkpoint(model):
    return Checkpoint(CONFIG, model.state_dict(), {})


def test_the_state_dict_is_that_of_enformer_pytorch(model, checkpoint):
    found, expected = enformer_pytorch_state(checkpoint), pytorch_state(model)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].shape == tensor.shape
        assert torch.equal(found[key], tensor), key


def test_a_state_dict_there_and_back(tmp_path, checkpoint):
    save_enformer_pytorch(checkpoint, tmp_path / "m.bin")
    back = convert_pytorch(tmp_path / "m.bin", SETTINGS)
    assert back.config == CONFIG
    assert all(torch.equal(back.state_dict[name], tensor) for name, tensor in checkpoint.state_dict.items())
    assert list(tmp_path.iterdir()) == [tmp_path / "m.bin"]


@pytest.mark.parametrize("gamma_over", ["positions", "features"])
def test_a_folder_there_and_back(tmp_path, checkpoint, gamma_over):
    config = CONFIG.model_copy(update={"gamma_over": gamma_over})
    save_enformer_pytorch(checkpoint._replace(config=config), tmp_path / "hf")
    back = convert_pytorch(tmp_path / "hf", {"window_bp": 96})
    assert back.config == config
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == ["config.json", "pytorch_model.bin"]


def test_the_published_config():
    # As EleutherAI/enformer-official-rough has it, with what it leaves to enformer-pytorch's defaults.
    assert enformer_pytorch_config(ExpressionConfig()) == {
        "architectures": ["Enformer"], "model_type": "enformer", "dim": 1536, "depth": 11, "heads": 8,
        "output_heads": {"human": 5313, "mouse": 1643}, "target_length": 896, "attn_dim_key": 64, "dropout_rate": 0.4,
        "attn_dropout": 0.05, "pos_dropout": 0.01, "use_checkpointing": False, "use_tf_gamma": True,
        "num_downsamples": 7, "dim_divisible_by": 128,
    }  # fmt: skip
    json.dumps(enformer_pytorch_config(ExpressionConfig()))


def test_the_rounding_of_widths():
    # 192 to 384 in six steps, rounded to 128: 1.5 becomes 2 as Python rounds halves to even.
    small = {"stem_width": 192, "value_width": 48, "position_features": 48, "filter_width": 768, "pointwise_width": 768}
    config = ExpressionConfig(tower_widths=(256, 256, 256, 256, 384, 384), **small)
    assert enformer_pytorch_config(config)["dim_divisible_by"] == 128
    assert enformer_pytorch_config(CONFIG)["dim_divisible_by"] == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stem_kernel": 7}, "enformer-pytorch has no model with stem_kernel=7; it would be 15"),
        ({"filter_width": 40}, "no model with filter_width=40; it would be 48"),
        ({"relu_dropout": 0.1}, "no model with relu_dropout=0.1; it would be 0.4"),
        ({"tower_widths": (20, 24)}, r"no tower of widths \(20, 24\); its widths grow by one factor from 12 to 24"),
    ],
)
def test_models_that_enformer_pytorch_cannot_have(tmp_path, checkpoint, change, text):
    config = CONFIG.model_copy(update=change)
    with pytest.raises(UsageError, match=text):
        save_enformer_pytorch(checkpoint._replace(config=config), tmp_path / "m.bin")
    assert not list(tmp_path.iterdir())


def test_consensus_models_are_refused(tmp_path):
    config = ConsensusConfig(num_layers=1, filter_width=8)
    checkpoint = Checkpoint(config, ConsensusTransformer(config).state_dict(), {})
    with pytest.raises(UsageError, match="only expression models can be written for enformer-pytorch"):
        save_enformer_pytorch(checkpoint, tmp_path / "m.bin")


@pytest.mark.parametrize("name", ["m.bin", "hf"])
def test_output_appears_whole_or_not_at_all(tmp_path, checkpoint, name, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match=f"{name}: cannot be written: No space left on device"):
        save_enformer_pytorch(checkpoint, tmp_path / name)
    assert not list(tmp_path.iterdir())
