"""`genoformer consensus calibrate`: what the qualities of corrected reads are worth, as tables that `correct` applies.

Bases predicted by the model and bases copied from the CCS read get tables of their own; `correct` writes into its BAM
files which are which (tag `cp`). A base counts as wrong where it differs from the truth, is one too many, or bases are
missing before it.

Deviation from DeepConsensus v1.2, `quality_calibration`: a monotone table in place of a line, which is fitted here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genoformer import __version__
from genoformer.errors import DataError, UsageError
from genoformer.genome.calibration import fit_calibration
from genoformer.io.calibration_file import SUFFIX, calibration_content
from genoformer.io.reads import read_json, whole_files
from genoformer.workflows.assess_totals import FileTotals, check_aligned
from genoformer.workflows.output import summary_path
from genoformer.workflows.score_reads import Truth, TruthKind, check_threads

logger = logging.getLogger(__name__)

FEW_ERRORS = 1000  # below it a table is rough, and its user is told


@dataclass(frozen=True)
class CalibrateOptions:
    """What to calibrate on; the command line's options of the same names."""

    reads: str
    truth: str
    output: str
    truth_kind: TruthKind | None = None
    threads: int | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        check_threads(self.threads)
        if not self.output.endswith(SUFFIX):
            raise UsageError(f"output '{self.output}': expected a name ending in {SUFFIX}")
        paths = {Path(path).resolve() for path in (self.reads, self.truth, self.output, summary_path(self.reads))}
        if len(paths) != 4:
            raise UsageError("reads, their summary, truth and output must be different files")


def calibrate(options: CalibrateOptions, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Fits and writes a calibration file; returns its content.

    Args:
        on_progress: called with the number of reads done.
    Raises:
        UsageError: options that cannot work, or the extra `align` is not installed.
        DataError: input that is damaged, has a read twice or no qualities, or was calibrated before; output that
            cannot be written.
    """
    options.check()
    made_with = _made_with(options.reads)
    with whole_files([options.output]) as files:
        content = _fit(options, made_with, on_progress)
        files[options.output].write(f"{json.dumps(content)}\n".encode())
    return content


def _fit(
    options: CalibrateOptions, made_with: dict[str, Any], on_progress: Callable[[int], None] | None
) -> dict[str, Any]:
    truth = Truth.open(options.truth, options.truth_kind)
    totals = FileTotals(min_quality=0)
    names: set[str] = set()
    for score in truth.score(options.reads, options.threads):
        if score.name in names:
            raise DataError(f"{options.reads}: read '{score.name}' is there twice; expected each read once")
        names.add(score.name)
        totals.add_(score)
        if on_progress is not None:
            on_progress(totals.reads)
    check_aligned(totals, options.reads, options.truth)
    _check_qualities(totals, options.reads)
    counts = totals.qualities.counts
    origin = {
        "reads": Path(options.reads).name,
        "truth": Path(options.truth).name,
        "truth_kind": truth.kind,
        "num_reads": totals.reads,
        **totals.placements,
        **made_with,
    }
    return calibration_content(fit_calibration(counts), counts, origin, __version__)


def _made_with(reads: str) -> dict[str, Any]:
    """Model and calibration lines of the run that wrote the reads, from its summary; None where there is none."""
    path, keys = summary_path(reads), ("model", "calibration", "ccs_calibration")
    if not path.exists():
        logger.warning("%s is not there; taking the reads for ones of 'correct' with its default calibration", path)
        return dict.fromkeys(keys)
    identity = read_json(path).get("identity", {})
    if identity.get("calibration_table") is not None:
        raise DataError(f"{reads}: its qualities are calibrated by a table already; correct with --calibration skip")
    return {key: identity.get(key) for key in keys}


def _check_qualities(totals: FileTotals, reads: str) -> None:
    if totals.without_qualities:
        raise DataError(f"{reads}: {totals.without_qualities:,} of its reads have no qualities; expected all to have")
    if totals.without_copied:
        logger.warning(
            "%s: %d reads do not say which bases are copied (BAM files of 'correct' do); all count as predicted",
            reads,
            totals.without_copied,
        )
    num_errors = int(totals.qualities.counts.errors.sum())
    if num_errors < FEW_ERRORS:
        logger.warning("%s: has %d wrong bases; with fewer than %d a table is rough", reads, num_errors, FEW_ERRORS)
