"""How a polymerase misreads a template: the errors and kinetics of real PacBio subreads, as random draws.

The tables were measured on 84 subreads of six ZMWs (one Sequel I movie, 966 kb), aligned to their assembled truth by
edlib; rates are per template base. Bases are indexed A, C, G, T here.

Deviations: errors of different passes are independent given ZMW and read (measured correlation .00 to .03), the two
strands behave alike, and PW and IP of one base are independent of one another and of their neighbours'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.genome.gapped import GAP, GappedPair

# Given that a base is read: row is the template's base, column the read's.
SUBSTITUTION = np.array(
    [
        [0.974, 0.012, 0.009, 0.005],
        [0.006, 0.988, 0.003, 0.003],
        [0.005, 0.002, 0.965, 0.028],
        [0.002, 0.002, 0.010, 0.986],
    ]
)

INSERTION_PROB = 0.0508  # of at least one base before a template base
INSERTION_LENGTH = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9])
INSERTION_LENGTH_PROB = np.array([0.841, 0.106, 0.027, 0.011, 0.005, 0.003, 0.0015, 0.001, 0.0008])
LONG_INSERTION_BP, MEAN_LONG_INSERTION_BP, MAX_INSERTION_BP = 10, 17.5, 102  # the rest of the events
INSERTED_BASE_PROB = np.array([0.25, 0.15, 0.30, 0.30])
COPIED_PROB = 0.36  # an inserted base copies a neighbour; with chance on top, 57 % equal one

# ln(deletion) = offset + slope ln(SN) of the base's channel, times a factor for the template's run length 1, 2, ... 8+.
DELETION_OFFSET, DELETION_SLOPE = -1.27, -1.17
DELETION_BY_RUN = np.array([0.024, 0.042, 0.044, 0.042, 0.042, 0.043, 0.043, 0.052]) / 0.0333

# An aligner that minimises edits explains an insertion beside a deletion as a substitution or a match. With these
# factors on the tables above, simulated reads measure through edlib as the real ones do: .021 substitutions, .064
# inserted and .032 deleted bases (real: .0208, .0666, .0333).
SUBSTITUTION_FACTOR, INSERTION_FACTOR, DELETION_FACTOR = 0.75, 1.12, 1.42

SN_RANGE = np.array([[4.4, 7.0], [8.2, 13.0], [4.2, 5.7], [7.2, 9.8]])

# Spread of error rates as standard deviations of ln(rate).
ZMW_SPREAD, READ_SPREAD, WINDOW_SPREAD = 0.25, 0.22, 0.18
SPREAD_WINDOW_BP = 100

# Kinetics by the kind of base read: a PW code is lognormal (mean of ln, sd of ln), an IP code gamma (mean, shape).
CORRECT, SUBSTITUTED, COPIED, RANDOM = 0, 1, 2, 3  # the last two: inserted, equal to a neighbour or not
PW_LOG_MEAN = np.array([2.52, 1.65, 2.30, 1.55])
PW_LOG_SD = np.array([0.76, 1.05, 0.92, 1.10])
CORRECT_PW_MEAN = np.array([14.6, 21.9, 18.3, 13.5])  # by base, in place of the first PW_LOG_MEAN
IP_MEAN = np.array([17.3, 18.9, 20.6, 23.7])
IP_SHAPE = np.array([0.85, 0.85, 0.70, 0.45])
IP_AFTER_DELETION_MEAN, IP_AFTER_DELETION_SHAPE = 35.0, 1.5  # where the missing base stood alone
MAX_KINETICS_CODE = 255

_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True)
class ErrorConditions:
    """What the passes of one ZMW share: `sn` float64 [4], and `rate`, a factor on all error probabilities."""

    sn: np.ndarray
    rate: float


@dataclass(frozen=True)
class ReadTemplate:
    """One pass in the read's own orientation: the template against the read, and a `pw` and `ip` code a read base."""

    pair: GappedPair
    pw: np.ndarray  # uint8 [read bases]
    ip: np.ndarray  # uint8 [read bases]


def draw_conditions(rng: np.random.Generator) -> ErrorConditions:
    """Signal-to-noise ratios and error rate of a ZMW; the four channels are bright or dim together."""
    brightness = (rng.random() + rng.random(4)) / 2
    sn = SN_RANGE[:, 0] + brightness * (SN_RANGE[:, 1] - SN_RANGE[:, 0])
    return ErrorConditions(sn, float(_spread(ZMW_SPREAD, 1, rng)[0]))


def read_template(template: bytes, conditions: ErrorConditions, rng: np.random.Generator) -> ReadTemplate:
    """One pass of the polymerase over a template.

    Args:
        template: letters A, C, G, T, 5' to 3' of the strand that the read resembles.
    """
    bases = np.searchsorted(_LETTERS, np.frombuffer(template, dtype=np.uint8))
    num_windows = len(bases) // SPREAD_WINDOW_BP + 1
    read_rate = conditions.rate * _spread(READ_SPREAD, 1, rng)
    rate = np.repeat(read_rate * _spread(WINDOW_SPREAD, num_windows, rng), SPREAD_WINDOW_BP)[: len(bases)]
    run_length = _run_lengths(bases)
    deleted = rng.random(len(bases)) < rate * deletion_prob(bases, run_length, conditions.sn)
    read_bases = _substitute(bases, rate, rng)
    num_inserted = _insertion_lengths(rate, rng)

    # The columns of a template base: what is inserted before it, then the base itself.
    column = np.cumsum(num_inserted + 1) - 1
    kind = np.full(int(column[-1]) + 1, RANDOM)
    kind[column] = np.where(read_bases == bases, CORRECT, SUBSTITUTED)
    rows = np.full((2, len(kind)), GAP, dtype=np.uint8)
    rows[:, column] = _LETTERS[bases], np.where(deleted, GAP, _LETTERS[read_bases])
    inserted_before = np.repeat(np.arange(len(bases)), num_inserted)
    inserted, equals_neighbour = _inserted_bases(bases, inserted_before, rng)
    at_insertion = np.flatnonzero(rows[0] == GAP)
    rows[1, at_insertion] = _LETTERS[inserted]
    kind[at_insertion[equals_neighbour]] = COPIED

    is_read = rows[1] != GAP
    after_deletion = _follows(column[deleted & (run_length == 1)], is_read)
    pw, ip = _kinetics(kind[is_read], np.searchsorted(_LETTERS, rows[1, is_read]), after_deletion, rng)
    return ReadTemplate(GappedPair(rows[0].tobytes(), rows[1].tobytes()), pw, ip)


def deletion_prob(bases: np.ndarray, run_length: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Probability that a template base is not read, before dispersion, [n]; a dim channel or a run raises it."""
    by_base = DELETION_FACTOR * np.exp(DELETION_OFFSET + DELETION_SLOPE * np.log(sn))
    return by_base[bases] * DELETION_BY_RUN[np.minimum(run_length, len(DELETION_BY_RUN)) - 1]


def _spread(sd: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Lognormal factors with mean 1."""
    return rng.lognormal(-(sd**2) / 2, sd, size)


def _run_lengths(bases: np.ndarray) -> np.ndarray:
    """Length of the homopolymer that each base stands in."""
    first = np.flatnonzero(np.diff(bases, prepend=-1))
    length = np.diff(first, append=len(bases))
    return np.repeat(length, length)


def _substitute(bases: np.ndarray, rate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    off_diagonal = SUBSTITUTION_FACTOR * np.where(np.eye(4, dtype=bool), 0, SUBSTITUTION)
    threshold = np.cumsum(off_diagonal, axis=1)[bases] * rate[:, None]  # [n, 4]
    draw = rng.random(len(bases))
    wrong = (draw[:, None] >= threshold).sum(axis=1)
    return np.where(wrong < 4, wrong, bases)


def _insertion_lengths(rate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    num_inserted = np.zeros(len(rate), dtype=np.int64)
    at = np.flatnonzero(rng.random(len(rate)) < rate * INSERTION_FACTOR * INSERTION_PROB)
    choice = np.searchsorted(np.cumsum(INSERTION_LENGTH_PROB), rng.random(len(at)), side="right")
    tail = rng.geometric(1 / (MEAN_LONG_INSERTION_BP - LONG_INSERTION_BP + 1), len(at)) - 1
    long = np.minimum(LONG_INSERTION_BP + tail, MAX_INSERTION_BP)
    is_long = choice == len(INSERTION_LENGTH)
    num_inserted[at] = np.where(is_long, long, INSERTION_LENGTH[np.where(is_long, 0, choice)])
    return num_inserted


def _inserted_bases(bases: np.ndarray, before: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bases inserted before the template positions `before`, and whether each equals a template neighbour."""
    left, right = bases[np.maximum(before - 1, 0)], bases[before]
    drawn = rng.choice(4, len(before), p=INSERTED_BASE_PROB)
    copy = np.where(rng.random(len(before)) < 0.5, left, right)
    inserted = np.where(rng.random(len(before)) < COPIED_PROB, copy, drawn)
    return inserted, (inserted == left) | (inserted == right)


def _follows(columns: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """Of the read bases, which are the first after one of the columns, bool [read bases]."""
    num_before = np.cumsum(is_read)
    following = num_before[columns]  # index of the next read base, since the columns hold none
    follows = np.zeros(int(num_before[-1]), dtype=bool)
    follows[following[following < len(follows)]] = True
    return follows


def _kinetics(
    kind: np.ndarray, read_bases: np.ndarray, after_deletion: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    by_base = np.log(CORRECT_PW_MEAN) - PW_LOG_SD[CORRECT] ** 2 / 2
    log_mean = np.where(kind == CORRECT, by_base[read_bases], PW_LOG_MEAN[kind])
    pw = rng.lognormal(log_mean, PW_LOG_SD[kind])
    shape = np.where(after_deletion, IP_AFTER_DELETION_SHAPE, IP_SHAPE[kind])
    mean = np.where(after_deletion, IP_AFTER_DELETION_MEAN, IP_MEAN[kind])
    ip = rng.gamma(shape, mean / shape)
    return _codes(pw), _codes(ip)


def _codes(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.rint(values), MAX_KINETICS_CODE).astype(np.uint8)
