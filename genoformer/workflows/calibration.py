"""Which calibration a run of `correct` applies: a line, as the original has it, then a table of `calibrate`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from genoformer.errors import DataError, UsageError
from genoformer.genome.calibration import CalibrationTables
from genoformer.io.calibration_file import SUFFIX, CalibrationFile, parse_calibration, read_calibration

logger = logging.getLogger(__name__)

SKIP = "skip"


@dataclass(frozen=True)
class AppliedCalibration:
    """Lines as written, "threshold,w,b" or "skip", for predicted and copied bases, and the tables applied after them.

    `table_digest` is the SHA-256 of the file that the tables are from, or says that they are the model's.
    """

    line: str
    ccs_line: str
    tables: CalibrationTables | None
    table_digest: str | None

    @property
    def identity(self) -> dict[str, str | None]:
        """What determines the qualities of a run, as its summary records it."""
        return {
            "calibration": self.line,
            "ccs_calibration": self.ccs_line,
            "calibration_table": self.table_digest,
        }


def is_calibration_file(calibration: str | None) -> bool:
    """Whether --calibration names a file rather than a line."""
    return calibration is not None and calibration.endswith(SUFFIX)


def choose_calibration(
    calibration: str | None,
    ccs_calibration: str | None,
    model_line: str | None,
    model_digest: str,
    model_tables: Any = None,
) -> AppliedCalibration:
    """What --calibration and --ccs-calibration ask for; without them, the tables or the line of the model.

    Tables bring the lines that the reads were made with that they were fitted on.

    Args:
        model_tables: what the model file holds of a calibration file; None: nothing.
    Raises:
        UsageError: a line for copied bases beside a file.
        DataError: a file that is no calibration.
    """
    if calibration is not None and is_calibration_file(calibration):
        if ccs_calibration is not None:
            raise UsageError(f"--ccs-calibration is {ccs_calibration}, but {calibration} has a table for copied bases")
        file = read_calibration(calibration)
        if file.origin.get("model") not in (None, model_digest):
            logger.warning("%s: was fitted on reads of another model; the qualities may be off", calibration)
        return _with_tables(file, calibration, model_line, f"sha256:{file.digest}")
    if model_tables is not None and calibration is None and ccs_calibration is None:
        where = "the model's calibration"
        return _with_tables(parse_calibration(model_tables, where, ""), where, model_line, "of the model")
    line = model_line if calibration is None else calibration
    return AppliedCalibration(line or SKIP, ccs_calibration or SKIP, None, None)


def _with_tables(file: CalibrationFile, where: str, model_line: str | None, digest: str) -> AppliedCalibration:
    line, ccs_line = (_line(file.origin, key, where) for key in ("calibration", "ccs_calibration"))
    return AppliedCalibration((model_line if line is None else line) or SKIP, ccs_line or SKIP, file.tables, digest)


def _line(origin: dict[str, Any], key: str, path: str) -> str | None:
    """A line that the reads of a calibration file were made with; None where that is not known."""
    line = origin.get(key)
    if not (line is None or isinstance(line, str)):
        raise DataError(f"{path}: '{key}' of its reads is {line!r}; expected 'threshold,w,b', 'skip' or null")
    return line
