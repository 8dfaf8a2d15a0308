"""What a user can ask of `attribute`."""

from __future__ import annotations

from dataclasses import dataclass

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.workflows.contributions import ContributionSettings
from genoformer.workflows.prediction_store import is_hdf5
from genoformer.workflows.region_options import RegionOptions

LOGOS_BY_DEFAULT = 10
_DEFAULTS = ContributionSettings()


@dataclass(frozen=True)
class AttributeOptions(RegionOptions):
    """Contributions to which predictions, of which bases, and how.

    Attributes:
        num_bins: so many bins around a region's middle are summed; None: those with bases of the region.
        span_bp: so many bases around a region's middle get a contribution; None: those of the region.
        wanted_logos: of so many regions, the first ones; None: of a few, where the output is a folder.
    """

    settings: ContributionSettings = _DEFAULTS
    num_bins: int | None = None
    span_bp: int | None = None
    wanted_logos: int | None = None

    @property
    def num_logos(self) -> int:
        """Regions, the first ones, that get a logo."""
        if self.wanted_logos is None:
            return 0 if is_hdf5(self.output) else LOGOS_BY_DEFAULT
        return self.wanted_logos

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        self.settings.check()
        super().check()
        if is_hdf5(self.output) and self.num_logos:
            raise UsageError(f"--logos is {self.num_logos}; logos need a folder as output")

    def check_model(self, config: ExpressionConfig) -> None:
        """Raises UsageError for options that do not fit a model."""
        if self.num_bins is not None and not 1 <= self.num_bins <= config.target_bins:
            raise UsageError(f"--bins is {self.num_bins}; expected 1 to {config.target_bins}, which the model predicts")
        if self.span_bp is not None and not 1 <= self.span_bp <= config.window_bp:
            raise UsageError(f"--span is {self.span_bp}; expected 1 to {config.window_bp}, which the model reads")
        if self.settings.margin_bp > config.bin_bp:
            raise UsageError(
                f"--shifts is {self.settings.shifts}; expected at most a bin, {config.bin_bp} bp, either way"
            )
