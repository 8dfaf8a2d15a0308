"""Tracks along a genome as a picture: what was predicted over what was measured.

matplotlib comes with the extra `report`. Equal figures give equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genoformer.genome.interval import Interval

_MEASURED_COLOUR, _PREDICTED_COLOUR = "#b0b0b0", "#0b62a4"
_INCHES = (11.0, 1.15)  # of one track
_DPI = 110


@dataclass(frozen=True)
class TrackPanel:
    """One track: `measured` and `predicted` values of the bins of an interval, [N]."""

    title: str
    measured: np.ndarray
    predicted: np.ndarray


def tracks_png(interval: Interval, panels: Sequence[TrackPanel]) -> bytes:
    """A PNG with a panel for each track, one below the other, over the same bases."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(_INCHES[0], 0.5 + _INCHES[1] * len(panels)), dpi=_DPI, layout="constrained")
        all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(all_axes, panels, strict=True):
            edges = np.linspace(interval.start, interval.end, len(panel.measured) + 1) / 1000
            axes.stairs(panel.measured, edges, fill=True, color=_MEASURED_COLOUR, label="measured")
            axes.stairs(panel.predicted, edges, color=_PREDICTED_COLOUR, linewidth=1, label="predicted")
            axes.set_title(panel.title, loc="left", pad=2)
            axes.set_ylim(0, None)
        all_axes[0].legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.45))
        all_axes[-1].set_xlim(interval.start / 1000, interval.end / 1000)
        all_axes[-1].set_xlabel(f"{interval.chrom}, kb")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()
