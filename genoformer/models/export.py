"""A trained model made ready to be passed on: smaller numbers, and the calibration of its qualities inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genoformer.errors import CheckpointError
from genoformer.io.calibration_file import parse_calibration, read_content
from genoformer.models.checkpoint import load_checkpoint, save_checkpoint


def export_model(
    source: Path, output: Path, *, dtype: torch.dtype, calibration: Path | None = None, notes: tuple[str, ...] = ()
) -> None:
    """Writes a model file with weights of another type; what the source says of itself goes along.

    Args:
        calibration: file of `consensus calibrate`, which `correct` then applies unless it is told otherwise.
        notes: for people, after those of the source.
    Raises:
        CheckpointError: a source that is no model, a weight that the type cannot hold, or a calibration of what is no
            consensus model.
        DataError: a file that is no calibration.
        OutputError: the output cannot be written.
    """
    checkpoint = load_checkpoint(source)
    weights = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.state_dict.items()
    }
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source}: '{name}' has values that {dtype} cannot hold; export as another type")
    metadata: dict[str, Any] = {**checkpoint.metadata, "notes": [*checkpoint.metadata.get("notes", []), *notes]}
    if calibration is not None:
        if checkpoint.kind != "consensus":
            raise CheckpointError(f"{source}: holds an {checkpoint.kind} model, which has no qualities to calibrate")
        content, digest = read_content(calibration)
        parse_calibration(content, str(calibration), digest)
        metadata["calibration"] = content
    save_checkpoint(output, weights, checkpoint.config, metadata=metadata, tracks=checkpoint.tracks)
