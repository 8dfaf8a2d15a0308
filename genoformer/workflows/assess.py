"""`genoformer consensus assess`: corrected reads and their drafts held against the truth.

Reads of the two files belong together by name. Memory: a row a read, some hundred bytes, and the truth.

Yield is the original's: reads with a predicted Phred of at least 20 whose identity, matches over columns, is at least
.99, .999 and .9999 (Q20, Q30, Q40), as reads and as bases, relative to the draft.

Source: DeepConsensus v1.2, `docs/yield_metrics.md` and `docs/calibration.md`. Deviations: predicted Phreds come from
the base qualities of both files, not from `rq`; a base before which bases are missing counts as wrong (the original
leaves missing bases out), and clipped bases do not count (the original takes them for wrong).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from genoformer import __version__
from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.genome.calibration import CalibrationTables
from genoformer.genome.read_errors import DELETION, INSERTION, MISMATCH
from genoformer.io.calibration_file import read_calibration
from genoformer.io.reads import whole_files
from genoformer.workflows.assess_totals import YIELD_PHREDS, FileTotals, check_aligned
from genoformer.workflows.report import HTML, JSON, TSV, check_outputs
from genoformer.workflows.report_reads import assessment_html
from genoformer.workflows.score_reads import Placement, ReadScore, Truth, TruthKind, check_threads

FORMAT_VERSION = 1
DRAFT, CORRECTED = SIDES = ("draft", "corrected")

_READ_COLUMNS = ("length", "placement", "mismatches", "insertions", "deletions", "identity", "clipped", "predicted_q")


@dataclass(frozen=True)
class AssessOptions:
    """What to assess; the command line's options of the same names. `truth_kind` None: told by the truth's names."""

    corrected: str
    draft: str
    truth: str
    outputs: tuple[str, ...]
    truth_kind: TruthKind | None = None
    calibration: str | None = None
    min_quality: float = 20
    threads: int | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        check_threads(self.threads)
        check_outputs(self.outputs)
        if not math.isfinite(self.min_quality):
            raise UsageError(f"--min-quality is {self.min_quality}; expected a number")
        inputs = [path for path in (self.corrected, self.draft, self.truth, self.calibration) if path is not None]
        paths = {Path(path).resolve() for path in (*inputs, *self.outputs)}
        if len(paths) != len(inputs) + len(self.outputs):
            raise UsageError("corrected reads, draft, truth, calibration and outputs must be different files")


class _Row(NamedTuple):
    length: int
    placement: Placement
    mismatches: int
    insertions: int
    deletions: int
    identity: float
    clipped: int
    predicted: float | None

    @classmethod
    def of(cls, score: ReadScore) -> _Row:
        errors = score.errors
        return cls(
            score.length,
            score.placement,
            errors.of_kind(MISMATCH),
            errors.of_kind(INSERTION),
            errors.of_kind(DELETION),
            errors.identity,
            score.num_clipped,
            None if score.qualities is None else score.qualities.predicted_phred,
        )

    @property
    def errors(self) -> int:
        return self.mismatches + self.insertions + self.deletions

    @property
    def fields(self) -> list[str]:
        predicted = "" if self.predicted is None else f"{self.predicted:.3f}"
        identity = f"{self.identity:.7f}" if self.placement is Placement.ALIGNED else ""
        return [*map(str, self[:5]), identity, str(self.clipped), predicted]


_Rows = dict[str, dict[str, _Row]]  # by side and read name


def assess(options: AssessOptions, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Writes what the reads are worth; returns the summary, which is the JSON output.

    Args:
        on_progress: called with the number of reads done.
    Raises:
        UsageError: options that cannot work, or an extra that is not installed.
        DataError: input that is damaged or does not fit together, output that cannot be written.
    """
    options.check()
    calibration = None if options.calibration is None else read_calibration(options.calibration).tables
    with whole_files(options.outputs) as files:
        summary, rows = _assess(options, calibration, on_progress)
        for output in options.outputs:
            files[output].write(_RENDER[Path(output).suffix](summary, rows))
    return summary


def _assess(
    options: AssessOptions, calibration: CalibrationTables | None, on_progress: Callable[[int], None] | None
) -> tuple[dict[str, Any], _Rows]:
    truth = Truth.open(options.truth, options.truth_kind)
    rows: _Rows = {side: {} for side in SIDES}
    totals = {side: FileTotals(options.min_quality) for side in SIDES}
    num_reads = 0
    for side, path, tables in ((DRAFT, options.draft, None), (CORRECTED, options.corrected, calibration)):
        for score in truth.score(path, options.threads, tables):
            if score.name in rows[side]:
                raise AlignmentError(f"{path}: read {score.name} is there twice; expected each read once")
            rows[side][score.name] = _Row.of(score)
            totals[side].add_(score)
            num_reads += 1
            if on_progress is not None:
                on_progress(num_reads)
        check_aligned(totals[side], path, options.truth)
    if not rows[DRAFT].keys() & rows[CORRECTED].keys():
        raise DataError(
            f"{options.corrected}: none of its reads is in {options.draft}: one is called "
            f"'{next(iter(rows[CORRECTED]))}' here and one '{next(iter(rows[DRAFT]))}' there; reads belong together by "
            "name; are these the drafts they were made from?"
        )
    return _summary(options, truth, totals, _compare(rows[DRAFT], rows[CORRECTED])), rows


def _compare(draft: dict[str, _Row], corrected: dict[str, _Row]) -> dict[str, Any]:
    """Errors of the reads that are aligned on both sides, and the reads that are on one side alone."""
    both = draft.keys() & corrected.keys()
    pairs = [(draft[name], corrected[name]) for name in both]
    pairs = [pair for pair in pairs if all(row.placement is Placement.ALIGNED for row in pair)]
    before, after = (sum(pair[side].errors for pair in pairs) for side in (0, 1))
    return {
        "reads": len(pairs),
        "draft_errors": before,
        "corrected_errors": after,
        "error_reduction": round(1 - after / before, 5) if before else None,
        "reads_better": sum(after.errors < before.errors for before, after in pairs),
        "reads_worse": sum(after.errors > before.errors for before, after in pairs),
        "only_in_draft": len(draft) - len(both),
        "only_in_corrected": len(corrected) - len(both),
    }


def _summary(
    options: AssessOptions, truth: Truth, totals: dict[str, FileTotals], compared: dict[str, Any]
) -> dict[str, Any]:
    inputs = {"corrected": options.corrected, "draft": options.draft, "truth": options.truth}
    calibration: dict[str, Any] = {side: totals[side].qualities.summary() for side in SIDES}
    if options.calibration is not None:
        calibration["calibrated"] = totals[CORRECTED].calibrated.summary()
        inputs["calibration"] = options.calibration
    return {
        "format": "genoformer assessment",
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "inputs": {name: Path(path).name for name, path in inputs.items()},
        "truth": {"kind": truth.kind, "description": truth.description},
        "min_quality": options.min_quality,
        **{side: totals[side].summary() for side in SIDES},
        "compared": compared,
        "yield": {f"q{threshold}": _yield(totals, threshold) for threshold in YIELD_PHREDS},
        "calibration": calibration,
    }


def _yield(totals: dict[str, FileTotals], threshold: int) -> dict[str, Any]:
    """Yield of both sides at an empirical Phred, and corrected over draft; None where the draft has none."""
    found: dict[str, Any] = {}
    for unit in ("reads", "bases"):
        before, after = (getattr(totals[side], f"yield_{unit}")[threshold] for side in SIDES)
        found |= {f"draft_{unit}": before, f"corrected_{unit}": after}
        found[f"{unit}_over_draft"] = round(after / before, 5) if before else None
    return found


def _tsv(rows: _Rows) -> bytes:
    """A line a read, those of the draft first and in its order; empty fields where a side lacks the read."""
    lines = [["read", *(f"{side}_{column}" for side in SIDES for column in _READ_COLUMNS)]]
    nothing = [""] * len(_READ_COLUMNS)
    for name in dict.fromkeys([*rows[DRAFT], *rows[CORRECTED]]):
        sides = (rows[side][name].fields if name in rows[side] else nothing for side in SIDES)
        lines.append([name, *(field for fields in sides for field in fields)])
    return "".join("\t".join(line) + "\n" for line in lines).encode()


_RENDER: dict[str, Callable[[dict[str, Any], _Rows], bytes]] = {
    HTML: lambda summary, _: assessment_html(summary),
    TSV: lambda _, rows: _tsv(rows),
    JSON: lambda summary, _: f"{json.dumps(summary, indent=1)}\n".encode(),
}
