"""Scores of variants: how the predicted tracks of ALT differ from those of REF, one number a track.

Names say over which bins, and whether it is their sum or their mean:

    sad_sum       the sum over bins of ALT - REF: Basenji's SAD
    sad_mean      the mean over bins of ALT - REF: DeepMind's
    logsad_sum    the sum over bins of log2(1 + ALT) - log2(1 + REF): Basenji's logSAD
    sar_sum       log2(1 + the sum of ALT) - log2(1 + the sum of REF): Basenji's SAR
    d1_sum        the sum over bins of |ALT - REF|
    d2_sum        the root of the sum over bins of (ALT - REF)^2
    js            Jensen-Shannon divergence of ALT and REF, each divided by its sum, in bits
    max           ALT - REF at the bin where it is largest in magnitude: Basenji's SAX

Each with `_centre` after it looks at the bins around the variant only: `sad_sum_centre`.

Source: Basenji, `basenji_sad.py`, but in float32, and with the divergence itself as JS. Basenji takes the mean of the
two relative entropies after adding the lower quartile of REF to both, so its JS changes when REF and ALT change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from genoformer.errors import UsageError

CENTRE_SUFFIX = "_centre"
_SHORT_NAMES = {"sad": "sad_sum", "logsad": "logsad_sum", "sar": "sar_sum", "d1": "d1_sum", "d2": "d2_sum"}

Tracks = np.ndarray  # [N, T]


def _sad_sum(ref: Tracks, alt: Tracks) -> np.ndarray:
    return (alt - ref).sum(axis=0)


def _sad_mean(ref: Tracks, alt: Tracks) -> np.ndarray:
    return (alt - ref).mean(axis=0)


def _logsad_sum(ref: Tracks, alt: Tracks) -> np.ndarray:
    return (np.log1p(alt) - np.log1p(ref)).sum(axis=0) / np.log(2)


def _sar_sum(ref: Tracks, alt: Tracks) -> np.ndarray:
    return log_fold_change(ref.sum(axis=0), alt.sum(axis=0))


def _d1_sum(ref: Tracks, alt: Tracks) -> np.ndarray:
    return np.abs(alt - ref).sum(axis=0)


def _d2_sum(ref: Tracks, alt: Tracks) -> np.ndarray:
    return np.sqrt(((alt - ref) ** 2).sum(axis=0))


def _js(ref: Tracks, alt: Tracks) -> np.ndarray:
    p, q = (_shares(tracks) for tracks in (ref, alt))
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def _max(ref: Tracks, alt: Tracks) -> np.ndarray:
    difference = alt - ref
    largest = np.abs(difference).argmax(axis=0)
    return np.take_along_axis(difference, largest[None], axis=0)[0]


SCORES: dict[str, Callable[[Tracks, Tracks], np.ndarray]] = {
    "sad_sum": _sad_sum,
    "sad_mean": _sad_mean,
    "logsad_sum": _logsad_sum,
    "sar_sum": _sar_sum,
    "d1_sum": _d1_sum,
    "d2_sum": _d2_sum,
    "js": _js,
    "max": _max,
}


def full_name(name: str) -> str:
    """What a name stands for: `sad` for `sad_sum`, `SAR_centre` for `sar_sum_centre`; there need be no such score."""
    short = name.lower().removesuffix(CENTRE_SUFFIX)
    return _SHORT_NAMES.get(short, short) + CENTRE_SUFFIX * name.lower().endswith(CENTRE_SUFFIX)


def full_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of scores as the module lists them; `sad` stands for `sad_sum`, and so on.

    Raises:
        UsageError: no such score, or one that is there twice.
    """
    found = []
    for name in names:
        full = full_name(name)
        if full.removesuffix(CENTRE_SUFFIX) not in SCORES:
            known = ", ".join([*_SHORT_NAMES, *(score for score in SCORES if score not in _SHORT_NAMES.values())])
            raise UsageError(f"score '{name}': expected {known}, each also with '{CENTRE_SUFFIX}'")
        found.append(full)
    double = next((name for name in found if found.count(name) > 1), None)
    if double is not None or not found:
        raise UsageError(f"score '{double}' is there twice" if double else "no scores; expected at least one")
    return tuple(found)


def score_alleles(ref: Tracks, alt: Tracks, names: Iterable[str], centre: slice) -> np.ndarray:
    """Scores of one variant, float32 [scores, T].

    Args:
        ref, alt: predictions [N, T], at least 0.
        names: as `full_names` gives them.
        centre: the bins that scores of the centre look at.
    """
    ref, alt = ref.astype(np.float64), alt.astype(np.float64)
    values = []
    for name in names:
        bins = centre if name.endswith(CENTRE_SUFFIX) else slice(None)
        values.append(SCORES[name.removesuffix(CENTRE_SUFFIX)](ref[bins], alt[bins]))
    return np.array(values, dtype=np.float32)


def centre_bins(num_bins: int, bin_of_variant: int, width: int) -> slice:
    """The `width` bins around one of them, moved inwards at the ends; an even number has one more before it."""
    start = min(max(bin_of_variant - width // 2, 0), max(num_bins - width, 0))
    return slice(start, start + width)


def log_fold_change(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    """log2(1 + ALT) - log2(1 + REF) of coverage summed over bins."""
    return (np.log1p(alt) - np.log1p(ref)) / np.log(2)


def _shares(tracks: Tracks) -> np.ndarray:
    """Each track divided by its sum; the same everywhere where that is 0."""
    total = tracks.sum(axis=0)
    return np.where(total > 0, tracks / np.where(total > 0, total, 1), 1 / len(tracks))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Sum over bins of p log2(p / q), [T]; 0 where p is 0."""
    is_there = p > 0
    ratio = np.where(is_there, p, 1) / np.where(is_there, q, 1)
    return (p * np.log2(ratio)).sum(axis=0)
