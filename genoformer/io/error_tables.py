"""Error models as files: JSON with the tables of `ErrorModel` and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genoformer.errors import DataError
from genoformer.genome.error_model import ErrorModel
from genoformer.io.reads import write_json

FORMAT = "genoformer error model 1"
MAX_BYTES = 1 << 20  # 25 kB are usual


def read_error_model(path: str | Path) -> ErrorModel:
    """The error model of a file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        content = json.loads(text)
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT or not isinstance(content.get("tables"), dict):
            raise ValueError(f"its format is {found!r}; expected {FORMAT!r}")
        return ErrorModel.from_dict(content["tables"])
    except (OSError, ValueError, RecursionError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: is no error model: {problem}; make one with 'consensus fit-errors'") from None


def write_error_model(path: str | Path, model: ErrorModel, origin: dict[str, Any]) -> None:
    """Writes an error model, atomically.

    Args:
        origin: what the tables were made from.
    Raises:
        OutputError: the file cannot be written.
    """
    write_json(Path(path), {"format": FORMAT, "origin": origin, "tables": model.to_dict()})
