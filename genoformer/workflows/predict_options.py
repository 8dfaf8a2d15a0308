"""What a user can ask of `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.workflows.region_options import RegionOptions


@dataclass(frozen=True)
class PredictOptions(RegionOptions):
    """Which tracks to predict of which regions, and how.

    Attributes:
        rc: average over both strands.
        shifts: average over sequences that are moved to the right by so many bases, while the bins stay.
        shared_bins: least number of bins that neighbouring windows of a long region share; None: an eighth.
        batch_size: windows at a time on a GPU; on a CPU they come one by one.
    """

    rc: bool = False
    shifts: tuple[int, ...] = (0,)
    shared_bins: int | None = None
    batch_size: int = 4
    precision: Literal["fp32", "bf16"] = "fp32"

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        super().check()
        if self.batch_size < 1:
            raise UsageError(f"--batch-size is {self.batch_size}; expected at least 1")
        if len(set(self.shifts)) != len(self.shifts) or not self.shifts:
            raise UsageError(f"--shifts is {self.shifts}; expected different numbers of bases")

    def shared_bins_of(self, config: ExpressionConfig) -> int:
        """Least number of bins that neighbouring windows share.

        Raises:
            UsageError: as many as a window has, or shifts beyond a bin.
        """
        shared = config.target_bins // 8 if self.shared_bins is None else self.shared_bins
        if not 0 <= shared < config.target_bins:
            raise UsageError(f"--overlap is {shared} bins; expected fewer than a window's {config.target_bins}")
        if max(map(abs, self.shifts)) > config.bin_bp:
            raise UsageError(f"--shifts is {self.shifts}; expected at most a bin, {config.bin_bp} bp, either way")
        return shared
