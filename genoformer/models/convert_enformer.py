"""Enformer's weights as an expression model: from DeepMind's Sonnet checkpoint or from enformer-pytorch.

Sizes come from the tensors' shapes; what no tensor tells comes from a Hugging Face config.json where there is one, from
the published defaults otherwise, and from the user over both. As with every converter here, a tensor that the config
does not explain is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from genoformer.config import ExpressionConfig, parse_config
from genoformer.errors import CheckpointError, UsageError
from genoformer.io.tf_checkpoint import TensorBundle
from genoformer.models.checkpoint import Checkpoint, read_foreign_tensors
from genoformer.models.enformer_names import name_of_pytorch, name_of_sonnet
from genoformer.models.shapes import COUNTER, Shape, expression_shapes

Tensors = dict[str, torch.Tensor]  # by our names

_MAX_JSON_BYTES = 1 << 20
_SCRATCH = re.compile(r".*/(moving_mean/_hidden|moving_variance/(_hidden|_counter))/\.ATTRIBUTES/VARIABLE_VALUE")

# Our config -> Hugging Face's config.json, for what no tensor tells.
_SETTINGS = {
    "target_bins": "target_length",
    "relu_dropout": "dropout_rate",
    "residual_dropout": "dropout_rate",
    "attention_dropout": "attn_dropout",
    "position_dropout": "pos_dropout",
}
_POINTWISE_SHARE = 8  # the last block drops an eighth of dropout_rate

_BASIS_NOTE = (
    "gamma basis over positions, as the published weights were trained; weights that enformer-pytorch trained itself "
    "have another: --set gamma_over=features"
)


def is_sonnet(bundle: TensorBundle) -> bool:
    """Whether a TensorFlow checkpoint holds an Enformer rather than a Keras model."""
    return any(key.startswith("module/_trunk/") for key in bundle.keys())  # noqa: SIM118


def convert_sonnet(bundle: TensorBundle, settings: Mapping[str, Any]) -> Checkpoint:
    """DeepMind's checkpoint of an Enformer as an expression model, float32.

    Args:
        settings: keys and values of `ExpressionConfig` over the published ones, for sizes that no variable tells.
    Raises:
        CheckpointError: damaged files, variables that are missing, unknown or of shapes that do not fit.
        UsageError: settings that contradict the variables, or no settings of an expression model.
    """
    where, tensors, unknown = str(bundle.index_path), {}, []
    for key in bundle.keys():  # noqa: SIM118
        name = name_of_sonnet(key)
        if name is not None:
            tensors[name] = torch.from_numpy(_from_sonnet(bundle.read(key), key))
        elif key.startswith("module/") and not _SCRATCH.fullmatch(key):
            unknown.append(key)
    source = f"Enformer, Sonnet checkpoint '{bundle.prefix.name}'"
    return _checkpoint(where, tensors, unknown, {}, settings, {"source": source, "notes": []})


def convert_pytorch(path: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """Weights of enformer-pytorch as an expression model, float32.

    Args:
        path: a state dict (.bin, .pt, .pth or .safetensors), or a Hugging Face folder of config.json and one.
        settings: as `convert_sonnet`.
    Raises:
        CheckpointError, UsageError: as `convert_sonnet`; tensors saved twice that differ.
    """
    weights, values, notes = _find_weights(path) if path.is_dir() else (path, {}, [_BASIS_NOTE])
    tensors: Tensors = {}
    unknown = []
    for key, tensor in _read_tensors(weights).items():
        name = name_of_pytorch(key)
        if name is None:
            unknown.append(key)
        elif name in tensors and not torch.equal(tensors[name], tensor):
            raise CheckpointError(f"{weights}: '{key}' differs from the same tensor under its other name")
        else:
            tensors[name] = tensor
    metadata = {"source": f"enformer-pytorch, '{weights.name}'", "notes": notes}
    return _checkpoint(str(weights), tensors, unknown, values, settings, metadata)


def _find_weights(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The weights in a Hugging Face folder, the values of our config that its config.json tells, and notes."""
    values, notes = _read_settings(folder / "config.json")
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name, values, notes
    raise CheckpointError(f"{folder}: has no model.safetensors or pytorch_model.bin; put one beside its config.json")


def _read_settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Values of our config by a Hugging Face config.json, and what it leaves to be assumed."""
    try:
        size = path.stat().st_size
        found = json.loads(path.read_bytes() if size <= _MAX_JSON_BYTES else b"")
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror}; expected that of a Hugging Face folder"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {size} bytes that are no JSON ({error}); expected a config.json") from None
    if not isinstance(found, dict) or found.get("model_type") != "enformer":
        raise CheckpointError(f"{path}: is no config of a model of type 'enformer'")
    values = {ours: found[theirs] for ours, theirs in _SETTINGS.items() if theirs in found}
    if isinstance(found.get("dropout_rate"), int | float):
        values["pointwise_dropout"] = found["dropout_rate"] / _POINTWISE_SHARE
    if values.get("target_bins") == -1:
        raise CheckpointError(f"{path}: target_length is -1, all bins; say how many with --set target_bins=N")
    if found.get("use_tf_gamma", True) is False:
        note = "gamma basis over features, for use_tf_gamma is false; the published weights need gamma_over=positions"
        return {**values, "gamma_over": "features"}, [note]
    return values, [_BASIS_NOTE]


def _read_tensors(path: Path) -> Tensors:
    """The tensors of a safetensors file or of a state dict that PyTorch saved; no code is loaded from either."""
    if path.suffix == ".safetensors":
        return read_foreign_tensors(path)
    try:
        path.open("rb").close()
        # Mapped, so that the file's own size bounds what is read.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: no state dict of PyTorch 1.6 or newer: {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: holds no state dict; expected tensors by name")
    for name, tensor in found.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: '{name}' claims shape {tuple(tensor.shape)}, more than the file holds")
    return {str(name): tensor for name, tensor in found.items()}


def _from_sonnet(array: np.ndarray, key: str) -> np.ndarray:
    """A variable in PyTorch's order: [in, out] becomes [out, in], [width, in, out] becomes [out, in, width]."""
    is_weight = key.split("/.ATTRIBUTES")[0].endswith("/w")
    return np.ascontiguousarray(array.T) if is_weight else array


def _checkpoint(
    where: str,
    tensors: Tensors,
    unknown: list[str],
    values: dict[str, Any],
    settings: Mapping[str, Any],
    metadata: dict[str, Any],
) -> Checkpoint:
    """A model of tensors by our names, whose shapes may have axes of length 1 more than ours."""
    sizes = _sizes(where, tensors)
    for key in settings:
        if key in sizes and settings[key] != sizes[key]:
            raise UsageError(f"--set {key}: the tensors of {where} say {sizes[key]}; leave it out")
    config = parse_config(ExpressionConfig, {**values, **sizes, **settings}, "--set" if settings else where)
    state_dict = {}
    for name, shape in expression_shapes(config):
        state_dict[name] = _fitted(where, tensors, name, shape)
    unknown += sorted(set(tensors) - set(state_dict))
    if unknown:
        raise CheckpointError(
            f"{where}: has {len(unknown)} tensors that no Enformer of its sizes has: {unknown[0]}, ..."
        )
    return Checkpoint(config, state_dict, metadata)


def _sizes(where: str, tensors: Tensors) -> dict[str, Any]:
    """The values of our config that the shapes of the tensors tell."""

    def shape(name: str, num_dims: int) -> Shape:
        if name not in tensors or tensors[name].dim() != num_dims:
            raise CheckpointError(f"{where}: has no tensor for '{name}' of {num_dims} axes; expected an Enformer")
        return tuple(tensors[name].shape)

    def count(pattern: str) -> int:
        return len({match[1] for match in map(re.compile(pattern).match, tensors) if match})

    stem = shape("stem.convolution.weight", 3)
    stages = [shape(f"tower.{i}.convolution.convolution.weight", 3) for i in range(count(r"tower\.(\d+)\."))]
    sizes: dict[str, Any] = {
        "stem_width": stem[0],
        "stem_kernel": stem[2],
        "tower_widths": [stage[0] for stage in stages],
        "num_layers": count(r"layers\.(\d+)\."),
        "pointwise_width": shape("pointwise.convolution.weight", 3)[0],
        "heads": {
            match[1]: len(tensors[match[0]])
            for match in map(re.compile(r"heads\.(\w+)\.bias").fullmatch, tensors)
            if match
        },
    }
    if stages:
        sizes["tower_kernel"] = stages[0][2]
    if sizes["num_layers"]:
        attention = "layers.0.attention"
        _, sizes["num_heads"], _, sizes["key_width"] = shape(f"{attention}.content_bias", 4)
        sizes["value_width"] = shape(f"{attention}.value.weight", 2)[0] // sizes["num_heads"]
        sizes["position_features"] = shape(f"{attention}.position.weight", 2)[1]
        sizes["filter_width"] = shape("layers.0.feed_forward.hidden.weight", 2)[0]
    return sizes


def _fitted(where: str, tensors: Tensors, name: str, shape: Shape) -> torch.Tensor:
    """The tensor `name` in our shape: finite float32, counters int64."""
    if name not in tensors:
        raise CheckpointError(f"{where}: has no tensor for '{name}', which a model of its sizes has")
    tensor = tensors[name]
    if [size for size in tensor.shape if size != 1] != [size for size in shape if size != 1]:
        raise CheckpointError(f"{where}: the tensor for '{name}' has shape {tuple(tensor.shape)}; expected {shape}")
    if name.endswith(COUNTER):
        return tensor.to(torch.int64).reshape(shape)
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{where}: the tensor for '{name}' is {tensor.dtype} and may hold NaN; expected finite floats"
        )
    return tensor.to(torch.float32).reshape(shape).clone()
