"""The tower's bins of a sequence that differs from a known one in few places: computed there, copied elsewhere.

The tower is made of convolutions and pooling, so a base changes only the bins within its reach. These are computed on a
slice of the sequence that holds all they depend on, and are put among the bins of the other sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.config import ExpressionConfig


@dataclass(frozen=True)
class Slice:
    """A stretch of bins to compute, and which of these bins differ; all counted from the start of the sequence."""

    start: int
    end: int
    first_changed: int
    end_changed: int


def changed_slice(config: ExpressionConfig, codes: np.ndarray, known: np.ndarray) -> Slice | None:
    """The least slice with every bin that differs between two sequences; None where none does.

    Args:
        codes, known: uint8 [L] each, L a multiple of bin_bp.
    Source:
        The bin b of n bp reads the bases n b - reach to n (b + 1) - 1 + reach; see `ExpressionConfig.reach_bp`.
    """
    places = np.flatnonzero(codes != known)
    if not len(places):
        return None
    num_bins, bin_bp, reach = len(codes) // config.bin_bp, config.bin_bp, config.reach_bp
    first = max(0, -(-(int(places[0]) - bin_bp + 1 - reach) // bin_bp))
    end = min(num_bins, (int(places[-1]) + reach) // bin_bp + 1)
    margin = -(-reach // bin_bp)
    return Slice(max(0, first - margin), min(num_bins, end + margin), first, end)


def substitution_bins(config: ExpressionConfig) -> int:
    """The number of bins in a slice that serves one changed base wherever it is."""
    return 1 + -(-2 * config.reach_bp // config.bin_bp) + 2 * -(-config.reach_bp // config.bin_bp)


def widened(found: Slice, length: int, num_bins: int) -> Slice:
    """A slice of `length` bins, or of all `num_bins` of the sequence, that holds the one found, which is no longer."""
    start = max(0, min(found.start, num_bins - length))
    return Slice(start, min(num_bins, start + length), found.first_changed, found.end_changed)
