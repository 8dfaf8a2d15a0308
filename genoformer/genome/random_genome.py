"""Random DNA with what makes real DNA hard to read: homopolymers, microsatellites, repeats, GC content that varies.

Run lengths are those of human sequence: the fractions of runs of A or T, and of C or G, that have 1, 2, 3, ... bases
in CHM13 chr20:1-200,000, 41 % of which are C or G. The fraction changes from domain to domain, as in isochores; copies
of a few elements that have diverged lie between, on either strand.
"""

from __future__ import annotations

from bisect import bisect

import numpy as np

from genoformer.genome.alphabet import reverse_complement

AT_RUN_PROB = (0.7001, 0.1902, 0.0686, 0.0250, 0.0097, 0.0033, 0.0014, 0.0005, 0.0003, 0.0002, 0.0001, 0.0001, 0.0001,
               0.0001, 0.0001, 0.0002)  # fmt: skip
CG_RUN_PROB = (0.7310, 0.1981, 0.0540, 0.0138, 0.0026, 0.0004, 0.0001)

# Runs that are C or G, if the letter before would not matter: with the run lengths above it gives 41 % GC.
CG_RUN_SHARE = 0.40
CG_RUN_SHARE_SD, CG_RUN_SHARE_RANGE = 0.07, (0.28, 0.62)
MEAN_DOMAIN_BP = 20_000

MEAN_SATELLITE_DISTANCE_BP = 1000
SATELLITE_UNIT_BP = (2, 6)
SATELLITE_COPIES = (4, 12)

NUM_ELEMENTS, ELEMENT_BP = 8, (150, 600)
ELEMENT_EVERY_SATELLITES = 4  # an element takes the place of every fourth microsatellite
ELEMENT_DIVERGENCE = (0.02, 0.2)


def random_genome(length_bp: int, rng: np.random.Generator) -> bytes:
    """A random sequence of A, C, G, T."""
    elements = [
        _Runs(CG_RUN_SHARE).draw(int(rng.integers(*ELEMENT_BP, endpoint=True)), rng) for _ in range(NUM_ELEMENTS)
    ]
    pieces: list[bytes] = []
    missing = length_bp
    while missing > 0:
        pieces.append(_random_domain(1 + min(missing, int(rng.exponential(MEAN_DOMAIN_BP))), elements, rng))
        missing -= len(pieces[-1])
    return b"".join(pieces)[:length_bp]


def _random_domain(length_bp: int, elements: list[bytes], rng: np.random.Generator) -> bytes:
    runs = _Runs(float(np.clip(rng.normal(CG_RUN_SHARE, CG_RUN_SHARE_SD), *CG_RUN_SHARE_RANGE)))
    pieces: list[bytes] = []
    missing = length_bp
    while missing > 0:
        pieces.append(runs.draw(1 + int(rng.exponential(MEAN_SATELLITE_DISTANCE_BP)), rng))
        if rng.integers(ELEMENT_EVERY_SATELLITES) == 0:
            pieces.append(_diverged(elements[int(rng.integers(len(elements)))], rng))
        else:
            unit = runs.draw(int(rng.integers(*SATELLITE_UNIT_BP, endpoint=True)), rng)
            pieces.append(unit * int(rng.integers(*SATELLITE_COPIES, endpoint=True)))
        missing -= len(pieces[-2]) + len(pieces[-1])
    return b"".join(pieces)[:length_bp]


def _diverged(element: bytes, rng: np.random.Generator) -> bytes:
    """A copy with substitutions, on a random strand."""
    letters = np.frombuffer(element, dtype=np.uint8).copy()
    changed = rng.random(len(letters)) < rng.uniform(*ELEMENT_DIVERGENCE)
    letters[changed] = rng.choice(np.frombuffer(b"ACGT", dtype=np.uint8), int(changed.sum()))
    return reverse_complement(letters.tobytes()) if rng.random() < 0.5 else letters.tobytes()


class _Runs:
    """Homopolymers one after the other, each of another letter than the one before."""

    def __init__(self, cg_share: float) -> None:
        weight = {"A": (1 - cg_share) / 2, "C": cg_share / 2, "G": cg_share / 2, "T": (1 - cg_share) / 2}
        self._letters = {last: [letter for letter in weight if letter != last] for last in ("", *weight)}
        self._ends = {
            last: _cumulative([weight[letter] for letter in letters]) for last, letters in self._letters.items()
        }

    def draw(self, length_bp: int, rng: np.random.Generator) -> bytes:
        letter, runs, length = "", [], 0
        for letter_draw, length_draw in rng.random((length_bp, 2)).tolist():
            letter = self._letters[letter][bisect(self._ends[letter], letter_draw)]
            run = 1 + bisect(_RUN_ENDS[letter], length_draw)
            runs.append(letter * run)
            length += run
            if length >= length_bp:
                break
        return "".join(runs)[:length_bp].encode()


def _cumulative(weights: list[float]) -> list[float]:
    """Upper ends of the choices on [0, 1), without the last."""
    return (np.cumsum(weights)[:-1] / np.sum(weights)).tolist()


_RUN_ENDS = {letter: _cumulative(list(AT_RUN_PROB if letter in "AT" else CG_RUN_PROB)) for letter in "ACGT"}
