"""Small Enformers as other programs save them, written out from the layouts of their modules."""

from __future__ import annotations

import numpy as np
import torch

from genoformer.config import ExpressionConfig
from genoformer.models.expression import ExpressionTransformer
from tests.expression_reference import random_weights_
from tests.tensor_bundle import VALUE

# A model that enformer-pytorch can have: dim 24, depth 2, heads 2, num_downsamples 3, dim_divisible_by 4.
CONFIG = ExpressionConfig(
    window_bp=96, target_bins=7, heads={"human": 3, "mouse": 2}, stem_width=12, tower_widths=(12, 24), num_layers=2,
    num_heads=2, key_width=4, value_width=12, position_features=12, filter_width=48, pointwise_width=48,
)  # fmt: skip
SETTINGS = {"window_bp": 96, "target_bins": 7}  # what no tensor tells


def small_model() -> ExpressionTransformer:
    return random_weights_(ExpressionTransformer(CONFIG)).eval()


def sonnet_variables(model: ExpressionTransformer) -> dict[str, np.ndarray]:
    """The variables of a checkpoint of DeepMind's module, float32, moving averages and all."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    trunk, found = "module/_trunk/_layers", {}

    def linear(theirs, ours, *, conv=False):
        weight = state[f"{ours}.weight"]
        weight = weight[..., None] if conv and weight.ndim == 2 else weight  # [out, in, width]
        found[f"{theirs}/w"] = weight.transpose(*reversed(range(weight.ndim)))
        if f"{ours}.bias" in state:
            found[f"{theirs}/b"] = state[f"{ours}.bias"]

    def affine(theirs, ours):
        found[f"{theirs}/scale"], found[f"{theirs}/offset"] = state[f"{ours}.weight"], state[f"{ours}.bias"]

    def norm(theirs, ours):
        affine(theirs, ours)
        for name, moment in (("moving_mean", "running_mean"), ("moving_variance", "running_var")):
            average = state[f"{ours}.{moment}"][None, None]  # [1, 1, C]
            found[f"{theirs}/{name}/average"], found[f"{theirs}/{name}/_hidden"] = average, average * 0.5
            found[f"{theirs}/{name}/_counter"] = np.array(state[f"{ours}.num_batches_tracked"])

    def stage_end(theirs, ours):
        norm(f"{theirs}/1/_module/_layers/0", f"{ours}.residual.norm")
        linear(f"{theirs}/1/_module/_layers/2", f"{ours}.residual.convolution", conv=True)
        linear(f"{theirs}/2/_logit_linear", f"{ours}.pool.logits")

    linear(f"{trunk}/0/_layers/0", "stem.convolution")
    stage_end(f"{trunk}/0/_layers", "stem")
    for i in range(len(model.config.tower_widths)):
        norm(f"{trunk}/1/_layers/{i}/_layers/0/_layers/0", f"tower.{i}.convolution.norm")
        linear(f"{trunk}/1/_layers/{i}/_layers/0/_layers/2", f"tower.{i}.convolution.convolution")
        stage_end(f"{trunk}/1/_layers/{i}/_layers", f"tower.{i}")
    for i in range(model.config.num_layers):
        layer, ours = f"{trunk}/2/_layers/{i}/_layers", f"layers.{i}"
        affine(f"{layer}/0/_module/_layers/0", f"{ours}.attention_norm")
        attention = f"{layer}/0/_module/_layers/1"
        for theirs, name in (("q", "query"), ("k", "key"), ("v", "value"), ("r_k", "position")):
            linear(f"{attention}/_{theirs}_layer", f"{ours}.attention.{name}")
        linear(f"{attention}/_embedding_layer", f"{ours}.attention.output")
        found[f"{attention}/_r_w_bias"] = state[f"{ours}.attention.content_bias"][None, :, None]
        found[f"{attention}/_r_r_bias"] = state[f"{ours}.attention.position_bias"][None, :, None]
        affine(f"{layer}/1/_module/_layers/0", f"{ours}.feed_forward_norm")
        linear(f"{layer}/1/_module/_layers/1", f"{ours}.feed_forward.hidden")
        linear(f"{layer}/1/_module/_layers/4", f"{ours}.feed_forward.output")
    norm(f"{trunk}/4/_layers/0/_layers/0", "pointwise.norm")
    linear(f"{trunk}/4/_layers/0/_layers/2", "pointwise.convolution", conv=True)
    for species in model.config.heads:
        linear(f"module/_heads/{species}/_layers/0", f"heads.{species}")
    found["save_counter"] = np.array(1, dtype=np.int64)
    return {key + VALUE: np.ascontiguousarray(array) for key, array in found.items()}


def pytorch_state(model: ExpressionTransformer) -> dict[str, torch.Tensor]:
    """The state dict of enformer-pytorch's module, with the second names of its trunk."""
    state, found = model.state_dict(), {}

    def copy(theirs, ours, *shape):
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if f"{ours}.{name}" in state:
                tensor = state[f"{ours}.{name}"]
                found[f"{theirs}.{name}"] = tensor.reshape(*tensor.shape, *shape) if name == "weight" else tensor

    def stage_end(theirs, ours, residual, pool):
        copy(f"{theirs}.{residual}.fn.0", f"{ours}.residual.norm")
        copy(f"{theirs}.{residual}.fn.2", f"{ours}.residual.convolution", 1)
        copy(f"{theirs}.{pool}.to_attn_logits", f"{ours}.pool.logits", 1, 1)

    copy("stem.0", "stem.convolution")
    stage_end("stem", "stem", 1, 2)
    for i in range(len(model.config.tower_widths)):
        copy(f"conv_tower.{i}.0.0", f"tower.{i}.convolution.norm")
        copy(f"conv_tower.{i}.0.2", f"tower.{i}.convolution.convolution")
        stage_end(f"conv_tower.{i}", f"tower.{i}", 1, 2)
    for i in range(model.config.num_layers):
        theirs, ours = f"transformer.{i}", f"layers.{i}"
        copy(f"{theirs}.0.fn.0", f"{ours}.attention_norm")
        for other, name in (("q", "query"), ("k", "key"), ("v", "value"), ("rel_k", "position"), ("out", "output")):
            copy(f"{theirs}.0.fn.1.to_{other}", f"{ours}.attention.{name}")
        found[f"{theirs}.0.fn.1.rel_content_bias"] = state[f"{ours}.attention.content_bias"][None, :, None]
        found[f"{theirs}.0.fn.1.rel_pos_bias"] = state[f"{ours}.attention.position_bias"][None, :, None]
        copy(f"{theirs}.1.fn.0", f"{ours}.feed_forward_norm")
        copy(f"{theirs}.1.fn.1", f"{ours}.feed_forward.hidden")
        copy(f"{theirs}.1.fn.4", f"{ours}.feed_forward.output")
    copy("final_pointwise.1.0", "pointwise.norm")
    copy("final_pointwise.1.2", "pointwise.convolution", 1)
    for species in model.config.heads:
        copy(f"_heads.{species}.0", f"heads.{species}")
    for number, part in ((1, "stem"), (2, "conv_tower"), (4, "transformer"), (6, "final_pointwise")):
        same = {key: tensor for key, tensor in found.items() if key.startswith(f"{part}.")}
        found |= {f"_trunk.{number}.{key.removeprefix(f'{part}.')}": tensor for key, tensor in same.items()}
    return found
