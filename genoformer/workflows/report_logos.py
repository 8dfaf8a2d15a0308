"""Logos of sequences in which a base is as high as it matters, as PNG.

logomaker and matplotlib come with the extra `plots`. Equal figures give equal bytes.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.genome.alphabet import GENOME_LETTERS, genome_codes, one_hot
from genoformer.genome.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_BP = 100
_ROW_INCHES = (13.0, 1.6)
_DPI = 110
_RC: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
_NUM_TICKS = 5


def check_can_draw_logos() -> None:
    """Raises UsageError where logomaker, or what it needs, is not installed."""
    try:
        import_module("logomaker")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed, and logos need it; run: pip install 'genoformer[plots]', or say --logos 0"
        ) from None


def logo_png(place: Interval, letters: bytes, values: np.ndarray, title: str) -> bytes:
    """A logo of the letters, in rows.

    Args:
        letters: of the genome at `place`, upper case; N has no height.
        values: of each letter, [length]; below 0 it hangs down.
    """
    import matplotlib
    from matplotlib.figure import Figure

    heights = one_hot(genome_codes(letters)) * np.asarray(values, np.float64)[:, None]  # [L, 4]
    starts = range(0, place.length, _ROW_BP)
    limits = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(_ROW_INCHES[0], _ROW_INCHES[1] * len(starts)), layout="constrained")
        figure.suptitle(f"{_plain(title)}  {_plain(str(place))}" if title != str(place) else _plain(title))
        rows = figure.subplots(len(starts), squeeze=False)[:, 0]
        for axes, start in zip(rows, starts, strict=True):
            _draw_row(axes, heights[start : start + _ROW_BP], place.start + start + 1, limits)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
    return drawn.getvalue()


def _draw_row(axes: Axes, heights: np.ndarray, first_position: int, limits: tuple[float, float]) -> None:
    """Draws heights [n, 4] of the bases from a position, 1-based, on."""
    import logomaker
    import pandas

    positions = range(first_position, first_position + len(heights))
    if heights.any():  # without a letter to draw, logomaker complains
        table = pandas.DataFrame(heights, columns=list(GENOME_LETTERS.decode()), index=positions)
        logomaker.Logo(table, ax=axes, flip_below=True)
    axes.set_xlim(first_position - 0.5, first_position + _ROW_BP - 0.5)
    if limits[0] < limits[1]:
        axes.set_ylim(*limits)
    ticks = positions[:: _ROW_BP // _NUM_TICKS]
    axes.set_xticks(list(ticks), [f"{tick:,}" for tick in ticks])


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
