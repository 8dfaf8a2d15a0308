import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError
from genoformer.io.tf_checkpoint import TensorBundle
from genoformer.models.checkpoint import load_model, save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.convert_deepconsensus import convert_deepconsensus, read_params
from genoformer.models.shapes import consensus_shapes
from tests.tensor_bundle import VALUE, write_bundle

# What the params.json of each release's test model has of the keys that matter, as in google/deepconsensus at its tags.
COMMON = {
    "model_name": "transformer_learn_values", "add_pos_encoding": True, "STRAND_MAX": 2, "max_passes": 20,
    "per_base_hidden_size": 8, "pw_hidden_size": 8, "ip_hidden_size": 8, "strand_hidden_size": 2, "sn_hidden_size": 8,
    "num_hidden_layers": 6, "num_heads": 2, "filter_size": 2048, "vocab_size": 5, "use_bases": True, "use_sn": True,
    "attention_dropout": 0.1, "relu_dropout": 0.1, "layer_postprocess_dropout": 0.1, "learning_rate": 0.0001,
}  # fmt: skip
V02 = COMMON | {
    "PW_MAX": 9, "IP_MAX": 9, "SN_MAX": 15, "condense_transformer_input": False, "hidden_size": 560,
    "max_length": 120, "num_classes": 5, "dtype": "tf.float32",
}  # fmt: skip
V03 = V02 | {"condense_transformer_input": True, "transformer_input_size": 280, "hidden_size": 280}
V10 = COMMON | {
    "PW_MAX": 255, "IP_MAX": 255, "SN_MAX": 500, "condense_transformer_input": True, "transformer_input_size": 280,
    "hidden_size": 280, "max_length": 100, "dc_calibration": "0,1.197654,-0.99781",
}  # fmt: skip
V11 = V10 | {"attn_win_size": 12}
V12 = V11 | {"rezero": True, "use_ccs_bq": False, "CCS_BQ_MAX": 95, "ccs_bq_hidden_size": 8, "total_rows": 85}
V12_BQ = V12 | {"use_ccs_bq": True, "total_rows": 86}

OLD = {
    "window_length": 120, "window_padding": 20, "pw_max": 9, "ip_max": 9, "sn_max": 15, "rezero": False,
    "attention_window": None, "calibration": None,
}  # fmt: skip
LINE = "0,1.197654,-0.99781"

TINY = {
    "per_base_hidden_size": 2, "pw_hidden_size": 3, "ip_hidden_size": 4, "strand_hidden_size": 1, "sn_hidden_size": 2,
    "ccs_bq_hidden_size": 2, "max_passes": 2, "PW_MAX": 3, "IP_MAX": 4, "SN_MAX": 5, "CCS_BQ_MAX": 7,
    "num_hidden_layers": 2, "num_heads": 2, "filter_size": 5, "max_length": 24,
}  # fmt: skip
TINY_WIDTH = 2 * (2 + 3 + 4 + 1) + 2 + 4 * 2  # 30; 32 with the quality row


def write_params(folder: Path, params: Any) -> Path:
    path = folder / "params.json"
    path.write_text(json.dumps(params))
    return path


def variables(params: dict[str, Any], *, old_names: bool = False) -> dict[str, np.ndarray]:
    """Random variables under the names and in the shapes of DeepConsensus's Keras layers, optimizer state and all."""
    rng = np.random.default_rng(0)
    embeddings, attention_kernel = ("shared_weights", "_kernel") if old_names else ("embeddings", "kernel")
    use_bq = params.get("use_ccs_bq", False)
    shapes: dict[str, tuple[int, ...]] = {
        f"bases_embedding_layer/{embeddings}": (5, 2),
        f"pw_embedding_layer/{embeddings}": (params["PW_MAX"] + 1, 3),
        f"ip_embedding_layer/{embeddings}": (params["IP_MAX"] + 1, 4),
        f"strand_embedding_layer/{embeddings}": (3, 1),
        f"sn_embedding_layer/{embeddings}": (params["SN_MAX"] + 1, 2),
    }
    width = TINY_WIDTH
    if use_bq:
        shapes[f"ccs_base_quality_scores_embedding_layer/{embeddings}"] = (params["CCS_BQ_MAX"], 2)
        width += 2
    if params["condense_transformer_input"]:
        shapes["transformer_input_condenser/kernel"] = (width, params["transformer_input_size"])
        width = params["transformer_input_size"]
    heads = params["num_heads"]
    for i in range(params["num_hidden_layers"]):
        attention, network = f"encoder_stack/layers/{i}/0", f"encoder_stack/layers/{i}/1"
        for name in ("query", "key", "value"):
            shapes[f"{attention}/layer/{name}_dense_layer/{attention_kernel}"] = (width, heads, width // heads)
        shapes[f"{attention}/layer/output_dense_layer/{attention_kernel}"] = (heads, width // heads, width)
        shapes[f"{network}/layer/filter_dense_layer/kernel"] = (width, 5)
        shapes[f"{network}/layer/filter_dense_layer/bias"] = (5,)
        shapes[f"{network}/layer/output_dense_layer/kernel"] = (5, width)
        shapes[f"{network}/layer/output_dense_layer/bias"] = (width,)
        for block in (attention, network):
            if params.get("rezero"):
                shapes[f"{block}/alpha"] = ()
            else:
                shapes[f"{block}/layer_norm/gamma"] = shapes[f"{block}/layer_norm/beta"] = (width,)
    shapes["encoder_stack/output_normalization/gamma"] = shapes["encoder_stack/output_normalization/beta"] = (width,)
    shapes |= {"fc1/kernel": (width, 5), "fc1/bias": (5,)}
    tensors = {f"model/{name}{VALUE}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    slots = {key.replace(VALUE, f"/.OPTIMIZER_SLOT/optimizer/m{VALUE}"): array for key, array in tensors.items()}
    counters = {f"save_counter{VALUE}": np.array(3), f"optimizer/beta_1{VALUE}": np.array(0.9, dtype=np.float32)}
    return tensors | slots | counters


def write_model(folder: Path, params: dict[str, Any], **kwargs: Any) -> dict[str, np.ndarray]:
    """A tiny checkpoint with its params.json; the variables under their short names."""
    params = params | TINY
    width = TINY_WIDTH + (2 if params.get("use_ccs_bq") else 0)
    if params["condense_transformer_input"]:
        params["transformer_input_size"] = width = 8
    params["hidden_size"] = width
    tensors = variables(params, old_names=kwargs.pop("old_names", False))
    write_bundle(folder / "model", tensors, **kwargs)
    write_params(folder, params)
    return {key.removeprefix("model/").removesuffix(VALUE): array for key, array in tensors.items()}


@pytest.mark.parametrize(
    ("params", "version", "expected"),
    [
        (V02, "v0.1-v0.2", OLD | {"condenser_width": None}),
        (V03, "v0.3", OLD | {"condenser_width": 280, "calibration": LINE}),
        (V10, "v1.0", {"rezero": False, "attention_window": None, "calibration": LINE}),
        (V11, "v1.1", {"rezero": False, "calibration": LINE}),
        (V12, "v1.2", {"calibration": LINE}),
        (V12_BQ, "v1.2", {"calibration": LINE, "use_ccs_quality": True}),
        (V12 | {"attn_win_size": None}, "v1.2", {"calibration": LINE, "attention_window": None}),
        (V12 | {"attn_win_size": 0}, "v1.2", {"calibration": LINE, "attention_window": None}),
        (V12 | {"dc_calibration": "skip"}, "v1.2", {}),
        (V12 | {"num_hidden_layers": 5, "relu_dropout": 0.0}, "v1.2",
         {"calibration": LINE, "num_layers": 5, "relu_dropout": 0.0}),
        (V12 | {"model_name": "transformer_learn_values_distill"}, "v1.2", {"calibration": LINE}),
    ],
)  # fmt: skip
def test_params_of_every_release(tmp_path: Path, params: Any, version: str, expected: dict[str, Any]) -> None:
    config, found, _ = read_params(write_params(tmp_path, params))
    assert found == version
    assert config == ConsensusConfig(**expected)  # its defaults are v1.2's


def test_every_assumption_is_noted(tmp_path: Path) -> None:
    assert read_params(write_params(tmp_path, V12_BQ))[2] == []
    assert read_params(write_params(tmp_path, V03))[2] == [
        "20 of the window's columns stay empty, as in v0.3",
        "no rezero in params.json: False, as in v0.3",
        "no use_ccs_bq in params.json: False, as in v0.3",
        "no attn_win_size in params.json: full attention, as in v0.3",
        f"no dc_calibration in params.json: {LINE}, as in v0.3",
    ]
    sparse = {key: value for key, value in V02.items() if key not in ("PW_MAX", "max_length", "max_passes")}
    del sparse["condense_transformer_input"]
    config, _, notes = read_params(write_params(tmp_path, sparse))
    assert (config.pw_max, config.window_length, config.max_passes, config.condenser_width) == (9, 120, 20, None)
    assert "no PW_MAX in params.json: 9, as in v0.1-v0.2" in notes
    assert "no max_length in params.json: 120, as in v0.1-v0.2" in notes
    assert "no max_passes in params.json: 20, as in v0.1-v0.2" in notes
    assert "no condense_transformer_input in params.json: a condenser if there is transformer_input_size" in notes


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model_name": "fc"}, "model_name is 'fc'; expected a 'transformer_learn_values' model"),
        ({"use_sn": False}, "use_sn is False; expected True: another network"),
        ({"STRAND_MAX": 3}, "STRAND_MAX is 3; expected 2"),
        ({"num_heads": 3}, "hidden_size is 280 with 3 heads"),
        ({"hidden_size": 560}, "hidden_size is 560 with 2 heads; the other values make 280"),
        ({"num_hidden_layers": 0}, "num_layers is 0: Input should be greater than or equal to 1"),
        ({"PW_MAX": "many"}, "pw_max is 'many'"),
        ({"dc_calibration": "1,2"}, "dc_calibration is '1,2'; expected three numbers"),
        ({"dc_calibration": 3}, "calibration is 3"),
        ({"relu_dropout": 1.5}, "relu_dropout is 1.5"),
    ],
)
def test_params_that_are_refused(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as caught:
        read_params(write_params(tmp_path, V12 | change))
    assert str(caught.value).startswith(str(tmp_path / "params.json"))


@pytest.mark.parametrize("key", ["num_hidden_layers", "filter_size", "num_heads", "pw_hidden_size"])
def test_a_size_that_is_missing_is_not_guessed(tmp_path: Path, key: str) -> None:
    params = {name: value for name, value in V12.items() if name != key}
    with pytest.raises(CheckpointError, match=f"has no '{key}'; give the params.json of the checkpoint with --params"):
        read_params(write_params(tmp_path, params))
    with pytest.raises(CheckpointError, match="has a condenser but no 'transformer_input_size'"):
        read_params(write_params(tmp_path, V02 | {"condense_transformer_input": True}))


def test_files_that_are_no_params(tmp_path: Path) -> None:
    path = tmp_path / "params.json"
    with pytest.raises(CheckpointError, match=r"json: cannot be read: No such file .*; give the file with --params"):
        read_params(path)
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (1 << 21)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{len(content)} bytes that are no JSON"):
            read_params(path)
    path.write_text("[1]")
    with pytest.raises(CheckpointError, match="holds a JSON list; expected an object"):
        read_params(path)


def assert_converted(state: dict[str, torch.Tensor], stored: dict[str, np.ndarray], config: ConsensusConfig) -> None:
    """Every linear map of ours does what the original's einsum does; the rest is the same numbers."""
    x = np.random.default_rng(1).normal(size=(3, config.hidden_width)).astype(np.float32)
    expected = np.einsum("te,enh->tnh", x, stored["encoder_stack/layers/1/0/layer/key_dense_layer/kernel"])
    found = x @ state["layers.1.attention.key.weight"].numpy().T
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=1e-5, atol=1e-5)
    kernel = stored["encoder_stack/layers/0/0/layer/output_dense_layer/kernel"]
    expected = np.einsum("tnh,nhe->te", x.reshape(3, config.num_heads, -1), kernel)
    found = x @ state["layers.0.attention.output.weight"].numpy().T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    expected = x @ stored["fc1/kernel"] + stored["fc1/bias"]
    found = x @ state["head.weight"].numpy().T + state["head.bias"].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    kernel = stored["encoder_stack/layers/1/1/layer/filter_dense_layer/kernel"]
    assert np.array_equal(state["layers.1.feed_forward.hidden.weight"].numpy(), kernel.T)
    bias = stored["encoder_stack/layers/1/1/layer/output_dense_layer/bias"]
    assert np.array_equal(state["layers.1.feed_forward.output.bias"].numpy(), bias)
    assert np.array_equal(state["final_norm.weight"].numpy(), stored["encoder_stack/output_normalization/gamma"])
    assert np.array_equal(state["final_norm.bias"].numpy(), stored["encoder_stack/output_normalization/beta"])


@pytest.mark.parametrize("params", [V03, V10, V11, V12, V12_BQ])
def test_a_tiny_model_of_every_release(tmp_path: Path, params: dict[str, Any]) -> None:
    stored = write_model(tmp_path, params, num_shards=3, compression=1)
    conversion = convert_deepconsensus(tmp_path)
    config, state = conversion.config, conversion.state_dict
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == dict(consensus_shapes(config))
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in state.values())
    assert_converted(state, stored, config)
    assert np.array_equal(state["condenser.weight"].numpy(), stored["transformer_input_condenser/kernel"].T)
    for ours, theirs in [("base", "bases"), ("pw", "pw"), ("ip", "ip"), ("strand", "strand"), ("sn", "sn")]:
        assert np.array_equal(state[f"{ours}_embedding.weight"], stored[f"{theirs}_embedding_layer/embeddings"])
    if params.get("rezero"):
        assert state["layers.1.attention_scale"] == stored["encoder_stack/layers/1/0/alpha"]
        assert state["layers.1.feed_forward_scale"] == stored["encoder_stack/layers/1/1/alpha"]
    else:
        gamma = stored["encoder_stack/layers/0/1/layer_norm/gamma"]
        assert np.array_equal(state["layers.0.feed_forward_norm.weight"], gamma)
        beta = stored["encoder_stack/layers/0/0/layer_norm/beta"]
        assert np.array_equal(state["layers.0.attention_norm.bias"], beta)
    if params.get("use_ccs_bq"):
        table = stored["ccs_base_quality_scores_embedding_layer/embeddings"]
        assert np.array_equal(state["ccs_quality_embedding.weight"], table)
    ConsensusTransformer(config).load_state_dict(state)


@pytest.mark.parametrize("old_names", [True, False])
def test_a_tiny_model_without_condenser(tmp_path: Path, old_names: bool) -> None:
    """v0.1 with the Model Garden's own names for embeddings and attention, v0.2 with either."""
    stored = write_model(tmp_path, V02, old_names=old_names)
    conversion = convert_deepconsensus(tmp_path / "model")
    if old_names:
        stored |= {key.replace("/_kernel", "/kernel"): array for key, array in stored.items()}
    assert_converted(conversion.state_dict, stored, conversion.config)
    assert "condenser.weight" not in conversion.state_dict
    assert conversion.config.hidden_width == TINY_WIDTH
    assert conversion.metadata["source"] == "DeepConsensus v0.1-v0.2, TensorFlow checkpoint 'model'"
    ConsensusTransformer(conversion.config).load_state_dict(conversion.state_dict)


def test_bfloat16_weights(tmp_path: Path) -> None:
    stored = write_model(tmp_path, V12, bfloat16=True)
    bias = convert_deepconsensus(tmp_path).state_dict["head.bias"]
    assert bias.dtype == torch.float32
    np.testing.assert_allclose(bias, stored["fc1/bias"], rtol=2**-7)
    assert not np.array_equal(bias, stored["fc1/bias"])


def test_params_from_elsewhere(tmp_path: Path) -> None:
    write_model(tmp_path, V12)
    (tmp_path / "else").mkdir()
    moved = (tmp_path / "params.json").rename(tmp_path / "else" / "other.json")
    with pytest.raises(CheckpointError, match=r"params\.json: cannot be read"):
        convert_deepconsensus(tmp_path)
    assert convert_deepconsensus(tmp_path, moved).config.num_layers == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_hidden_layers": 3}, "has no variable 'model/encoder_stack/layers/2/0/layer/query_dense_layer/kernel'"),
        ({"num_hidden_layers": 10**12}, "has no variable 'model/encoder_stack/layers/2/0"),
        ({"num_hidden_layers": 1}, "10 variables that params.json does not explain: model/encoder_stack/layers/1/0"),
        ({"rezero": False}, "has no variable 'model/encoder_stack/layers/0/0/layer_norm/gamma'"),
        ({"use_ccs_bq": True}, "has no variable 'model/ccs_base_quality_scores_embedding_layer/embeddings'"),
        ({"PW_MAX": 4}, r"'model/pw_embedding_layer/embeddings' has shape \(4, 3\), but params.json .* \(5, 3\)"),
        ({"num_heads": 4}, r"query_dense_layer/kernel' has shape \(8, 2, 4\), but params.json describes \(8, 4, 2\)"),
        ({"filter_size": 6}, r"filter_dense_layer/kernel' has shape \(8, 5\), but params.json describes \(8, 6\)"),
    ],
)
def test_params_of_another_checkpoint(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    write_model(tmp_path, V12)
    params = json.loads((tmp_path / "params.json").read_text())
    write_params(tmp_path, params | change)
    with pytest.raises(CheckpointError, match=text + ".*--params"):
        convert_deepconsensus(tmp_path)


def test_a_variable_that_nothing_explains(tmp_path: Path) -> None:
    write_model(tmp_path, V12)
    with TensorBundle(tmp_path) as bundle:
        tensors = {key: bundle.read(key) for key in bundle.keys()}  # noqa: SIM118
    extra = f"model/adapter/kernel{VALUE}"
    write_bundle(tmp_path / "model", tensors | {extra: np.zeros(2, dtype=np.float32)})
    with pytest.raises(CheckpointError, match=r"has 1 variables that params\.json does not explain: model/adapter/k"):
        convert_deepconsensus(tmp_path)
    outside = f"epoch{VALUE}"
    write_bundle(tmp_path / "model", tensors | {outside: np.zeros(2, dtype=np.float32)})
    convert_deepconsensus(tmp_path)


def test_checkpoints_of_something_else(tmp_path: Path) -> None:
    write_params(tmp_path, V12)
    write_bundle(tmp_path / "model", {f"module/_trunk/w{VALUE}": np.zeros(2, dtype=np.float32)})
    with pytest.raises(CheckpointError, match="embeddings', expected a training checkpoint of DeepConsensus"):
        convert_deepconsensus(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    write_model(tmp_path, V12)
    with TensorBundle(tmp_path) as bundle:
        tensors = {key: bundle.read(key) for key in bundle.keys()}  # noqa: SIM118
    tensors[f"model/fc1/bias{VALUE}"][2] = bad
    write_bundle(tmp_path / "model", tensors)
    with pytest.raises(CheckpointError, match="'model/fc1/bias' is float32 and may hold NaN; expected finite floats"):
        convert_deepconsensus(tmp_path)
    tensors[f"model/fc1/bias{VALUE}"] = np.zeros(5, dtype=np.int32)
    write_bundle(tmp_path / "model", tensors)
    with pytest.raises(CheckpointError, match="'model/fc1/bias' is int32"):
        convert_deepconsensus(tmp_path)


@pytest.mark.parametrize("name", ["ckpt_rezero_6L", "ckpt_preln_2L_full"])
def test_converted_weights_give_the_originals_logits(tmp_path: Path, shared_data: Path, name: str) -> None:
    folder = shared_data / "consensus" / "golden" / name
    conversion = convert_deepconsensus(folder)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, conversion.state_dict, conversion.config, metadata=conversion.metadata)
    model = load_model(path)
    golden = np.load(folder / "activations.npz")
    rows, expected = torch.from_numpy(golden["rows"][..., 0]), golden["logits"]
    with torch.no_grad():
        assert np.abs(model(rows).numpy() - expected).max() < 2e-5
        # Negative control: the two heads of one output projection swapped, which no shape shows.
        weight = model.layers[1].attention.output.weight
        weight.copy_(weight.roll(weight.shape[1] // 2, dims=1))
        assert np.abs(model(rows).numpy() - expected).max() > 1e-2
