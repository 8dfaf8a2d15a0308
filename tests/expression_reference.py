"""The expression model written out once more, slowly and as the paper and its code have it, from weights by name.

Channels come before positions, pooling is a softmax over every pair, distances are looked up one by one, and nothing is
skipped: what the model's own code does differently to be fast is not in here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from genoformer.config import ExpressionConfig
from genoformer.nn.positions import relative_positions

TINY = ExpressionConfig(
    window_bp=96, target_bins=7, heads={"human": 3, "fly": 2}, stem_width=4, stem_kernel=5, tower_widths=(6, 10),
    tower_kernel=3, num_layers=2, num_heads=2, key_width=3, value_width=5, filter_width=7, pointwise_width=8,
    position_features=12, attention_dropout=0, position_dropout=0, relu_dropout=0, residual_dropout=0,
    pointwise_dropout=0,
)  # fmt: skip


def random_weights_(model):
    """Gives every tensor weight: output projections that are 0 at first, biases, running means and variances too."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 1
            draws = torch.randn(tensor.shape, generator=generator) * (fan_in**-0.5 if tensor.dim() > 1 else 0.3)
            is_positive = name.endswith(("running_var", "norm.weight"))
            tensor.copy_(draws.exp() if is_positive else draws)
    return model


def random_sequence(num_windows, length, *, seed=0):
    """One-hot bases [B, L, 4] with some N, as rows of zeros."""
    codes = torch.randint(0, 9, (num_windows, length), generator=torch.Generator().manual_seed(seed))
    return torch.eye(9, 4)[torch.where(codes < 8, codes % 4, codes)]


def gelu(x):
    return x * torch.sigmoid(1.702 * x)


def batch_norm(x, named, name, training):
    """x [B, D, L]."""
    if training:
        mean, var = x.mean((0, 2)), x.var((0, 2), unbiased=False)
    else:
        mean, var = named[f"{name}.running_mean"], named[f"{name}.running_var"]
    scale = named[f"{name}.weight"] / torch.sqrt(var + 1e-5)
    return (x - mean[:, None]) * scale[:, None] + named[f"{name}.bias"][:, None]


def convolution(x, named, name):
    weight = named[f"{name}.weight"]
    weight = weight[..., None] if weight.dim() == 2 else weight
    return F.conv1d(x, weight, named[f"{name}.bias"], padding=weight.shape[-1] // 2)


def conv_block(x, named, name, training):
    return convolution(gelu(batch_norm(x, named, f"{name}.norm", training)), named, f"{name}.convolution")


def pool(x, weight):
    """x [B, D, L]: softmax over the two positions of each pair, channel by channel."""
    pairs = x.unflatten(2, (-1, 2))  # [B, D, L/2, 2]
    logits = torch.einsum("oi,bilp->bolp", weight, pairs)
    return (pairs * torch.softmax(logits, dim=-1)).sum(-1)


def layer_norm(x, named, name):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
    return scaled * named[f"{name}.weight"] + named[f"{name}.bias"]


def attention(x, positions, named, name, config):
    """All positions of x [B, L, D]; the row of `positions` for query i and key j is L - 1 + j - i."""
    length, mixed = x.shape[1], []
    rows = torch.tensor([[length - 1 + j - i for j in range(length)] for i in range(length)])
    for head in range(config.num_heads):
        keys = slice(head * config.key_width, (head + 1) * config.key_width)
        values = slice(head * config.value_width, (head + 1) * config.value_width)
        query = x @ named[f"{name}.query.weight"][keys].T / math.sqrt(config.key_width)
        key = x @ named[f"{name}.key.weight"][keys].T
        distance = (positions @ named[f"{name}.position.weight"][keys].T)[rows]  # [L, L, K]
        content = (query + named[f"{name}.content_bias"][head]) @ key.transpose(1, 2)
        place = torch.einsum("bik,ijk->bij", query + named[f"{name}.position_bias"][head], distance)
        value = x @ named[f"{name}.value.weight"][values].T
        mixed.append(torch.softmax(content + place, dim=-1) @ value)
    return torch.cat(mixed, -1) @ named[f"{name}.output.weight"].T + named[f"{name}.output.bias"]


def encoder_layer(x, positions, named, name, config):
    x = x + attention(layer_norm(x, named, f"{name}.attention_norm"), positions, named, f"{name}.attention", config)
    hidden = layer_norm(x, named, f"{name}.feed_forward_norm")
    for part in ("hidden", "output"):
        linear = f"{name}.feed_forward.{part}"
        hidden = hidden @ named[f"{linear}.weight"].T + named[f"{linear}.bias"]
        hidden = hidden.clamp(min=0) if part == "hidden" else hidden
    return x + hidden


def predict(sequence, named, config, *, training=False):
    """Tracks of each species from a one-hot sequence [B, L, 4], in the dtype of the weights; no dropout."""
    x = convolution(sequence.transpose(1, 2).to(named["stem.convolution.weight"].dtype), named, "stem.convolution")
    for name in ("stem", *(f"tower.{i}" for i in range(len(config.tower_widths)))):
        x = x if name == "stem" else conv_block(x, named, f"{name}.convolution", training)
        x = pool(x + conv_block(x, named, f"{name}.residual", training), named[f"{name}.pool.logits.weight"])
    x = x.transpose(1, 2)
    positions = relative_positions(
        x.shape[1], config.position_features, nominal_length=config.position_bins, gamma_over=config.gamma_over
    ).to(x.dtype)
    for i in range(config.num_layers):
        x = encoder_layer(x, positions, named, f"layers.{i}", config)
    trim = (x.shape[1] - config.target_bins) // 2
    x = x[:, trim : trim + config.target_bins].transpose(1, 2)
    x = gelu(conv_block(x, named, "pointwise", training)).transpose(1, 2)
    return {
        species: F.softplus(x @ named[f"heads.{species}.weight"].T + named[f"heads.{species}.bias"])
        for species in config.heads
    }
