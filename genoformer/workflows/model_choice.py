"""The model file that --model names."""

from __future__ import annotations

from pathlib import Path

from genoformer import assets
from genoformer.errors import UsageError

MODEL_SUFFIX = ".safetensors"


def find_model(model: str, others: str) -> Path:
    """The file that --model names: a path, or a model that ships, without its suffix.

    Args:
        others: what else --model may be, for the message.
    Raises:
        UsageError: neither.
    """
    path = Path(model)
    if path.suffix or path.name != model or path.exists():
        return path
    try:
        return assets.path("checkpoints", f"{model}{MODEL_SUFFIX}")
    except UsageError:
        raise UsageError(f"the model is '{model}'; expected a {MODEL_SUFFIX} file, {others}") from None
