"""What a user can ask of `correct`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from genoformer.errors import UsageError
from genoformer.genome.quality import MAX_FASTQ_QUALITY
from genoformer.io.reads import STDOUT, output_format
from genoformer.workflows.calibration import is_calibration_file
from genoformer.workflows.draft_zmw import DraftSettings

VOTE = "vote"
DEFAULT_MODEL = "consensus-tiny"  # of those that ship
ON_FAIL = ("drop", "ccs")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class CorrectOptions:
    """What to correct and how; the command line's options of the same names.

    `ccs` None: the subreads are raw, and drafts are made of them as `draft` says. `shard` is (i, n) with 1 <= i <= n.
    None for `batch_size`, `threads`, `device`, `calibration`: chosen from the machine or the model.
    """

    subreads: str
    ccs: str | None
    output: str
    model: str = DEFAULT_MODEL
    batch_size: int | None = None
    batch_zmws: int = 8
    threads: int | None = None
    device: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    skip_windows_above: float = 45
    min_quality: float = 20
    min_length: int = 0
    max_base_quality: int = MAX_FASTQ_QUALITY
    calibration: str | None = None
    ccs_calibration: str | None = None
    ins_trim: int = 5
    smart_windows: bool = False
    limit: int | None = None
    shard: tuple[int, int] | None = None
    resume: bool = False
    on_fail: Literal["drop", "ccs"] = "drop"
    report: str | None = None
    draft: DraftSettings = field(default_factory=DraftSettings)

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        output_format(self.output)
        if self.ccs is None:
            self.draft.check()
        if self.resume and self.output == STDOUT:
            raise UsageError("--resume needs an output file; stdout cannot be continued")
        _check_range("--max-base-quality", self.max_base_quality, 1, MAX_FASTQ_QUALITY)
        for flag, value, least in (
            ("--batch-size", self.batch_size, 1), ("--batch-zmws", self.batch_zmws, 1), ("--threads", self.threads, 1),
            ("--limit", self.limit, 1), ("--min-length", self.min_length, 0), ("--ins-trim", self.ins_trim, 0),
            ("--skip-windows-above", self.skip_windows_above, 0),
        ):  # fmt: skip
            _check_range(flag, value, least, None)
        for flag, choice, choices in (
            ("--on-fail", self.on_fail, ON_FAIL), ("--precision", self.precision, PRECISIONS),
        ):  # fmt: skip
            if choice not in choices:
                raise UsageError(f"{flag} is '{choice}'; expected one of {', '.join(choices)}")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(f"--shard is {self.shard[0]}/{self.shard[1]}; expected i/N with 1 <= i <= N")
        _check_range("--min-quality", self.min_quality, 0, None)
        written = [
            self.output,
            *(f"{self.output}{suffix}" for suffix in (".partial", ".summary.json", ".journal.json")),
        ]
        written += [self.report, f"{self.report}.partial"] if self.report else []
        read = [self.subreads, *([self.ccs] if self.ccs else [])]
        if self.calibration is not None and is_calibration_file(self.calibration):
            read.append(self.calibration)
        paths = [Path(path).resolve() for path in (*read, *written)]
        if len(set(paths)) != len(paths):
            raise UsageError(f"inputs, report and what is written for '{self.output}' must be different files")


def _check_range(flag: str, value: float | None, least: float, most: float | None) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= (value if most is None else most)):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise UsageError(f"{flag} is {value}; expected {expected}")
