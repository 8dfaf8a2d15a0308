"""What a user can ask of `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.workflows.prediction_store import check_output


@dataclass(frozen=True)
class PredictOptions:
    """Which tracks to predict of which regions, and how.

    Attributes:
        regions: a BED file, or a region as genome browsers write it.
        output: an HDF5 file, or a folder for bigWigs.
        species: a head of the model; None: its only one.
        tracks: see `genoformer.genome.track_choice.choose_tracks`.
        rc: average over both strands.
        shifts: average over sequences that are moved to the right by so many bases, while the bins stay.
        shared_bins: least number of bins that neighbouring windows of a long region share; None: an eighth.
        batch_size: windows at a time on a GPU; on a CPU they come one by one.
        shard: (i, n) with 1 <= i <= n: the i-th of n parts of the regions.
    """

    genome: Path
    regions: str
    output: Path
    model: str
    species: str | None = None
    tracks: tuple[str, ...] = ()
    rc: bool = False
    shifts: tuple[int, ...] = (0,)
    shared_bins: int | None = None
    batch_size: int = 4
    device: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        check_output(self.output, self.shard)
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
