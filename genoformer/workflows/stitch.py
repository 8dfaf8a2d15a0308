"""Windows of a molecule, called or copied from the CCS read -> one corrected read, or the reason why there is none.

Source: DeepConsensus v1.2, `postprocess/stitch_utils.py` and `inference/quick_inference.py`. Deviation: qualities are
never below 0, and windows of a `wl` tag always stand in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from genoformer.genome.alphabet import PILEUP_LETTERS
from genoformer.genome.calibration import COPIED, PREDICTED, CalibrationTables, copied_runs
from genoformer.genome.quality import MAX_FASTQ_QUALITY, Calibration, error_prob, mean_error_phred
from genoformer.io.read_input import COPIED_TAG
from genoformer.io.reads import OutputRead
from genoformer.io.subreads import CcsRead
from genoformer.workflows.prepare import Calls, PreparedMolecule

_LETTERS = np.frombuffer(PILEUP_LETTERS, dtype=np.uint8)


class Outcome(StrEnum):
    """What became of a molecule."""

    SUCCESS = "success"
    NO_DRAFT = "no_draft"
    NO_SUBREADS = "no_subreads"
    ONLY_GAPS = "only_gaps"
    FAILED_QUALITY = "failed_quality_filter"
    FAILED_LENGTH = "failed_length_filter"


@dataclass(frozen=True)
class StitchSettings:
    """Qualities and filters of the corrected reads; Phred where not said otherwise. Tables apply after the lines."""

    min_quality: float
    min_length: int
    max_base_quality: int
    calibration: Calibration | None
    ccs_calibration: Calibration | None
    tables: CalibrationTables | None = None


@dataclass(frozen=True)
class Stitched:
    """A corrected read (empty where only gaps were called), its predicted Phred, and what became of it.

    `is_copied` bool [bases]: which bases are the CCS read's.
    """

    sequence: bytes
    quals: np.ndarray
    is_copied: np.ndarray
    predicted_phred: float
    outcome: Outcome


def stitch(molecule: PreparedMolecule, calls: Calls, settings: StitchSettings) -> Stitched:
    """The corrected read of a molecule.

    Args:
        calls: [m, L], in the order of the windows that `molecule.is_called` marks.
    """
    if not molecule.ccs.sequence:
        return Stitched(b"", np.zeros(0, np.uint8), np.zeros(0, dtype=bool), 0.0, Outcome.NO_DRAFT)
    letters = _LETTERS[calls.codes]
    quals = called_quals(calls.error_prob, settings)
    ccs_letters = np.frombuffer(molecule.ccs.sequence, dtype=np.uint8)
    ccs_quals = copied_quals(molecule.ccs.quals, settings)
    letter_parts, qual_parts, copied_parts, row = [], [], [], 0
    for called, (start, end) in zip(molecule.is_called.tolist(), molecule.ccs_range.tolist(), strict=True):
        letter_parts.append(letters[row] if called else ccs_letters[start:end])
        qual_parts.append(quals[row] if called else ccs_quals[start:end])
        copied_parts.append(np.full(len(letter_parts[-1]), not called))
        row += called
    all_letters = np.concatenate(letter_parts)
    kept = all_letters != _LETTERS[0]
    sequence, kept_quals = all_letters[kept].tobytes(), np.concatenate(qual_parts)[kept]
    predicted = round(mean_error_phred(kept_quals), 5)
    is_copied = np.concatenate(copied_parts)[kept]
    return Stitched(sequence, kept_quals, is_copied, predicted, _outcome(molecule, sequence, predicted, settings))


def _outcome(molecule: PreparedMolecule, sequence: bytes, predicted: float, settings: StitchSettings) -> Outcome:
    if molecule.num_subreads == 0:
        return Outcome.NO_SUBREADS
    if not sequence:
        return Outcome.ONLY_GAPS
    if predicted < settings.min_quality:
        return Outcome.FAILED_QUALITY
    if len(sequence) < settings.min_length:
        return Outcome.FAILED_LENGTH
    return Outcome.SUCCESS


def called_quals(error: np.ndarray, settings: StitchSettings) -> np.ndarray:
    """Base qualities, uint8, of error probabilities: by line, rounded half to even, by table, capped, at least 0."""
    with np.errstate(divide="ignore"):
        qual = -10 * np.log10(error)
    if settings.calibration is not None:
        qual = settings.calibration.apply(qual)
    return _by_table(np.round(np.minimum(qual, _line_cap(settings))), PREDICTED, settings)


def copied_quals(quals: np.ndarray, settings: StitchSettings) -> np.ndarray:
    """Qualities, uint8, of copied CCS bases: by line, cut to integers, by table, capped, at least 0."""
    qual = quals.astype(np.float64)
    if settings.ccs_calibration is not None:
        qual = settings.ccs_calibration.apply(qual)
    return _by_table(np.minimum(qual, _line_cap(settings)), COPIED, settings)


def _line_cap(settings: StitchSettings) -> int:
    """The cap before a table, which is for qualities up to 93."""
    return settings.max_base_quality if settings.tables is None else MAX_FASTQ_QUALITY


def _by_table(qual: np.ndarray, source: int, settings: StitchSettings) -> np.ndarray:
    quals = np.maximum(qual, 0).astype(np.uint8)
    return quals if settings.tables is None else settings.tables.rounded(settings.max_base_quality)[source][quals]


def corrected_read(molecule: PreparedMolecule, stitched: Stitched) -> OutputRead:
    """The record of a corrected read."""
    return _output(molecule, stitched.sequence, stitched.quals, stitched.is_copied)


def ccs_read(molecule: PreparedMolecule, settings: StitchSettings) -> OutputRead:
    """The record of the CCS read itself, for molecules that could not be corrected."""
    quals = copied_quals(molecule.ccs.quals, settings)
    return _output(molecule, molecule.ccs.sequence, quals, np.ones(len(quals), dtype=bool))


def _output(molecule: PreparedMolecule, sequence: bytes, quals: np.ndarray, is_copied: np.ndarray) -> OutputRead:
    ccs: CcsRead = molecule.ccs
    num_passes = molecule.num_subreads if ccs.num_passes is None else ccs.num_passes
    tags: list[tuple[str, str, Any]] = [
        ("zm", "i", molecule.zmw),
        ("np", "i", num_passes),
        ("ec", "f", -1.0 if ccs.effective_coverage is None else ccs.effective_coverage),
        ("rq", "f", 1.0 - float(error_prob(quals).mean()) if len(quals) else -1.0),
        (COPIED_TAG, "B", copied_runs(is_copied)),
    ]
    if ccs.read_group is not None:
        tags.append(("RG", "Z", ccs.read_group))
    return OutputRead(ccs.name, sequence, quals, tuple(tags))
