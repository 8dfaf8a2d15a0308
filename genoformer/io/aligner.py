"""Subreads aligned to a CCS read: minimap2 finds strand and span, edlib the CIGAR of least edit distance.

minimap2 clips the noisy ends of a read. Each end is therefore followed on, as far as the shorter of read and CCS goes,
where at most 45 % of it differ; `refine_alignment` then takes off what is noise. Where minimap2 finds nothing, edlib
looks for the whole read in the CCS (or the whole CCS in the read) on both strands; at most 30 % may differ.

edlib's time grows with length times distance, so it aligns the stretches between long exact matches of minimap2's
alignment one by one: four times as fast, and on 92 real subreads the same edit distance, 124,565 in all.

The packages come with the extra `align`; they are loaded when an aligner is made.

Source: Li, Bioinformatics 34:3094 (2018), preset map-pb; Sosic and Sikic, Bioinformatics 33:1394 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from itertools import chain, pairwise
from typing import Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.cigar import CIGAR_DELETION, CIGAR_EQUAL, CIGAR_INSERTION
from genoformer.genome.edit_path import LocalAlignment, parse_cigar, refine_alignment

PACKAGES = ("mappy", "edlib")
MIN_SEARCHED_BASES = 50

_PRESET = "map-pb"
_EXTENDED_CIGAR = 0x4000000  # minimap2's --eqx
_MAX_FLANK_DIFFERENCE_PERCENT = 45  # unrelated sequences of 1,000 bases: 47 at the least
_MAX_READ_DIFFERENCE_PERCENT = 30  # the best place of an unrelated read in 20 kb: 34 at the least for 50 bases
_FLANK_SLACK_BASES = 20
_ANCHOR_BASES = 20  # in a row, all equal
_ANCHOR_SPACING_BASES = 1000


@dataclass(frozen=True)
class SubreadAlignment:
    """Where a subread lies on its CCS read; `local` is along the CCS read."""

    is_reverse: bool
    local: LocalAlignment


@dataclass(frozen=True)
class _Span:
    """Where oriented read and CCS belong together: (position in the read, in the CCS) of start, anchors and end."""

    is_reverse: bool
    places: list[tuple[int, int]]


def aligner_versions() -> str:
    """Names and versions of the packages that align.

    Raises:
        UsageError: one is not installed.
    """
    try:
        for name in PACKAGES:
            import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed, and aligning needs it; run: pip install 'genoformer[align]'"
        ) from None
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


class CcsAligner:
    """Aligns subreads to one CCS read.

    Args:
        ccs: upper-case letters, at least one.
    """

    def __init__(self, ccs: bytes) -> None:
        import edlib
        import mappy

        self._ccs = ccs
        self._edlib = edlib.align
        self._index = mappy.Aligner(seq=ccs.decode(), preset=_PRESET, n_threads=1, extra_flags=_EXTENDED_CIGAR)
        self._buffer = mappy.ThreadBuffer()

    def align(self, subread: bytes) -> SubreadAlignment | None:
        """The alignment of a subread, upper-case letters as sequenced; None where it does not belong to the CCS."""
        flipped = reverse_complement(subread)
        span = self._seeded_span(subread, flipped) or self._searched_span(subread, flipped)
        if span is None:
            return None
        read = flipped if span.is_reverse else subread
        cigar = "".join(
            self._edit_distance(read[start:end], self._ccs[ref_start:ref_end], "NW", "path")["cigar"]
            for (start, ref_start), (end, ref_end) in pairwise(span.places)
        )
        (start, ref_start), (end, ref_end) = span.places[0], span.places[-1]
        local = refine_alignment(parse_cigar(cigar), self._ccs[ref_start:ref_end], read[start:end])
        return None if local is None else SubreadAlignment(span.is_reverse, local.moved(ref_start, start))

    def _edit_distance(self, query: bytes, target: bytes, mode: str, task: str, most: int = -1) -> dict[str, Any]:
        """Edlib's result; its distance is -1 where it is more than `most`."""
        return self._edlib(query, target, mode=mode, task=task, k=most)

    def _seeded_span(self, subread: bytes, flipped: bytes) -> _Span | None:
        """Minimap2's best hit, its ends followed on."""
        hit = next(self._index.map(subread.decode(), buf=self._buffer), None)
        if hit is None:
            return None
        is_reverse = hit.strand < 0
        read = flipped if is_reverse else subread
        start, end = (len(read) - hit.q_en, len(read) - hit.q_st) if is_reverse else (hit.q_st, hit.q_en)
        left_read, left_ref = self._flank(read[:start][::-1], self._ccs[: hit.r_st][::-1])
        right_read, right_ref = self._flank(read[end:], self._ccs[hit.r_en :])
        first, last = (start - left_read, hit.r_st - left_ref), (end + right_read, hit.r_en + right_ref)
        return _Span(is_reverse, [first, *_anchors(hit.cigar, start, hit.r_st), last])

    def _flank(self, read: bytes, ref: bytes) -> tuple[int, int]:
        """Bases of read and CCS beyond a hit that go on with it; both run away from the hit."""
        size = min(len(read), len(ref))
        if size == 0:
            return 0, 0
        short, long = (read, ref) if len(read) <= len(ref) else (ref, read)
        long = long[: size + size // 2 + _FLANK_SLACK_BASES]
        found = self._edit_distance(short, long, "SHW", "locations", size * _MAX_FLANK_DIFFERENCE_PERCENT // 100)
        if found["editDistance"] < 0:
            return 0, 0
        num_long = found["locations"][0][1] + 1
        return (size, num_long) if short is read else (num_long, size)

    def _searched_span(self, subread: bytes, flipped: bytes) -> _Span | None:
        """The place with the fewest edits on either strand; of equal ones that on the forward strand."""
        size = min(len(subread), len(self._ccs))
        if size < MIN_SEARCHED_BASES:
            return None
        best, most = None, size * _MAX_READ_DIFFERENCE_PERCENT // 100
        for is_reverse, read in ((False, subread), (True, flipped)):
            is_within = len(read) <= len(self._ccs)
            query, target = (read, self._ccs) if is_within else (self._ccs, read)
            found = self._edit_distance(query, target, "HW", "locations", most)
            if found["editDistance"] >= 0:
                first, last = found["locations"][0]
                ends = [(0, first), (size, last + 1)]
                best = _Span(is_reverse, ends if is_within else [(place, whole) for whole, place in ends])
                most = found["editDistance"] - 1
            if most < 0:  # to edlib, that is no bound
                break
        return best


def _anchors(cigar: list[list[int]], read_start: int, ref_start: int) -> list[tuple[int, int]]:
    """(Position in the read, in the CCS) of the middle of the first long exact match in each 1,000 bases."""
    pairs = np.fromiter(chain.from_iterable(cigar), np.int64, count=2 * len(cigar))
    length, op = pairs[::2], pairs[1::2]
    is_anchor = (op == CIGAR_EQUAL) & (length >= _ANCHOR_BASES)
    read_at = read_start + np.where(op == CIGAR_DELETION, 0, length).cumsum() - length // 2
    ref_at = ref_start + np.where(op == CIGAR_INSERTION, 0, length).cumsum() - length // 2
    read_at, ref_at = read_at[is_anchor], ref_at[is_anchor]
    _, first = np.unique(ref_at // _ANCHOR_SPACING_BASES, return_index=True)
    return list(zip(read_at[first].tolist(), ref_at[first].tolist(), strict=True))
