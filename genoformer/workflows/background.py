"""What scores of many other variants look like, and how unusual a score is among them.

A background is a file of scores: of common variants, for instance, that say what a score of no consequence is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.track import Track
from genoformer.io.score_hdf5 import PERCENTILES, read_background

Z, PERCENTILE = "_z", "_percentile"


@dataclass(frozen=True)
class Background:
    """For each score and track, mean and standard deviation [S, T] and percentiles [S, T, 279] of other variants."""

    scores: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    percentiles: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """What the values of `compare` are called: all z-scores, then all percentiles."""
        return tuple(score + suffix for suffix in (Z, PERCENTILE) for score in self.scores)

    def compare(self, values: np.ndarray) -> np.ndarray:
        """z-scores and percentiles (0.1 to 99.9) of scores [S, T], float32 [2 S, T]; z is 0 where nothing varies."""
        difference = values - self.mean
        z = np.divide(difference, self.deviation, out=np.zeros_like(self.mean), where=self.deviation > 0)
        percentiles = np.array([
            [np.interp(value, table, PERCENTILES) for value, table in zip(row, tables, strict=True)]
            for row, tables in zip(values.tolist(), self.percentiles, strict=True)
        ])  # fmt: skip
        return np.concatenate([z, 100 * percentiles]).astype(np.float32)


def load_background(path: str | Path, scores: Sequence[str], tracks: Sequence[Track]) -> Background:
    """The background of some scores and tracks, which are found by identifier and description.

    Raises:
        DataError: a file without one of them, without variants, or damaged.
    """
    found = read_background(path, scores)
    place = {names: index for index, names in reversed(list(enumerate(found.tracks)))}
    missing = next((track for track in tracks if (track.identifier, track.description) not in place), None)
    if missing is not None:
        raise DataError(
            f"{path}: has no track '{missing.identifier}' ({missing.description or 'no description'}); make the "
            "background with the same model and --tracks"
        )
    columns = [place[track.identifier, track.description] for track in tracks]
    return Background(tuple(scores), found.mean[:, columns], found.deviation[:, columns], found.percentiles[:, columns])
