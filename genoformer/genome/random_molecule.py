"""Random DNA with what makes real DNA hard to read: homopolymers, microsatellites, 41 % GC.

Run lengths are those of human sequence: the fractions of runs of A or T, and of C or G, that have 1, 2, 3, ... bases
in CHM13 chr20:1-200,000.
"""

from __future__ import annotations

from bisect import bisect

import numpy as np

AT_RUN_PROB = (0.7001, 0.1902, 0.0686, 0.0250, 0.0097, 0.0033, 0.0014, 0.0005, 0.0003, 0.0002, 0.0001, 0.0001, 0.0001,
               0.0001, 0.0001, 0.0002)  # fmt: skip
CG_RUN_PROB = (0.7310, 0.1981, 0.0540, 0.0138, 0.0026, 0.0004, 0.0001)

# Weights of the next run's letter among those that differ from the last; with the run lengths above they give 41 % GC.
NEXT_RUN_WEIGHT = {"A": 0.304, "C": 0.196, "G": 0.196, "T": 0.304}

MEAN_REPEAT_DISTANCE_BP = 1000
REPEAT_UNIT_BP = (2, 6)
REPEAT_COPIES = (4, 12)


def random_molecule(length_bp: int, rng: np.random.Generator) -> bytes:
    """A random sequence of A, C, G, T with microsatellites of 2 to 6 bp units about every 1,000 bases."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < length_bp:
        pieces.append(_random_runs(1 + int(rng.exponential(MEAN_REPEAT_DISTANCE_BP)), rng))
        unit = _random_runs(int(rng.integers(*REPEAT_UNIT_BP, endpoint=True)), rng)
        pieces.append(unit * int(rng.integers(*REPEAT_COPIES, endpoint=True)))
    return b"".join(pieces)[:length_bp]


def _random_runs(length_bp: int, rng: np.random.Generator) -> bytes:
    letter, runs, length = "", [], 0
    for letter_draw, length_draw in rng.random((length_bp, 2)).tolist():
        letter = _NEXT_LETTERS[letter][bisect(_NEXT_CUMULATIVE[letter], letter_draw)]
        run = 1 + bisect(_RUN_CUMULATIVE[letter], length_draw)
        runs.append(letter * run)
        length += run
        if length >= length_bp:
            break
    return "".join(runs)[:length_bp].encode()


def _cumulative(weights: list[float]) -> list[float]:
    """Upper ends of the choices on [0, 1), without the last."""
    return (np.cumsum(weights)[:-1] / np.sum(weights)).tolist()


_NEXT_LETTERS = {last: [letter for letter in NEXT_RUN_WEIGHT if letter != last] for last in ("", *NEXT_RUN_WEIGHT)}
_NEXT_CUMULATIVE = {
    last: _cumulative([NEXT_RUN_WEIGHT[letter] for letter in letters]) for last, letters in _NEXT_LETTERS.items()
}
_RUN_CUMULATIVE = {
    letter: _cumulative(list(AT_RUN_PROB if letter in "AT" else CG_RUN_PROB)) for letter in NEXT_RUN_WEIGHT
}
