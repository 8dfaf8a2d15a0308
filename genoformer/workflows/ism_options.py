"""What a user can ask of `variants ism`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.io.vcf import STDIN
from genoformer.workflows.prediction_store import is_hdf5
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.shard_files import shard_suffix

LOGOS_BY_DEFAULT = 10
_DEFAULTS = ScoreSettings()


@dataclass(frozen=True)
class IsmOptions:
    """Which bases to change, how changes are scored, and into which file.

    Attributes:
        region: as genome browsers write it; None: around the variants of `vcf`.
        around_bp: bases on either side of a variant's first base.
        wanted_logos: of so many stretches, the first ones, as PNG beside the output; None: of a few, but for a shard.
        shard: (i, n) with 1 <= i <= n: the i-th of n parts of the region's bases, or of the places of variants.
    """

    genome: Path
    output: Path
    model: str
    region: str | None = None
    vcf: str | None = None
    around_bp: int = 20
    settings: ScoreSettings = _DEFAULTS
    wanted_logos: int | None = None
    device: str | None = None
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False

    @property
    def num_logos(self) -> int:
        """Stretches, the first ones, that get a logo."""
        if self.wanted_logos is None:
            return LOGOS_BY_DEFAULT if self.shard == (1, 1) else 0
        return self.wanted_logos

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        self.settings.check()
        shard_suffix(self.shard)
        if (self.region is None) == (self.vcf is None):
            raise UsageError("expected a region or --vcf, one of them")
        if not is_hdf5(self.output):
            raise UsageError(f"--output is '{self.output}'; expected a .h5 file")
        if self.resume and self.vcf == STDIN:
            raise UsageError("--resume needs a VCF file; standard input cannot be read again")
        if self.num_logos < 0 or self.around_bp < 0:
            raise UsageError(f"--logos is {self.num_logos}, --around {self.around_bp}; expected at least 0")

    def check_length(self, length_bp: int, config: ExpressionConfig) -> None:
        """Raises UsageError for more bases than the model predicts at once."""
        most = config.target_bins * config.bin_bp
        if length_bp > most:
            raise UsageError(f"{length_bp:,} bases are to be changed in one window; the model predicts {most:,}")
