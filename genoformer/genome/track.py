"""Tracks: what an experiment measured along a genome, and how its coverage becomes what a model learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genoformer.errors import DataError

_MIN_BINS_FOR_BASELINE = 8

# How the bases of a bin are pooled, by the name of the statistic without what follows the pooling.
_POOLS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "avg": np.mean, "max": np.max, "median": np.median
}  # fmt: skip
_POWERS = {"_sqrt": 0.5, "_exp75": 0.75}
_BORZOI_POWER = 0.75
SUM_STATS = (*_POOLS, *(f"{pool}{power}" for pool in ("sum", "mean", "avg") for power in _POWERS))


@dataclass(frozen=True)
class Track:
    """A track of a targets table.

    Attributes:
        identifier: what the experiment is called; need not be unique.
        description: an assay, a colon, and what was measured.
        file: its coverage.
        sum_stat: how the bases of a bin become one value, one of `SUM_STATS`.
        scale: factor of the coverage.
        clip_soft: beyond it, values grow as a square root; None: nowhere.
        clip: the largest value, of either sign; None: without limit.
        strand_pair: index of the track of the other strand in the same table; its own where it has none.
    """

    identifier: str
    description: str
    file: str
    sum_stat: str
    scale: float
    clip_soft: float | None
    clip: float | None
    strand_pair: int

    @property
    def assay(self) -> str:
        """The part of the description before the first colon; "" where there is none."""
        return self.description.partition(":")[0] if ":" in self.description else ""

    @property
    def strand(self) -> str:
        """What the identifier ends with, "+" or "-"; "" where it ends otherwise."""
        return self.identifier[-1:] if self.identifier.endswith(("+", "-")) else ""


def named_track(identifier: str, description: str, index: int) -> Track:
    """The track at `index` of a head, of which only the names are known."""
    return Track(identifier, description, "", "sum", 1.0, None, None, index)


Tracks = Mapping[str, tuple[Track, ...]]  # of a model: by species, in the order of the head's outputs


def numbered_tracks(heads: Mapping[str, int]) -> Tracks:
    """Tracks that nothing is known of, for heads of so many outputs: their numbers are their names."""
    return {
        species: tuple(named_track(str(index), "", index) for index in range(count)) for species, count in heads.items()
    }


def sense_tracks(tracks: Sequence[Track], strand: str) -> list[int]:
    """Where to read each track of a gene on a strand: at its pair, if the track has one and is of the other strand.

    The two tracks of a pair are so read at the same place, that of the gene's strand.
    """
    return [
        track.strand_pair if track.strand and track.strand != strand else place for place, track in enumerate(tracks)
    ]


def are_numbered(tracks: Sequence[Track]) -> bool:
    """Whether nothing is known of the tracks of a model but their number."""
    return tuple(tracks) == numbered_tracks({"": len(tracks)})[""]


def fill_missing(coverage: np.ndarray, *, interpolate: bool) -> np.ndarray:
    """Coverage with a value at every base, float32 [L], in place of NaN.

    Args:
        coverage: float32 [L].
        interpolate: linearly between the neighbours, from 0 beyond the ends; else 0.
    Source:
        Baskerville, `hound_data_read.interp_nan`.
    """
    missing = np.isnan(coverage)
    if not missing.any():
        return coverage
    if not interpolate:
        return np.where(missing, np.float32(0), coverage)
    known = np.pad(coverage, 1)
    places = np.flatnonzero(~np.isnan(known))
    return np.interp(np.arange(1, len(known) - 1), places, known[places]).astype(np.float32)


def bound_to_baseline(coverage: np.ndarray, is_bounded: np.ndarray, num_bins: int) -> np.ndarray:
    """Coverage [L] whose magnitude is at most the median of the whole where `is_bounded`, bool [L].

    Args:
        num_bins: bins that will be made of it; below 8, the bound is 0.
    Source:
        Baskerville, `hound_data_read`: how coverage in blacklisted regions is limited; by a slip there, regions that
        begin before a window are not.
    """
    if not is_bounded.any():
        return coverage
    baseline = np.median(coverage) if num_bins >= _MIN_BINS_FOR_BASELINE else 0.0
    return np.where(is_bounded, np.clip(coverage, -baseline, baseline), coverage).astype(np.float32)


def bin_coverage(coverage: np.ndarray, track: Track, bin_bp: int, *, as_borzoi: bool = False) -> np.ndarray:
    """The value of each bin, float32 [L / bin_bp]: scaled, pooled, its power taken, clipped softly and then hard.

    Args:
        coverage: float32 [L], L a multiple of `bin_bp`.
        as_borzoi: in the order and with the powers with which Borzoi was trained: pooled, to the power of 0.75 for
            `_sqrt`, clipped, and scaled at the end.
    Raises:
        DataError: negative coverage whose root is no number. The text is the predicate of a sentence.
    Source:
        Baskerville, `hound_data_read` (without its last step, a clip at a quantile of all windows, by which a value
        would depend on what other windows there are); for Borzoi, its option `--transform_old`.
    """
    pool, _, _ = track.sum_stat.partition("_")
    power = _POWERS.get(track.sum_stat.removeprefix(pool))
    scale = np.float32(track.scale)
    bases = coverage.reshape(-1, bin_bp)
    values = _POOLS[pool](bases if as_borzoi else scale * bases, axis=1).astype(np.float32)
    if power is not None:
        values = _raise_to(values, _BORZOI_POWER if as_borzoi else power, offset=0 if as_borzoi else 1)
    if track.clip_soft is not None:
        values = _clip_softly(values, np.float32(track.clip_soft), offset=0 if as_borzoi else 1)
    if track.clip is not None:
        values = np.clip(values, -np.float32(track.clip), np.float32(track.clip))
    return scale * values if as_borzoi else values


def _raise_to(values: np.ndarray, power: float, offset: int) -> np.ndarray:
    """(offset + x) ** power - offset; a power of 0.5 by a square root, as others compute it."""
    if (values < -offset).any():
        raise DataError(f"has a bin of {values.min():g}, which has no root; give it another sum_stat")
    raised = np.sqrt(offset + values) if power == 0.5 else (offset + values) ** np.float32(power)
    return raised - offset


def _clip_softly(values: np.ndarray, limit: np.float32, offset: int) -> np.ndarray:
    """Beyond the limit, limit - offset + sqrt(offset + what exceeds it)."""
    excess = np.maximum(values - limit, 0)
    return np.where(values > limit, limit - offset + np.sqrt(excess + offset), values)
