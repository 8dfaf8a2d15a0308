"""How a stretch that is longer than a model's prediction is put together from several.

Predictions of 4 bins that share at least 2 with their neighbours, for 7 bins; each gives those nearer to its middle:

    bins    0 1 2 3 4 5 6
    first   A A a a           bins 0 and 1
    second    b B B b         bins 2 and 3
    third         c C C C     bins 4 to 6
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Tile(NamedTuple):
    """Bins `low` up to `high` of a stretch, from the prediction whose first bin is the stretch's bin `start`."""

    start: int
    low: int
    high: int


def tiles(num_bins: int, target_bins: int, shared_bins: int) -> list[Tile]:
    """Predictions for a stretch of bins, evenly spaced, of which each bin is taken from one.

    Args:
        num_bins: of the stretch, at least `target_bins`.
        target_bins: of a prediction.
        shared_bins: least number of bins that neighbouring predictions both have, below `target_bins`; each gives the
            half that is nearer to its middle.
    """
    gaps = -(-(num_bins - target_bins) // (target_bins - shared_bins))
    starts = [index * (num_bins - target_bins) // max(1, gaps) for index in range(gaps + 1)]
    cuts = [0, *((one + other + target_bins) // 2 for one, other in pairwise(starts)), num_bins]
    return [Tile(start, low, high) for start, (low, high) in zip(starts, pairwise(cuts), strict=True)]
