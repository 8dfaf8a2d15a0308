"""Calibration files: the tables that `calibrate` fits and `correct` applies, as JSON that a person can read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.calibration import NUM_QUALITIES, SOURCES, CalibrationTables, QualityCounts
from genoformer.genome.quality import MAX_FASTQ_QUALITY

FORMAT, FORMAT_VERSION = "genoformer calibration", 1
SUFFIX = ".json"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class CalibrationFile:
    """Tables as read from a file.

    `origin` says what they were fitted on; `digest` is the SHA-256 of the file.
    """

    tables: CalibrationTables
    origin: dict[str, Any]
    digest: str


def calibration_content(
    tables: CalibrationTables, counts: QualityCounts, origin: dict[str, Any], version: str
) -> dict[str, Any]:
    """What a calibration file holds: for each source, by quality 0 to 93, the calibrated one and what was counted."""
    rows = {
        source: {
            "calibrated": [round(value, 3) for value in tables.phred[row].tolist()],
            "bases": counts.bases[row].tolist(),
            "errors": counts.errors[row].tolist(),
        }
        for row, source in enumerate(SOURCES)
    }
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "version": version, "fitted_on": origin, **rows}


def read_calibration(path: str | Path) -> CalibrationFile:
    """The tables of a calibration file.

    Raises:
        DataError: not such a file, or a table that is not 94 qualities from 0 to 93 that do not decrease.
    """
    content, digest = read_content(path)
    return parse_calibration(content, str(path), digest)


def read_content(path: str | Path) -> tuple[Any, str]:
    """What a calibration file holds, not looked into, and the SHA-256 of the file.

    Raises:
        DataError: no JSON.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        content = json.loads(text) if len(text) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {getattr(error, 'strerror', None) or error}") from None
    return content, hashlib.sha256(text).hexdigest()


def parse_calibration(content: Any, where: str, digest: str) -> CalibrationFile:
    """The tables of a calibration file's JSON, or of what a model file holds of one.

    Raises:
        DataError: as `read_calibration`.
    """
    content = content if isinstance(content, dict) else {}
    kind = content.get("format"), content.get("format_version")
    if kind != (FORMAT, FORMAT_VERSION) or not isinstance(content.get("fitted_on"), dict):
        raise DataError(f"{where}: is not a calibration of format version {FORMAT_VERSION}; make one with 'calibrate'")
    tables = CalibrationTables(np.stack([_table(content.get(source), f"{where}: '{source}'") for source in SOURCES]))
    return CalibrationFile(tables, content["fitted_on"], digest)


def _table(source: Any, where: str) -> np.ndarray:
    values = source.get("calibrated") if isinstance(source, dict) else None
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise DataError(f"{where} has no table 'calibrated' of numbers")
    if len(values) != NUM_QUALITIES:
        raise DataError(f"{where} has {len(values)} calibrated qualities; expected {NUM_QUALITIES}, for 0 to 93")
    for quality, value in enumerate(values):
        if not 0 <= value <= MAX_FASTQ_QUALITY:
            raise DataError(f"{where}: quality {quality} becomes {value}; expected 0 to {MAX_FASTQ_QUALITY}")
        if quality and value < values[quality - 1]:
            raise DataError(f"{where}: quality {quality} becomes {value}, less than {quality - 1} does; sort the table")
    return np.array(values, dtype=np.float64)
