"""Logos of sequences in which a base is as high as it matters, as PNG.

logomaker and matplotlib come with the extra `plots`. Equal figures give equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.genome.alphabet import GENOME_LETTERS, genome_codes, one_hot
from genoformer.genome.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LOGO_BP = 400
_ROW_BP = 100
_ROW_INCHES, _MARGIN_INCHES, _BASE_INCHES, _LEAST_INCHES = 1.6, 1.0, 0.12, 7.0
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
        place: at most MAX_LOGO_BP long, so that a figure stays readable.
        letters: of the genome at `place`, upper case; N has no height.
        values: of each letter, [length]; below 0 it hangs down.
    """
    heights = _heights(letters, values)
    limits = min(0.0, float(heights.min())), max(0.0, float(heights.max()))

    def draw(rows: Sequence[Sequence[Axes]]) -> None:
        for (axes,), part in zip(rows, _parts(place), strict=True):
            _draw_row(axes, heights[part], place.start + part.start + 1, limits)

    return _png(draw, place, (1,), _with_place(title, place))


def mutagenesis_png(place: Interval, letters: bytes, effects: np.ndarray, title: str, score: str) -> bytes:
    """A logo of how much is lost where a letter is changed, over a map of what each change does, in rows.

    Args:
        place, letters: as for `logo_png`.
        effects: of changing each base into A, C, G and T, [length, 4]; 0 for the letter that is there.
        score: what effects are called.
    """
    heights = _heights(letters, -effects.sum(axis=1) / (effects.shape[1] - 1))
    limits = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
    reach = float(np.abs(effects).max()) or 1.0

    def draw(rows: Sequence[Sequence[Axes]]) -> None:
        for (logo, changes), part in zip(rows, _parts(place), strict=True):
            first = place.start + part.start + 1
            _draw_row(logo, heights[part], first, limits)
            _draw_map(changes, effects[part], first, reach)

    return _png(draw, place, (2, 1), f"{_with_place(title, place)}: mean loss, and {score} of each change")


def _heights(letters: bytes, values: np.ndarray) -> np.ndarray:
    """Heights of A, C, G and T, [L, 4]: the values where the letters are."""
    return one_hot(genome_codes(letters)) * np.asarray(values, np.float64)[:, None]


def _parts(place: Interval) -> list[slice]:
    """What each row shows."""
    return [slice(start, start + _ROW_BP) for start in range(0, place.length, _ROW_BP)]


def _with_place(title: str, place: Interval) -> str:
    return title if title == str(place) else f"{title}  {place}"


def _png(
    draw: Callable[[Sequence[Sequence[Axes]]], None], place: Interval, heights: tuple[int, ...], title: str
) -> bytes:
    """A figure of rows, each of axes with the given shares of its height, one under the other."""
    import matplotlib
    from matplotlib.figure import Figure

    num_rows, row_bp = len(_parts(place)), min(_ROW_BP, place.length)
    width = max(_LEAST_INCHES, _MARGIN_INCHES + _BASE_INCHES * row_bp)
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width, _ROW_INCHES * num_rows * sum(heights) / heights[0]), layout="constrained")
        figure.suptitle(title.replace("$", r"\$"))  # matplotlib sees no formula
        all_axes = figure.subplots(num_rows * len(heights), height_ratios=heights * num_rows, squeeze=False)[:, 0]
        draw([list(all_axes[start : start + len(heights)]) for start in range(0, len(all_axes), len(heights))])
        for axes in all_axes:
            axes.set_xlim(axes.get_xlim()[0], axes.get_xlim()[0] + row_bp)  # the last row may have fewer
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
    if limits[0] < limits[1]:
        axes.set_ylim(*limits)
    _number(axes, positions)


def _draw_map(axes: Axes, effects: np.ndarray, first_position: int, reach: float) -> None:
    """Draws effects [n, 4] as colours from blue, a loss, over white to red, a gain, of at most `reach`."""
    positions = range(first_position, first_position + len(effects))
    extent = (first_position - 0.5, first_position + len(effects) - 0.5, len(GENOME_LETTERS) - 0.5, -0.5)
    axes.imshow(effects.T, cmap="bwr", vmin=-reach, vmax=reach, aspect="auto", extent=extent, interpolation="nearest")
    axes.set_yticks(range(len(GENOME_LETTERS)), list(GENOME_LETTERS.decode()))
    _number(axes, positions)


def _number(axes: Axes, positions: range) -> None:
    axes.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    ticks = positions[:: _ROW_BP // _NUM_TICKS]
    axes.set_xticks(list(ticks), [f"{tick:,}" for tick in ticks])
