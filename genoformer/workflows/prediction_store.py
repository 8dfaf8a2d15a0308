"""Predictions in the making: a file that is filled in, and a journal by which a later run goes on.

OUT.h5, OUT.h5.summary.json            the output, once it is whole, and what it was made of
OUT.h5.partial, OUT.h5.journal.json    an unfinished run

With a folder of bigWigs as output, the other files are in it and called `predictions`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.io.predictions import FORMAT_VERSION, Layout, PredictionWriter
from genoformer.io.reads import partial_path, read_json, write_json
from genoformer.workflows.output import COMMIT_SECONDS, confirm_whole, journal_path, read_journal, summary_path

logger = logging.getLogger(__name__)

_HDF5_SUFFIXES = (".h5", ".hdf5")
_BIGWIG_SUFFIXES = (".bw", ".bigwig")
_STEM_IN_FOLDER = "predictions"


def is_hdf5(output: Path) -> bool:
    """Whether an output is one HDF5 file, by its name; else it is a folder of bigWigs."""
    return output.suffix.lower() in _HDF5_SUFFIXES


def check_output(output: Path, shard: tuple[int, int]) -> None:
    """Raises UsageError for an output that cannot be, or not of a shard (i, n)."""
    if output.suffix.lower() in _BIGWIG_SUFFIXES:
        raise UsageError(f"--output is '{output}'; expected a folder for a bigWig a track, or a .h5 file")
    if shard != (1, 1) and not is_hdf5(output):
        raise UsageError("--shard needs a .h5 file as output: 'expression join' makes bigWigs of all shards")


def store_path(output: Path) -> Path:
    """What the unfinished file, the journal and the summary of an output are named after."""
    return output if is_hdf5(output) else output / _STEM_IN_FOLDER


class PredictionStore:
    """Predictions of the windows of a run, in order.

    Args:
        path: name of the file, or what stands in for it in a folder of bigWigs.
        resume: go on with an unfinished file of the same identity, where there is one.
    Attributes:
        num_done: windows that are in the file.
    Raises:
        OutputError: the unfinished file is of another run, or files cannot be written.
    """

    def __init__(self, path: Path, layout: Layout, *, resume: bool) -> None:
        self.path, self.layout = path, layout
        self.num_done = self._journalled() if resume else 0
        if not self.num_done:
            journal_path(path).unlink(missing_ok=True)  # it must never speak of another unfinished file
        summary_path(path).unlink(missing_ok=True)
        self._writer = PredictionWriter(path, layout, resume=self.num_done > 0)
        self._committed_at = time.monotonic()

    def _journalled(self) -> int:
        """Number of windows that the unfinished file has."""
        journal = read_journal(self.path, dict(self.layout.identity))
        if journal is None:
            return 0
        logger.info("%s: resuming after %d windows", self.path, journal["num_done"])
        return int(journal["num_done"])

    def write(self, first_bin: int, values: np.ndarray) -> None:
        """Fills in the bins [T, n] of a window, n bins from `first_bin`."""
        self._writer.write(first_bin, values)

    def advance(self, num_windows: int) -> None:
        """Counts windows that were written, all before which are written as well."""
        self.num_done += num_windows
        if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes the windows that count as done durable, for `--resume`."""
        self._writer.commit()
        write_json(journal_path(self.path), {"identity": dict(self.layout.identity), "num_done": self.num_done})
        self._committed_at = time.monotonic()

    def finish(self, summary: Mapping[str, Any], *, keep: bool) -> None:
        """Writes the summary and gives the file its name, or removes it where bigWigs were the output."""
        write_json(summary_path(self.path), dict(summary))
        if keep:
            self._writer.finish()
        else:
            self._writer.discard()
        journal_path(self.path).unlink(missing_ok=True)

    def stop(self) -> None:
        """Leaves what is there for `--resume`; without a window, nothing."""
        if self.num_done:
            self.commit()
            self._writer.abandon()
        else:
            self._writer.discard()


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


def finished_summary(path: Path, layout: Layout, files: Sequence[str]) -> dict[str, Any] | None:
    """The summary of a whole output, if it is there.

    Args:
        files: bigWigs beside `path` that belong to it; without any, the output is `path` itself.
    Raises:
        OutputError: it is that of another run.
    """
    outputs = [path.parent / name for name in files] or [path]
    if not all(file.exists() for file in (*outputs, summary_path(path))) or partial_path(path).exists():
        return None
    return confirm_whole(path, read_json(summary_path(path)), dict(layout.identity))
