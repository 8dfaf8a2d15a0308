"""Checkpoints of a run: everything that training needs to go on, in one file that appears whole or not at all.

A file is torch's zip format, read with weights_only=True: tensors and plain values, no code. It is for resuming on the
same version; the model files that people use are written by `genoformer.models.checkpoint`.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from genoformer.errors import CheckpointError, OutputError

FORMAT_VERSION: Final = 1

_NAME = re.compile(r"step-(\d{9})\.pt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:09d}.pt"


def saved_steps(folder: Path) -> list[int]:
    """Steps with a checkpoint in a folder, ascending; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, os.listdir(folder)) if match)


def save_state(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Writes the checkpoint of a step, then removes all but the last `keep`.

    Args:
        state: tensors, numbers, strings, and lists, tuples and dicts of them.
    Returns:
        the file's path.
    Raises:
        OutputError: it cannot be written; former checkpoints are still there.
    """
    path = checkpoint_path(folder, step)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format_version": FORMAT_VERSION, "step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(folder)
        for old in saved_steps(folder)[:-keep]:
            checkpoint_path(folder, old).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch's writer on a full disk
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise OutputError(f"{path}: cannot be written: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_state(folder: Path, step: int) -> dict[str, Any]:
    """The content of the checkpoint of a step, on the CPU.

    Raises:
        CheckpointError: it cannot be read, is damaged or of another version.
    """
    path = checkpoint_path(folder, step)
    advice = f"remove it to go on from the one before in {folder}"
    try:
        with zipfile.ZipFile(path) as archive:
            damage = archive.testzip()  # torch does not compare the checksums that it writes
        if damage is None:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001  torch has no common type for what it finds in a damaged file
        damage = " ".join(str(error).split())[:120] or type(error).__name__
    if damage is not None:
        raise CheckpointError(f"{path}: is damaged ({damage}); {advice}")
    if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION or state.get("step") != step:
        raise CheckpointError(f"{path}: is no checkpoint of step {step} by this version; {advice}")
    return state
