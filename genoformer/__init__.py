"""genoformer: transformers for genomic sequence, from reads to consensus and from DNA to tracks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genoformer.models.checkpoint import Device, Model

__version__ = "0.1.0"

__all__ = ["__version__", "load_model"]


def load_model(path: str | os.PathLike[str], device: Device = "cpu") -> Model:
    """The model of a file in evaluation mode on `device`, its weights float32.

    A consensus model takes the rows of pileup windows [B, R, L] to logits of gap, A, T, C, G [B, L, 5]; an expression
    model takes one-hot sequences [B, L, 4] to tracks of each species [B, N, T], and has `tracks` that say which.

    Args:
        path: a model file, as `genoformer model convert` and training write them.
    Raises:
        CheckpointError: no such file, no model file, or a damaged one.
    """
    from genoformer.models.checkpoint import load_model as load

    return load(path, device)
