"""Sequence variants, the windows around them, and the sequences of their alleles in windows of fixed length.

An indel makes the rest of its window shift. Anchored left, everything before the variant stays where REF has it and the
far end of the window loses or gains bases; anchored right, everything after the variant does. A prediction put together
from the left part of the first and the right part of the second is compared with REF's at the same genomic positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from genoformer.genome.alphabet import genome_codes
from genoformer.genome.interval import Interval

Anchor = Literal["left", "right"]
Centre = Literal["left", "right"]
CENTRES: tuple[Centre, ...] = get_args(Centre)
KINDS = ("SNV", "MNV", "insertion", "deletion")
Fetch = Callable[[Interval], np.ndarray]  # genome codes of an interval, uint8 [length], N past the contig's ends


@dataclass(frozen=True)
class Variant:
    """The bases `ref` of a contig, from `start` (0-based), replaced by `alt`.

    Alleles are upper-case letters, at least one each; `name` is "" where the variant has none.
    """

    chrom: str
    start: int
    ref: str
    alt: str
    name: str = ""

    @property
    def end(self) -> int:
        """The position after the last base of REF."""
        return self.start + len(self.ref)

    @property
    def kind(self) -> str:
        """One of `KINDS`, by the lengths of the alleles."""
        if len(self.ref) == len(self.alt):
            return "SNV" if len(self.ref) == 1 else "MNV"
        return "insertion" if len(self.ref) < len(self.alt) else "deletion"

    @property
    def is_indel(self) -> bool:
        """Whether the alleles differ in length."""
        return len(self.ref) != len(self.alt)

    def flipped(self) -> Variant:
        """REF and ALT in each other's place."""
        return replace(self, ref=self.alt, alt=self.ref)

    def __str__(self) -> str:
        """As VCF counts positions: chrom:position:REF>ALT."""
        return f"{self.chrom}:{self.start + 1}:{_shortened(self.ref)}>{_shortened(self.alt)}"


def centred_window(variant: Variant, length_bp: int, centre: Centre = "left") -> Interval:
    """The window of `length_bp` in which the first base of REF is one of the middle two, the left one by default.

    Of 8 bases, that is index 3 (length / 2 - 1) for "left", as in Basenji, and 4 for "right", as in DeepMind's example
    of a single variant; an odd length has one middle. With an even number of bins, the two lie in different bins.
    """
    start = variant.start - (length_bp - 1 if centre == "left" else length_bp) // 2
    return Interval(variant.chrom, start, start + length_bp)


def grid_window(variant: Variant, length_bp: int, step_bp: int) -> Interval:
    """The window of `length_bp` around the middle of the variant's cell, where cells of `step_bp` tile the contig."""
    start = variant.start // step_bp * step_bp + step_bp // 2 - length_bp // 2
    return Interval(variant.chrom, start, start + length_bp)


def allele_codes(variant: Variant, window: Interval, fetch: Fetch, anchor: Anchor = "left") -> np.ndarray:
    """Genome codes of a window in which REF is replaced by ALT, uint8 [window length].

    In the window TAACCGGT, the insertion C>CTTT at index 3 gives TAACTTTC anchored left and CTTTCGGT anchored right.

    Args:
        variant: starts within the window.
        fetch: gives the genome around.
        anchor: the side of the variant on which every base stays where REF has it.
    """
    allele = genome_codes(variant.alt.encode())
    shift = len(variant.ref) - len(variant.alt) if anchor == "right" else 0
    place = variant.start - window.start + shift  # of the allele in the window; below 0, its first bases are cut off
    before = fetch(Interval(window.chrom, variant.start - max(place, 0), variant.start))
    missing = window.length - place - len(allele)
    after = fetch(Interval(window.chrom, variant.end, variant.end + max(missing, 0)))
    return np.concatenate([before, allele[max(-place, 0) :], after])[: window.length]


def _shortened(allele: str, most: int = 20) -> str:
    return allele if len(allele) <= most else f"{allele[: most - 3]}..."
