"""The model file that --model names, and the species that --species does."""

from __future__ import annotations

from collections.abc import Sequence
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


def choose_species(wanted: str | None, heads: Sequence[str]) -> str:
    """The head of a model: the one that is wanted, or the only one.

    Raises:
        UsageError: not one of the model's, or none wanted of several.
    """
    if wanted is None and len(heads) == 1:
        return heads[0]
    if wanted is None or wanted not in heads:
        found = "not given" if wanted is None else f"'{wanted}'"
        raise UsageError(f"--species is {found}; the model has {', '.join(heads)}")
    return wanted
