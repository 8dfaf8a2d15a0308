"""DeepConsensus checkpoints of TensorFlow, v0.1 to v1.2, as consensus models.

A converter reads plain numbers and JSON, checks every shape against the config that it derives, and leaves nothing of
the other model unread: a variable that the config does not explain is an error, because the network would then compute
something else. Variables outside the model (optimizer state, step counters) are not part of it and are skipped.

Source: DeepConsensus (BSD-3) at tags v0.1.0 to v1.2.0, `model_configs.py`, `networks.py` and the indexes of its test
checkpoints; TensorFlow Model Garden 2.3 (`embedding_layer.py`, `dense_einsum.py`) for the names in v0.1 and v0.2.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genoformer.config import ConsensusConfig, parse_config
from genoformer.errors import CheckpointError, ConfigError, UsageError
from genoformer.genome.quality import Calibration
from genoformer.io.tf_checkpoint import TensorBundle
from genoformer.models.checkpoint import Checkpoint
from genoformer.models.shapes import Shape, consensus_shapes

MAX_PARAMS_BYTES = 1 << 20

_MODEL = "model/"  # root of the network in a training checkpoint
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"

# Our tensors -> the original's variables; {i} is the layer.
_VARIABLES = {
    "base_embedding.weight": "bases_embedding_layer/embeddings",
    "pw_embedding.weight": "pw_embedding_layer/embeddings",
    "ip_embedding.weight": "ip_embedding_layer/embeddings",
    "strand_embedding.weight": "strand_embedding_layer/embeddings",
    "ccs_quality_embedding.weight": "ccs_base_quality_scores_embedding_layer/embeddings",
    "sn_embedding.weight": "sn_embedding_layer/embeddings",
    "condenser.weight": "transformer_input_condenser/kernel",
    "layers.{i}.attention.query.weight": "encoder_stack/layers/{i}/0/layer/query_dense_layer/kernel",
    "layers.{i}.attention.key.weight": "encoder_stack/layers/{i}/0/layer/key_dense_layer/kernel",
    "layers.{i}.attention.value.weight": "encoder_stack/layers/{i}/0/layer/value_dense_layer/kernel",
    "layers.{i}.attention.output.weight": "encoder_stack/layers/{i}/0/layer/output_dense_layer/kernel",
    "layers.{i}.attention_scale": "encoder_stack/layers/{i}/0/alpha",
    "layers.{i}.attention_norm.weight": "encoder_stack/layers/{i}/0/layer_norm/gamma",
    "layers.{i}.attention_norm.bias": "encoder_stack/layers/{i}/0/layer_norm/beta",
    "layers.{i}.feed_forward.hidden.weight": "encoder_stack/layers/{i}/1/layer/filter_dense_layer/kernel",
    "layers.{i}.feed_forward.hidden.bias": "encoder_stack/layers/{i}/1/layer/filter_dense_layer/bias",
    "layers.{i}.feed_forward.output.weight": "encoder_stack/layers/{i}/1/layer/output_dense_layer/kernel",
    "layers.{i}.feed_forward.output.bias": "encoder_stack/layers/{i}/1/layer/output_dense_layer/bias",
    "layers.{i}.feed_forward_scale": "encoder_stack/layers/{i}/1/alpha",
    "layers.{i}.feed_forward_norm.weight": "encoder_stack/layers/{i}/1/layer_norm/gamma",
    "layers.{i}.feed_forward_norm.bias": "encoder_stack/layers/{i}/1/layer_norm/beta",
    "final_norm.weight": "encoder_stack/output_normalization/gamma",
    "final_norm.bias": "encoder_stack/output_normalization/beta",
    "head.weight": "fc1/kernel",
    "head.bias": "fc1/bias",
}
# What v0.1 and v0.2, built on the Model Garden's own layers, call the same variables.
_OLD_NAMES = {"embeddings": "shared_weights", "kernel": "_kernel"}

# Our config -> params.json; the value, where there is one, is what every version means by a missing key.
_PARAMS: dict[str, tuple[str, Any]] = {
    "max_passes": ("max_passes", 20),
    "base_width": ("per_base_hidden_size", None),
    "pw_width": ("pw_hidden_size", None),
    "ip_width": ("ip_hidden_size", None),
    "strand_width": ("strand_hidden_size", None),
    "sn_width": ("sn_hidden_size", None),
    "num_layers": ("num_hidden_layers", None),
    "num_heads": ("num_heads", None),
    "filter_width": ("filter_size", None),
    "rezero": ("rezero", False),
    "use_ccs_quality": ("use_ccs_bq", False),
    "attention_dropout": ("attention_dropout", 0.1),
    "relu_dropout": ("relu_dropout", 0.1),
    "residual_dropout": ("layer_postprocess_dropout", 0.1),
}
_QUALITY_PARAMS = {"ccs_quality_max": ("CCS_BQ_MAX", 95), "ccs_quality_width": ("ccs_bq_hidden_size", 8)}
# The same for keys whose meaning when missing differs: before v1.0, and since.
_PARAMS_BY_AGE: dict[str, tuple[str, Any, Any]] = {
    "window_length": ("max_length", 120, 100),
    "pw_max": ("PW_MAX", 9, 255),
    "ip_max": ("IP_MAX", 9, 255),
    "sn_max": ("SN_MAX", 15, 500),
}
_OLD_WINDOW_PADDING = 20  # before v1.0, columns that the windows leave empty; a flag, never in params.json
_V03_CALIBRATION = "0,1.197654,-0.99781"  # default of v0.3's flag, before params.json carried it

# What our network has built in; another value in params.json is another network.
_FIXED = {
    **dict.fromkeys(("use_bases", "use_pw", "use_ip", "use_strand", "use_ccs", "use_sn", "add_pos_encoding"), True),
    "use_dnabert": False,
    "vocab_size": 5,
    "STRAND_MAX": 2,
}


def convert_deepconsensus(
    checkpoint: str | os.PathLike[str], params: str | os.PathLike[str] | None = None
) -> Checkpoint:
    """A DeepConsensus checkpoint as a consensus model, float32.

    Its metadata hold the "source", one line, and "notes": every choice that params.json left open.

    Args:
        checkpoint: prefix or directory, see `TensorBundle`.
        params: the model's params.json; None: the one beside the checkpoint.
    Raises:
        CheckpointError: files that are missing or damaged, a model of another architecture, or variables that
            do not fit params.json.
    """
    with TensorBundle(checkpoint) as bundle:
        params_path = Path(params) if params is not None else bundle.prefix.parent / "params.json"
        config, version, notes = read_params(params_path)
        all_keys = bundle.keys()
        variables = {key.removesuffix(_VALUE) for key in all_keys if key.endswith(_VALUE) and _SLOT not in key}
        state_dict = {}
        for name, shape in consensus_shapes(config):
            variable = _find_variable(bundle, variables, name)
            state_dict[name] = _read_tensor(bundle, variable, name, shape, config.num_heads)
            variables.remove(variable)
        left = sorted(variable for variable in variables if variable.startswith(_MODEL))
        if left:
            raise CheckpointError(
                f"{bundle.index_path}: has {len(left)} variables that {params_path.name} does not explain: {left[0]}, "
                "...; give the params.json of this checkpoint with --params"
            )
        source = f"DeepConsensus {version}, TensorFlow checkpoint '{bundle.prefix.name}'"
    return Checkpoint(config, state_dict, {"source": source, "notes": notes})


def read_params(path: Path) -> tuple[ConsensusConfig, str, list[str]]:
    """The config that a params.json describes, the version that wrote such files, and what it had to assume.

    Raises:
        CheckpointError: no such file, no JSON object, another architecture, or a value that cannot be.
    """
    params = _read_json(path)
    name = params.get("model_name")
    if "transformer_learn_values" not in str(name):
        raise CheckpointError(f"{path}: model_name is {name!r}; expected a 'transformer_learn_values' model")
    for key, expected in _FIXED.items():
        if params.get(key, expected) != expected:
            raise CheckpointError(f"{path}: {key} is {params[key]!r}; expected {expected!r}: another network")
    version = _version(params)
    values, notes = _config_values(path, params, version)
    try:
        config = parse_config(ConsensusConfig, values, str(path))
        Calibration.parse(config.calibration)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    except UsageError as error:
        raise CheckpointError(f"{path}: dc_{error}") from None
    hidden = params.get("hidden_size", config.hidden_width)
    if hidden != config.hidden_width or config.hidden_width % config.num_heads:
        raise CheckpointError(
            f"{path}: hidden_size is {hidden!r} with {config.num_heads} heads; the other values make "
            f"{config.hidden_width}, which the heads must divide"
        )
    return config, version, notes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        text = path.read_bytes() if size <= MAX_PARAMS_BYTES else b""
        params = json.loads(text)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; give the file with --params") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {size} bytes that are no JSON ({error}); expected a params.json") from None
    if not isinstance(params, dict):
        raise CheckpointError(f"{path}: holds a JSON {type(params).__name__}; expected an object of parameters")
    return params


def _version(params: dict[str, Any]) -> str:
    """The releases whose training wrote a params.json with such keys."""
    if "num_classes" in params:
        return "v0.3" if params.get("condense_transformer_input") else "v0.1-v0.2"
    if "attn_win_size" not in params:
        return "v1.0"
    return "v1.2" if "rezero" in params else "v1.1"


def _config_values(path: Path, params: dict[str, Any], version: str) -> tuple[dict[str, Any], list[str]]:
    """Values of a ConsensusConfig, and a note for each that the file does not hold."""
    is_old = version.startswith("v0.")
    defaults = {ours: (key, old if is_old else new) for ours, (key, old, new) in _PARAMS_BY_AGE.items()}
    values: dict[str, Any] = {"window_padding": _OLD_WINDOW_PADDING if is_old else 0}
    notes = [f"{_OLD_WINDOW_PADDING} of the window's columns stay empty, as in {version}"] if is_old else []
    if params.get("use_ccs_bq"):
        defaults |= _QUALITY_PARAMS
    for ours, (key, default) in (_PARAMS | defaults).items():
        values[ours] = params.get(key, default)
        if key not in params:
            if default is None:
                raise CheckpointError(f"{path}: has no '{key}'; give the params.json of the checkpoint with --params")
            notes.append(f"no {key} in {path.name}: {default}, as in {version}")
    values["condenser_width"] = _condenser_width(path, params, version, notes)
    values["attention_window"] = params.get("attn_win_size") or None  # 0, too, is full attention there
    if "attn_win_size" not in params:
        notes.append(f"no attn_win_size in {path.name}: full attention, as in {version}")
    values["calibration"] = _calibration(path, params, version, notes)
    return values, notes


def _condenser_width(path: Path, params: dict[str, Any], version: str, notes: list[str]) -> Any:
    """Width after the condenser, None without one."""
    if "condense_transformer_input" not in params:
        notes.append(f"no condense_transformer_input in {path.name}: a condenser if there is transformer_input_size")
    if not params.get("condense_transformer_input", "transformer_input_size" in params):
        return None
    if "transformer_input_size" not in params:
        raise CheckpointError(f"{path}: has a condenser but no 'transformer_input_size'; expected its width")
    return params["transformer_input_size"]


def _calibration(path: Path, params: dict[str, Any], version: str, notes: list[str]) -> Any:
    """The calibration line as text, None for none."""
    if "dc_calibration" in params:
        text = params["dc_calibration"]
        return None if text in ("skip", "", None) else text
    default = _V03_CALIBRATION if version == "v0.3" else None
    notes.append(f"no dc_calibration in {path.name}: {default or 'none'}, as in {version}")
    return default


def _find_variable(bundle: TensorBundle, variables: set[str], name: str) -> str:
    """The checkpoint's variable for our tensor `name`."""
    layer = re.search(r"\d+", name)
    pattern = name if layer is None else name.replace(layer[0], "{i}", 1)
    variable = _MODEL + _VARIABLES[pattern].format(i=layer[0] if layer else "")
    folder, _, last = variable.rpartition("/")
    for candidate in (variable, f"{folder}/{_OLD_NAMES.get(last, last)}"):
        if candidate in variables:
            return candidate
    if not any(key.startswith(_MODEL) for key in variables):
        advice = "expected a training checkpoint of DeepConsensus"
    else:
        advice = "which params.json asks for; give the params.json of this checkpoint with --params"
    raise CheckpointError(f"{bundle.index_path}: has no variable '{variable}', {advice}")


def _read_tensor(bundle: TensorBundle, variable: str, name: str, shape: Shape, num_heads: int) -> torch.Tensor:
    """The checkpoint's variable as our tensor `name` of `shape`, float32."""
    is_linear = len(shape) == 2 and "embedding" not in name
    expected = _stored_shape(name, shape, num_heads) if is_linear else shape
    found = bundle.shape(variable + _VALUE)
    if found != expected:
        raise CheckpointError(
            f"{bundle.index_path}: variable '{variable}' has shape {found}, but params.json describes {expected}; "
            "give the params.json of this checkpoint with --params"
        )
    array = bundle.read(variable + _VALUE)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise CheckpointError(
            f"{bundle.index_path}: variable '{variable}' is {array.dtype} and may hold NaN; expected finite floats"
        )
    if is_linear:
        array = array.reshape(shape[::-1]).T  # [in, out] -> [out, in]
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).reshape(shape)


def _stored_shape(name: str, shape: Shape, num_heads: int) -> Shape:
    """Shape of a linear weight [out, in] in the original: [in, out], and in attention with its heads apart."""
    width_out, width_in = shape
    if ".attention.output." in name:
        return num_heads, width_in // num_heads, width_out  # [H, K, D]
    if ".attention." in name:
        return width_in, num_heads, width_out // num_heads  # [D, H, K]
    return width_in, width_out
