"""What a user can ask of `variants ism`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.workflows.prediction_store import is_hdf5
from genoformer.workflows.score_options import ScoreSettings

_DEFAULTS = ScoreSettings()


@dataclass(frozen=True)
class IsmOptions:
    """Which bases to change, how changes are scored, and into which file.

    Attributes:
        region: as genome browsers write it; None: around the variants of `vcf`.
        around_bp: bases on either side of a variant's first base.
        num_logos: of the first stretches, as PNG beside the output.
    """

    genome: Path
    output: Path
    model: str
    region: str | None = None
    vcf: str | None = None
    around_bp: int = 20
    settings: ScoreSettings = _DEFAULTS
    num_logos: int = 10
    device: str | None = None
    threads: int | None = None

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        self.settings.check()
        if (self.region is None) == (self.vcf is None):
            raise UsageError("expected a region or --vcf, one of them")
        if not is_hdf5(self.output):
            raise UsageError(f"--output is '{self.output}'; expected a .h5 file")
        if self.num_logos < 0 or self.around_bp < 0:
            raise UsageError(f"--logos is {self.num_logos}, --around {self.around_bp}; expected at least 0")

    def check_length(self, length_bp: int, config: ExpressionConfig) -> None:
        """Raises UsageError for more bases than the model predicts at once."""
        most = config.target_bins * config.bin_bp
        if length_bp > most:
            raise UsageError(f"{length_bp:,} bases are to be changed in one window; the model predicts {most:,}")
