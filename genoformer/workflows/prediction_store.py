"""Predictions, or contributions, in the making: a file that is filled in.

With a folder of bigWigs as output, the other files are in it and called `predictions` or `contributions`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.io.predictions import FORMAT_VERSION, Layout, PredictionWriter
from genoformer.workflows.filled_output import FilledOutput
from genoformer.workflows.output import summary_path

_HDF5_SUFFIXES = (".h5", ".hdf5")
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")  # not that of a folder called v1.2
PREDICTIONS, CONTRIBUTIONS = "predictions", "contributions"


def is_hdf5(output: Path) -> bool:
    """Whether an output is one HDF5 file, by its name; else it is a folder of bigWigs."""
    return output.suffix.lower() in _HDF5_SUFFIXES


def check_output(output: Path, shard: tuple[int, int] = (1, 1)) -> None:
    """Raises UsageError for an output that cannot be, or not of a shard (i, n)."""
    if _FILE_SUFFIX.fullmatch(output.suffix) and not is_hdf5(output) and not output.is_dir():
        raise UsageError(f"--output is '{output}'; expected a folder for a bigWig a track, or a .h5 file")
    if shard != (1, 1) and not is_hdf5(output):
        raise UsageError("--shard needs a .h5 file as output: 'expression join' makes bigWigs of all shards")


def store_path(output: Path, contents: str = PREDICTIONS) -> Path:
    """What the unfinished file, the journal and the summary of an output are named after.

    Args:
        contents: what the values are, `PREDICTIONS` or `CONTRIBUTIONS`.
    """
    return output if is_hdf5(output) else output / contents


def summary_in(folder: Path) -> Path:
    """The summary of a folder of bigWigs, of whichever contents; that of predictions where there is none."""
    paths = [summary_path(store_path(folder, contents)) for contents in (PREDICTIONS, CONTRIBUTIONS)]
    return next((path for path in paths if path.exists()), paths[0])


class PredictionStore(FilledOutput[PredictionWriter]):
    """Predictions of the windows of a run, in order.

    Args:
        path: name of the file, or what stands in for it in a folder of bigWigs.
        resume: go on with an unfinished file of the same identity, where there is one.
    Raises:
        OutputError: the unfinished file is of another run, or files cannot be written.
    """

    def __init__(self, path: Path, layout: Layout, *, resume: bool) -> None:
        self.layout = layout
        super().__init__(
            path,
            layout.identity,
            lambda again: PredictionWriter(path, layout, resume=again),
            items="windows",
            resume=resume,
        )

    def write(self, first_bin: int, values: np.ndarray) -> None:
        """Fills in the bins [T, n] of a window, n bins from `first_bin`."""
        self.writer.write(first_bin, values)


def summary_of(layout: Layout, files: Sequence[str]) -> dict[str, Any]:
    """The part of a summary that does not depend on the machine.

    Args:
        files: bigWigs that were written, by their names.
    """
    counts = {
        "regions": len(layout.stretches),
        "bins": int(layout.first_bins[-1]),
        "tracks": len(layout.tracks),
    }
    made_of = {"format_version": FORMAT_VERSION, "identity": layout.identity, "bin_bp": layout.bin_bp}
    return made_of | {"counts": counts, "files": list(files)}
