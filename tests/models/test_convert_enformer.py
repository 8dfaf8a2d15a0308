"""Small Enformers in the files of other programs become the same model; what does not fit is refused."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch

from genoformer.errors import CheckpointError, ConfigError, UsageError
from genoformer.io.tf_checkpoint import TensorBundle
from genoformer.models.convert_enformer import convert_pytorch, convert_sonnet, is_sonnet
from tests.enformer_files import CONFIG, SETTINGS, pytorch_state, small_model, sonnet_variables
from tests.tensor_bundle import VALUE, write_bundle

HF_CONFIG = {
    "model_type": "enformer", "target_length": 7, "dropout_rate": 0.2, "attn_dropout": 0.1, "pos_dropout": 0.3,
    "dim": 24, "depth": 2, "output_heads": {"human": 3, "mouse": 2},
}  # fmt: skip


@pytest.fixture
def model():
    return small_model()


def sonnet(path, variables, settings=SETTINGS):
    write_bundle(path / "model", variables)
    with TensorBundle(path) as bundle:
        assert is_sonnet(bundle)
        return convert_sonnet(bundle, settings)


def assert_same(found, model):
    expected = model.state_dict()
    assert found.state_dict.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found.state_dict[name].dtype == tensor.dtype
        assert torch.equal(found.state_dict[name], tensor), name


def test_sonnet(tmp_path, model):
    found = sonnet(tmp_path, sonnet_variables(model))
    assert found.config == CONFIG
    assert found.metadata == {"source": "Enformer, Sonnet checkpoint 'model'", "notes": []}
    assert_same(found, model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_state_dicts(tmp_path, model, name):
    state = pytorch_state(model)
    if name.endswith("safetensors"):
        safetensors.torch.save_file({key: tensor.clone() for key, tensor in state.items()}, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    found = convert_pytorch(tmp_path / name, SETTINGS)
    assert found.config == CONFIG
    assert found.metadata["source"] == f"enformer-pytorch, '{name}'"
    assert found.metadata["notes"][0].startswith("gamma basis over positions")
    assert_same(found, model)


def test_either_of_two_names_is_enough(tmp_path, model):
    state = pytorch_state(model)
    for kept in (r"(?!_trunk)", r"_trunk|_heads"):
        torch.save({key: tensor for key, tensor in state.items() if re.match(kept, key)}, tmp_path / "m.bin")
        assert_same(convert_pytorch(tmp_path / "m.bin", SETTINGS), model)


def test_two_names_with_different_tensors(tmp_path, model):
    state = pytorch_state(model)
    state["_trunk.2.0.0.0.bias"] = state["_trunk.2.0.0.0.bias"] + 1
    torch.save(state, tmp_path / "m.bin")
    with pytest.raises(CheckpointError, match=r"m.bin: '_trunk.2.0.0.0.bias' differs from the same tensor under"):
        convert_pytorch(tmp_path / "m.bin", SETTINGS)


def test_half_precision_becomes_float32(tmp_path, model):
    state = {key: t.half() if t.is_floating_point() else t for key, t in pytorch_state(model).items()}
    torch.save(state, tmp_path / "m.bin")
    found = convert_pytorch(tmp_path / "m.bin", SETTINGS)
    weight = model.state_dict()["stem.convolution.weight"]
    assert torch.equal(found.state_dict["stem.convolution.weight"], weight.half().float())


def folder(tmp_path, model, config):
    torch.save(pytorch_state(model), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return tmp_path


def test_a_hugging_face_folder(tmp_path, model):
    found = convert_pytorch(folder(tmp_path, model, HF_CONFIG), {"window_bp": 96})
    changes = {"relu_dropout": 0.2, "residual_dropout": 0.2, "pointwise_dropout": 0.025,
               "attention_dropout": 0.1, "position_dropout": 0.3}  # fmt: skip
    assert found.config == CONFIG.model_copy(update=changes)
    assert_same(found, model)


@pytest.mark.parametrize(("tells", "expected"), [(True, "positions"), (False, "features"), (None, "positions")])
def test_the_gamma_basis_of_a_hugging_face_folder(tmp_path, model, tells, expected):
    config = HF_CONFIG if tells is None else HF_CONFIG | {"use_tf_gamma": tells}
    found = convert_pytorch(folder(tmp_path, model, config), {"window_bp": 96})
    assert found.config.gamma_over == expected
    assert f"gamma basis over {expected}" in found.metadata["notes"][0]
    found = convert_pytorch(tmp_path, {"window_bp": 96, "gamma_over": "features"})
    assert found.config.gamma_over == "features"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("{", "config.json: 1 bytes that are no JSON"),
        ("[" * 100_000, "config.json: 100000 bytes that are no JSON"),
        ([], "config.json: is no config of a model of type 'enformer'"),
        ({"model_type": "bert"}, "config.json: is no config of a model of type 'enformer'"),
        (HF_CONFIG | {"target_length": -1}, "target_length is -1, all bins; say how many with --set target_bins=N"),
    ],
)
def test_configs_that_are_refused(tmp_path, model, config, text):
    with pytest.raises(CheckpointError, match=text):
        convert_pytorch(folder(tmp_path, model, config), {"window_bp": 96})


def test_a_folder_without_weights(tmp_path, model):
    (folder(tmp_path, model, HF_CONFIG) / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no model.safetensors or pytorch_model.bin"):
        convert_pytorch(tmp_path, {})


def test_sizes_that_no_tensor_tells(tmp_path, model):
    found = sonnet(tmp_path, sonnet_variables(model), {"window_bp": 16_384})
    assert (found.config.window_bp, found.config.target_bins) == (16_384, 896)
    assert found.config.residual_dropout == 0.4


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"num_layers": 3}, UsageError, "--set num_layers: the tensors of .* say 2; leave it out"),
        ({"target_bin": 3}, ConfigError, "--set: unknown key 'target_bin'; did you mean 'target_bins'?"),
        ({"target_bins": 30_000}, ConfigError, "--set: the window has 24576 bins; expected target_bins to 16384"),
        ({"gamma_over": "both"}, ConfigError, "--set: gamma_over is 'both'"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, model, settings, error, text):
    with pytest.raises(error, match=text):
        sonnet(tmp_path, sonnet_variables(model), settings)


def test_settings_may_repeat_what_tensors_tell(tmp_path, model):
    assert sonnet(tmp_path, sonnet_variables(model), SETTINGS | {"num_layers": 2}).config == CONFIG


KEY = "module/_trunk/_layers/2/_layers/1/_layers/0/_module/_layers/1/_k_layer/w" + VALUE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: v.pop(KEY), "has no tensor for 'layers.1.attention.key.weight', which a model of its sizes has"),
        (lambda v: v.update({KEY: v[KEY].T.copy()}), r"key.weight' has shape \(24, 8\); expected \(8, 24\)"),
        (lambda v: v.update({KEY: v[KEY] * np.nan}), "key.weight' is torch.float32 and may hold NaN; expected finite"),
        (lambda v: v.update({KEY: v[KEY].astype(np.int32)}), "key.weight' is torch.int32 and may hold NaN"),
        (lambda v: v.update({f"module/_adapter/w{VALUE}": np.zeros(2, np.float32)}), "has 1 tensors that no Enformer"),
        (lambda v: v.pop(f"module/_trunk/_layers/0/_layers/0/w{VALUE}"), "has no tensor for 'stem.convolution.weight'"),
        (lambda v: [v.pop(key) for key in list(v) if "_heads" in key], "heads"),
    ],
)  # fmt: skip
def test_variables_that_do_not_fit(tmp_path, model, change, text):
    variables = sonnet_variables(model)
    change(variables)
    with pytest.raises((CheckpointError, ConfigError), match=text):
        sonnet(tmp_path, variables)


def test_other_checkpoints_are_not_sonnets(tmp_path):
    write_bundle(tmp_path / "model", {f"model/fc1/bias{VALUE}": np.zeros(5, np.float32)})
    with TensorBundle(tmp_path) as bundle:
        assert not is_sonnet(bundle)


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"stem.0.weight": Harmful()}, "no state dict of PyTorch 1.6 or newer: Weights only load failed"),
        ([torch.zeros(1)], "holds no state dict; expected tensors by name"),
        ({"model": {"stem.0.weight": torch.zeros(1)}}, "holds no state dict"),
        ({"a": torch.zeros(1)}, "has no tensor for 'stem.convolution.weight' of 3 axes; expected an Enformer"),
    ],
)
def test_files_of_other_content(tmp_path, content, text, capsys):
    torch.save(content, tmp_path / "m.bin")
    with pytest.raises(CheckpointError, match=text):
        convert_pytorch(tmp_path / "m.bin", {})
    assert "harm" not in capsys.readouterr().out


def test_damaged_state_dicts(tmp_path, model):
    path = tmp_path / "m.bin"
    torch.save(pytorch_state(model), path)
    whole = path.read_bytes()
    for content in (b"", b"x", whole[: len(whole) // 2], b"\x80\x02}q\x00."):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m.bin: no state dict of PyTorch 1.6 or newer: ") as caught:
            convert_pytorch(path, SETTINGS)
        assert "\n" not in str(caught.value)
    torch.save(pytorch_state(model), path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"no state dict of PyTorch 1.6 or newer"):
        convert_pytorch(path, SETTINGS)
    with pytest.raises(CheckpointError, match=r"none.bin: cannot be read: No such file"):
        convert_pytorch(tmp_path / "none.bin", SETTINGS)


def test_a_tensor_that_claims_more_than_the_file_has(tmp_path, model):
    state = pytorch_state(model)
    state["stem.0.bias"] = torch.zeros(1).expand(1 << 40)
    torch.save(state, tmp_path / "m.bin")
    with pytest.raises(CheckpointError, match=r"'stem.0.bias' claims shape \(1099511627776,\), more than"):
        convert_pytorch(tmp_path / "m.bin", SETTINGS)
