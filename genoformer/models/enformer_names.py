"""What the tensors of an expression model are called in enformer-pytorch and in DeepMind's Sonnet checkpoints.

Source: google-deepmind/deepmind-research, `enformer/enformer.py` and `attention_module.py` (Apache-2.0), for the object
graph; enformer-pytorch 0.8.12 (MIT), for its state dict.
"""

from __future__ import annotations

import functools
import re

from genoformer.models.shapes import COUNTER, Shape

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_LAYERS = "module/_trunk/_layers/"
_BLOCK = "/_module/_layers/"  # inside a residual connection

# Our module -> enformer-pytorch's -> Sonnet's; {i} is the stage or layer, {s} the species.
_MODULES = [
    ("stem.convolution", "stem.0", f"{_LAYERS}0/_layers/0"),
    ("stem.residual.norm", "stem.1.fn.0", f"{_LAYERS}0/_layers/1{_BLOCK}0"),
    ("stem.residual.convolution", "stem.1.fn.2", f"{_LAYERS}0/_layers/1{_BLOCK}2"),
    ("stem.pool.logits", "stem.2.to_attn_logits", f"{_LAYERS}0/_layers/2/_logit_linear"),
    ("tower.{i}.convolution.norm", "conv_tower.{i}.0.0", f"{_LAYERS}1/_layers/{{i}}/_layers/0/_layers/0"),
    ("tower.{i}.convolution.convolution", "conv_tower.{i}.0.2", f"{_LAYERS}1/_layers/{{i}}/_layers/0/_layers/2"),
    ("tower.{i}.residual.norm", "conv_tower.{i}.1.fn.0", f"{_LAYERS}1/_layers/{{i}}/_layers/1{_BLOCK}0"),
    ("tower.{i}.residual.convolution", "conv_tower.{i}.1.fn.2", f"{_LAYERS}1/_layers/{{i}}/_layers/1{_BLOCK}2"),
    ("tower.{i}.pool.logits", "conv_tower.{i}.2.to_attn_logits", f"{_LAYERS}1/_layers/{{i}}/_layers/2/_logit_linear"),
    ("layers.{i}.attention_norm", "transformer.{i}.0.fn.0", f"{_LAYERS}2/_layers/{{i}}/_layers/0{_BLOCK}0"),
    ("layers.{i}.attention", "transformer.{i}.0.fn.1", f"{_LAYERS}2/_layers/{{i}}/_layers/0{_BLOCK}1"),
    ("layers.{i}.feed_forward_norm", "transformer.{i}.1.fn.0", f"{_LAYERS}2/_layers/{{i}}/_layers/1{_BLOCK}0"),
    ("layers.{i}.feed_forward.hidden", "transformer.{i}.1.fn.1", f"{_LAYERS}2/_layers/{{i}}/_layers/1{_BLOCK}1"),
    ("layers.{i}.feed_forward.output", "transformer.{i}.1.fn.4", f"{_LAYERS}2/_layers/{{i}}/_layers/1{_BLOCK}4"),
    ("pointwise.norm", "final_pointwise.1.0", f"{_LAYERS}4/_layers/0/_layers/0"),
    ("pointwise.convolution", "final_pointwise.1.2", f"{_LAYERS}4/_layers/0/_layers/2"),
    ("heads.{s}", "_heads.{s}.0", "module/_heads/{s}/_layers/0"),
]

# The same for the tensors of a module.
_NORM = [("weight", "weight", "scale"), ("bias", "bias", "offset")]
_MOMENTS = [
    ("running_mean", "running_mean", "moving_mean/average"),
    ("running_var", "running_var", "moving_variance/average"),
    (COUNTER, COUNTER, "moving_mean/_counter"),
]
_LINEAR = [("weight", "weight", "w"), ("bias", "bias", "b")]
_ATTENTION = [
    ("query.weight", "to_q.weight", "_q_layer/w"),
    ("key.weight", "to_k.weight", "_k_layer/w"),
    ("value.weight", "to_v.weight", "_v_layer/w"),
    ("position.weight", "to_rel_k.weight", "_r_k_layer/w"),
    ("output.weight", "to_out.weight", "_embedding_layer/w"),
    ("output.bias", "to_out.bias", "_embedding_layer/b"),
    ("content_bias", "rel_content_bias", "_r_w_bias"),
    ("position_bias", "rel_pos_bias", "_r_r_bias"),
]

# enformer-pytorch saves these modules a second time, as members of a sequence.
_ALIASES = {"stem": "_trunk.1", "conv_tower": "_trunk.2", "transformer": "_trunk.4", "final_pointwise": "_trunk.6"}


def _tensors(module: str) -> list[tuple[str, str, str]]:
    if module.endswith(".attention"):
        return _ATTENTION
    if module.endswith("_norm"):
        return _NORM
    return [*_NORM, *_MOMENTS] if module.endswith(".norm") else _LINEAR


def pytorch_name(name: str) -> str:
    """What enformer-pytorch calls our tensor `name`."""
    number = re.match(r"(?:tower|layers)\.(\d+)\.", name)
    species = re.match(r"heads\.(\w+)\.", name)
    pattern = name.replace(number[1], "{i}", 1) if number else name
    pattern = pattern.replace(species[1], "{s}", 1) if species else pattern
    found = _pytorch_patterns()[pattern]
    return found.format(i=number[1] if number else "", s=species[1] if species else "")


def pytorch_alias(pytorch: str) -> str | None:
    """The second name of a tensor in enformer-pytorch's state dict, None for those that have one."""
    module, _, rest = pytorch.partition(".")
    return f"{_ALIASES[module]}.{rest}" if module in _ALIASES else None


def pytorch_shape(name: str, shape: Shape) -> Shape:
    """Shape in enformer-pytorch of our tensor `name`: a map of every position is a convolution of width 1 there."""
    if name.endswith("convolution.weight") and len(shape) == 2:
        return (*shape, 1)
    if name.endswith("pool.logits.weight"):
        return (*shape, 1, 1)
    if name.endswith(("content_bias", "position_bias")):
        return (1, shape[0], 1, shape[1])
    return shape


def name_of_pytorch(key: str) -> str | None:
    """Our name of a tensor of enformer-pytorch's state dict, None where we have none; aliases count."""
    for module, alias in _ALIASES.items():
        if key.startswith(f"{alias}."):
            key = module + key.removeprefix(alias)
    return _reverse(_pytorch_patterns(), key)


def name_of_sonnet(key: str) -> str | None:
    """Our name of a variable of a Sonnet checkpoint, None where we have none."""
    return _reverse(_sonnet_patterns(), key.removesuffix(_VALUE)) if key.endswith(_VALUE) else None


@functools.cache
def _pytorch_patterns() -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}.{other}" for ours, theirs, _ in _MODULES for part, other, _ in _tensors(ours)}


@functools.cache
def _sonnet_patterns() -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}/{other}" for ours, _, theirs in _MODULES for part, _, other in _tensors(ours)}


def _reverse(patterns: dict[str, str], key: str) -> str | None:
    """Our name for another program's `key`."""
    for ours, theirs in patterns.items():
        expression = re.escape(theirs).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{s\}", r"(?P<s>\w+)")
        match = re.fullmatch(expression, key)
        if match is not None:
            return ours.format(**match.groupdict())
    return None
