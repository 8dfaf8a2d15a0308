"""Promoters and enhancers planted in a genome, by a grammar that can be told in a few lines.

A promoter, here on the plus strand; GC boxes lie either way round, none to two of them:

    ... GCBOX ... GCBOX ... TATA ... 22 to 26 bases ... INR ...
        -86 +-5   -62 +-5   -33 +-2                     -2      bases from the start of transcription to their first

An enhancer of cell A or B has two sites of its own in this order on one strand, 6 to 14 bases apart. A site that is
broken has one substitution; in a misplaced element all sites are whole, but the second one is 25 to 40 bases off.
What becomes of the tracks then, `regulatory_signal` says.

The sites are made up, though they look like those of real factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genoformer.genome.alphabet import reverse_complement

MOTIFS = {
    "TATA": b"TATAWAAG",
    "INR": b"TCAKTCTC",
    "GCBOX": b"GGGCGGRG",
    "A1": b"WGATAAGC",
    "A2": b"CAGCTGTY",
    "B1": b"RTTACGTA",
    "B2": b"TGASTCAT",
}
CORE = ("TATA", "INR")
ENHANCERS = {"enhancer_A": ("A1", "A2"), "enhancer_B": ("B1", "B2")}
PROMOTER = "promoter"

LOCUS_BP = (1800, 3200)  # between starts of transcription
ENHANCER_BP = (300, 1200)  # from a start of transcription to an enhancer, either way
MAX_ENHANCERS, MAX_GC_BOXES = 4, 2
GAP_BP = (6, 14)  # between the sites of an enhancer
MISPLACED_BP = (25, 40)
BROKEN_SHARE, MISPLACED_SHARE = 0.3, 0.1
MIN_DISTANCE_BP = 220  # between elements

_TSS_TO_INR = -2
_TSS_TO_TATA, _TATA_JITTER = -33, 2
_TSS_TO_GC_BOXES, _GC_JITTER = (-62, -86), 5
_LETTERS_OF = {"W": b"AT", "S": b"CG", "R": b"AG", "Y": b"CT", "K": b"GT", "M": b"AC"}


@dataclass(frozen=True)
class Site:
    """A factor's site in a genome; `broken_at` is the position of its substitution, None where it is whole."""

    motif: str
    start: int
    strand: str
    broken_at: int | None = None

    @property
    def end(self) -> int:
        """The position after its last base."""
        return self.start + len(MOTIFS[self.motif])


@dataclass(frozen=True)
class Element:
    """A promoter or enhancer.

    Attributes:
        kind: "promoter", "enhancer_A" or "enhancer_B".
        position: the start of transcription, or the middle of an enhancer.
        sites: in the order of the grammar.
        is_misplaced: a site lies where the grammar does not want it.
    """

    kind: str
    position: int
    strand: str
    sites: tuple[Site, ...]
    is_misplaced: bool

    @property
    def is_functional(self) -> bool:
        """Whether all sites but GC boxes are whole and in place."""
        return not self.is_misplaced and all(site.broken_at is None for site in self.sites if site.motif != "GCBOX")

    @property
    def num_gc_boxes(self) -> int:
        """GC boxes that are whole."""
        return sum(site.motif == "GCBOX" and site.broken_at is None for site in self.sites)


def plant(letters: bytes, rng: np.random.Generator) -> tuple[bytes, list[Element]]:
    """A contig with elements written over its letters, and these, by position."""
    planted = bytearray(letters)
    elements = [_write(planted, kind, position, rng) for kind, position in _places(len(letters), rng)]
    return bytes(planted), sorted(elements, key=lambda element: element.position)


def is_core_position(motif: str, offset: int) -> bool:
    """Whether a motif has one letter only at an offset."""
    return chr(MOTIFS[motif][offset]) not in _LETTERS_OF


def _places(length: int, rng: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Kinds and positions of elements that do not come near one another."""
    taken: list[int] = []
    margin = ENHANCER_BP[0]
    tss = margin + int(rng.integers(LOCUS_BP[0]))
    while tss < length - margin:
        wanted = [(PROMOTER, tss)]
        for _ in range(int(rng.integers(MAX_ENHANCERS + 1))):
            distance = int(rng.integers(*ENHANCER_BP)) * int(rng.choice([-1, 1]))
            wanted.append((str(rng.choice(list(ENHANCERS))), tss + distance))
        for kind, position in wanted:
            is_free = all(abs(position - other) >= MIN_DISTANCE_BP for other in taken)
            if is_free and margin <= position < length - margin:
                taken.append(position)
                yield kind, position
        tss += int(rng.integers(*LOCUS_BP))


def _write(planted: bytearray, kind: str, position: int, rng: np.random.Generator) -> Element:
    """Writes an element; returns it."""
    strand, fate = str(rng.choice(["+", "-"])), float(rng.random())
    is_misplaced = BROKEN_SHARE <= fate < BROKEN_SHARE + MISPLACED_SHARE
    moved = int(rng.integers(*MISPLACED_BP)) if is_misplaced else 0
    offsets = _promoter(moved, rng) if kind == PROMOTER else _enhancer(kind, moved, rng)
    broken = int(rng.integers(len(offsets))) if fate < BROKEN_SHARE else None
    sites = []
    for index, (motif, offset, is_turned) in enumerate(offsets):
        length = len(MOTIFS[motif])
        start = position + offset if strand == "+" else position - offset - length + 1
        own = strand if not is_turned else "-+"[strand == "-"]
        word, changed = _draw_word(motif, is_broken=index == broken, rng=rng)
        planted[start : start + length] = word if own == "+" else reverse_complement(word)
        at = None if changed is None else start + (changed if own == "+" else length - 1 - changed)
        sites.append(Site(motif, start, own, at))
    return Element(kind, position, strand, tuple(sites), is_misplaced)


def _promoter(moved: int, rng: np.random.Generator) -> list[tuple[str, int, bool]]:
    """Sites as (motif, first base from the start of transcription, whether on the other strand)."""
    tata = _TSS_TO_TATA + int(rng.integers(-_TATA_JITTER, _TATA_JITTER + 1))
    sites = [("TATA", tata, False), ("INR", _TSS_TO_INR + moved, False)]
    for place in _TSS_TO_GC_BOXES[: int(rng.integers(MAX_GC_BOXES + 1))]:
        offset = place + int(rng.integers(-_GC_JITTER, _GC_JITTER + 1))
        sites.append(("GCBOX", offset, bool(rng.integers(2))))
    return sites


def _enhancer(kind: str, moved: int, rng: np.random.Generator) -> list[tuple[str, int, bool]]:
    """Sites as those of a promoter, from the middle."""
    first, second = ENHANCERS[kind]
    gap = int(rng.integers(GAP_BP[0], GAP_BP[1] + 1)) + moved
    start = -len(MOTIFS[first]) - gap // 2
    return [(first, start, False), (second, start + len(MOTIFS[first]) + gap, False)]


def _draw_word(motif: str, *, is_broken: bool, rng: np.random.Generator) -> tuple[bytes, int | None]:
    """Letters of a site, and where it has a substitution."""
    word = bytearray(int(rng.choice(list(_LETTERS_OF.get(chr(letter), bytes([letter]))))) for letter in MOTIFS[motif])
    if not is_broken:
        return bytes(word), None
    at = int(rng.choice([offset for offset in range(len(word)) if is_core_position(motif, offset)]))
    word[at] = int(rng.choice([letter for letter in b"ACGT" if letter != word[at]]))
    return bytes(word), at
