"""Expression models as enformer-pytorch has them: its state dict, and the config.json of a Hugging Face folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from genoformer.config import ExpressionConfig
from genoformer.errors import OutputError, UsageError
from genoformer.models.checkpoint import Checkpoint
from genoformer.models.enformer_names import pytorch_alias, pytorch_name, pytorch_shape

_STEM_KERNEL, _TOWER_KERNEL = 15, 5
_ROUNDINGS = (128, 64, 32, 16, 8, 4, 2, 1)  # values of dim_divisible_by to try
_POINTWISE_SHARE = 8  # the last block drops an eighth of dropout_rate


def enformer_pytorch_state(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights of an expression model as enformer-pytorch's state dict, second names of tensors included."""
    state = {}
    for name, tensor in checkpoint.state_dict.items():
        key = pytorch_name(name)
        state[key] = tensor.reshape(pytorch_shape(name, tuple(tensor.shape)))
        alias = pytorch_alias(key)
        if alias is not None:
            state[alias] = state[key]
    return state


def enformer_pytorch_config(config: ExpressionConfig) -> dict[str, Any]:
    """The config.json of an expression model, as enformer-pytorch's `from_pretrained` reads it.

    Raises:
        UsageError: a model of a shape that enformer-pytorch cannot have.
    """
    width = config.hidden_width
    expected = {
        "stem_width": width // 2,
        "stem_kernel": _STEM_KERNEL,
        "tower_kernel": _TOWER_KERNEL,
        "value_width": width // config.num_heads,
        "position_features": width // config.num_heads,
        "filter_width": 2 * width,
        "pointwise_width": 2 * width,
        "relu_dropout": config.residual_dropout,
        "pointwise_dropout": config.residual_dropout / _POINTWISE_SHARE,
    }
    for key, value in expected.items():
        if getattr(config, key) != value:
            raise UsageError(f"enformer-pytorch has no model with {key}={getattr(config, key)}; it would be {value}")
    return {
        "architectures": ["Enformer"],
        "model_type": "enformer",
        "dim": width,
        "depth": config.num_layers,
        "heads": config.num_heads,
        "output_heads": config.heads,
        "target_length": config.target_bins,
        "attn_dim_key": config.key_width,
        "dropout_rate": config.residual_dropout,
        "attn_dropout": config.attention_dropout,
        "pos_dropout": config.position_dropout,
        "use_checkpointing": False,
        "use_tf_gamma": config.gamma_over == "positions",
        "num_downsamples": len(config.tower_widths) + 1,
        "dim_divisible_by": _rounding(config),
    }


def save_enformer_pytorch(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a state dict (a name ending in .bin or .pt), or a Hugging Face folder of it and config.json, whole or not.

    Raises:
        UsageError: a consensus model, or a shape that enformer-pytorch cannot have.
        OutputError: the output cannot be written.
    """
    if not isinstance(checkpoint.config, ExpressionConfig):
        raise UsageError("only expression models can be written for enformer-pytorch; this is a consensus model")
    settings = enformer_pytorch_config(checkpoint.config)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix in (".bin", ".pt"):
            torch.save(enformer_pytorch_state(checkpoint), temporary)
        else:
            temporary.mkdir()
            (temporary / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
            torch.save(enformer_pytorch_state(checkpoint), temporary / "pytorch_model.bin")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True) if temporary.is_dir() else temporary.unlink(missing_ok=True)


def _rounding(config: ExpressionConfig) -> int:
    """The multiple to which enformer-pytorch rounds a geometric series of widths to get the tower's.

    Raises:
        UsageError: none does.
    """
    num_stages, last = len(config.tower_widths), config.hidden_width
    for multiple in _ROUNDINGS:
        if num_stages > 1 and config.tower_widths == _geometric_widths(last // 2, last, num_stages, multiple):
            return multiple
    raise UsageError(
        f"enformer-pytorch has no tower of widths {config.tower_widths}; its widths grow by one factor from "
        f"{last // 2} to {last}"
    )


def _geometric_widths(first: int, last: int, count: int, multiple: int) -> tuple[int, ...]:
    factor = math.exp(math.log(last / first) / (count - 1))
    return tuple(round(first * factor**stage / multiple) * multiple for stage in range(count))
