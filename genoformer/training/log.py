"""Logs of a run: one CSV for training, one for evaluation, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import logging
import os
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from genoformer.errors import OutputError

logger = logging.getLogger(__name__)

Row = Mapping[str, float]


class CsvLog:
    """A CSV file with one row per logged step; its columns are those of the first row, `step` among them.

    Args:
        keep: says of each row that is there already, by its step, whether it stays: what is done again is logged again.
    Raises:
        OutputError: a file without a `step` column, or one that cannot be written.
    """

    def __init__(self, path: Path, keep: Callable[[int], bool]) -> None:
        self.path = path
        self.columns: list[str] = []
        try:
            self._take_over(keep)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
        except (KeyError, ValueError) as error:
            raise OutputError(f"{path}: is no log of a run ({error}); move it away") from None

    def _take_over(self, keep: Callable[[int], bool]) -> None:
        """Rewrites the file with the rows that stay; a last line that a crash cut off goes too."""
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if None not in row.values() and keep(int(row["step"]))]
            self.columns = list(reader.fieldnames or []) if rows else []
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        with temporary.open("w", newline="") as file:
            if rows:
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        os.replace(temporary, self.path)

    def write(self, row: Row) -> None:
        """Appends a row, at once on disk.

        Raises:
            OutputError: columns other than the first row's, or a full disk.
        """
        try:
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, self.columns or list(row), lineterminator="\n")
                if not self.columns:
                    writer.writeheader()
                    self.columns = list(row)
                writer.writerow(row)
        except ValueError:
            raise OutputError(f"{self.path}: has columns {self.columns}, the new row {list(row)}") from None
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from None


class RunLog:
    """`train.csv`, `eval.csv` and TensorBoard events of a run, in its folder.

    Args:
        step: at which the run goes on. Rows of later steps go, and of that step's evaluation, which comes again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._train = CsvLog(folder / "train.csv", lambda row: row <= step)
        self._eval = CsvLog(folder / "eval.csv", lambda row: row < step)
        self._board = _tensorboard(folder / "tensorboard", step)

    def train(self, row: Row) -> None:
        """Logs a training row; it has `step`."""
        self._write(self._train, "train", row)

    def evaluation(self, row: Row) -> None:
        """Logs an evaluation row; it has `step`."""
        self._write(self._eval, "eval", row)

    def _write(self, target: CsvLog, name: str, row: Row) -> None:
        target.write(row)
        logger.info("%s %s", name, " ".join(f"{column}={value:.6g}" for column, value in row.items()))
        if self._board is not None:
            for column in row.keys() - {"step"}:
                self._board.add_scalar(f"{name}/{column}", row[column], int(row["step"]))

    def close(self) -> None:
        """Writes what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, step: int) -> Any:
    """A TensorBoard writer that hides events after `step`, or None where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed: logs are CSV only (pip install 'genoformer[train]' for both)")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def memory_gib(device: torch.device) -> float:
    """The most memory that was in use so far: of the GPU, or of this process where it computes on a CPU; in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
