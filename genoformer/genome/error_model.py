"""How a polymerase misreads a template: the errors and kinetics of PacBio subreads, as random draws from tables.

What the tables say, by the base B of the template, the base before it and the length of the homopolymer it stands in:

    deletion        B is not read; the dimmer its channel, the more often
    substitution    B is read as another base
    copy            B is read twice
    insertion       letters are read that are neither B nor the base before it

Each kind has rates that differ between ZMWs, between the reads of one and along a read. Pulse widths (PW) tell
insertions and substitutions from true bases; an inter-pulse duration (IP) is long where a base was passed over. Of two
pulses of a homopolymer that merge into one, which is how most of its missing bases come about, that one is as wide as
both together.

Deviations: errors of different passes are independent given ZMW and template, the two strands behave alike, and PW and
IP of one base are independent of one another and of their neighbours'.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from genoformer.genome.aligned_columns import GAP_CODE, NO_KINETICS, AlignedColumns, base_codes

MAX_RUN = 8  # the last class of homopolymer lengths holds all longer ones
MAX_LENGTH = 12  # so does the last class of insertion lengths
MAX_INSERTION_BP = 100
MAX_CODE = 255
SPREAD_WINDOW_BP = 100
MAX_PROB = 0.5  # of any error at a base, however unlucky ZMW, read and window are

SUBSTITUTIONS, INSERTIONS, DELETIONS = range(3)  # kinds of rates
CORRECT, SUBSTITUTED, COPIED, RANDOM, AFTER_DELETION = range(5)  # kinds of read bases, for kinetics
QUANTILES = np.array([0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1])

_SN_RANGE_SD = 2.0
_PROB, _SPREAD = (0.0, 1.0), (0.0, 3.0)


class Table(NamedTuple):
    """Shape of a table and the limits of its values."""

    shape: tuple[int, ...]
    limits: tuple[float, float]


TABLES: dict[str, Table] = {
    "deletion": Table((4, MAX_RUN), _PROB),
    "deletion_before": Table((4, 4), (0.0, 100.0)),
    "deletion_sn_slope": Table((), (-5.0, 0.0)),
    "substitution": Table((4, 4, 4), _PROB),
    "copy": Table((4, MAX_RUN), _PROB),
    "insertion": Table((4, 4), _PROB),
    "insertion_letter": Table((4,), (1e-6, 1.0)),
    "insertion_length": Table((MAX_LENGTH,), _PROB),
    "long_insertion_bp": Table((), (MAX_LENGTH, MAX_INSERTION_BP)),
    "insertion_same_kind": Table((), _PROB),
    "merged": Table((), _PROB),
    "rate_spread": Table((3, 3), _SPREAD),
    "kinetics_spread": Table((2, 2), _SPREAD),
    "sn_log_mean": Table((4,), (-5.0, 7.0)),
    "sn_log_sd": Table((4,), _SPREAD),
    "sn_correlation": Table((), _PROB),
    "pw": Table((4, 4, len(QUANTILES)), (0.0, MAX_CODE)),
    "ip": Table((5, 4, len(QUANTILES)), (0.0, MAX_CODE)),
}


@dataclass(frozen=True)
class ErrorModel:
    """Tables of error rates and kinetics, float64; bases are A, C, G, T.

    deletion             [base, homopolymer length 1 to 8]: probability at the mean SN
    deletion_before      [base before, base]: factor on it where the base stands alone
    deletion_sn_slope    []: change of ln(probability) with ln(SN) of the base's channel
    substitution         [base before, base, read base]: probability, given that the base is read; 0 for the base itself
    copy                 [base, homopolymer length]: probability of an insertion that starts with the base again
    insertion            [base before, base]: probability of another insertion between the two
    insertion_letter     [letter]: weights of its letters, of which those of the two neighbours are left out
    insertion_length     [length 1 to 12]: probability; the last is that of all longer ones, too
    long_insertion_bp    []: mean length of these
    insertion_same_kind  []: probability that a further inserted letter is of the kind, copy or not, of the one before
    merged               []: of the deletions in homopolymers, the part whose pulse merges with a neighbour's
    rate_spread          [ZMW, read, window; substitutions, insertions, deletions]: sd of ln(rate)
    kinetics_spread      [ZMW, read; PW, IP]: sd of ln(mean)
    sn_log_mean          [channel]: mean of ln(SN) over ZMWs
    sn_log_sd            [channel]: its sd
    sn_correlation       []: between channels
    pw, ip               [kind, base, quantile]: codes at `QUANTILES`; the kinds are correct, substituted, copied (the
                         copy and the base itself), otherwise inserted and, for IP, correct after a missing base
    """

    deletion: np.ndarray
    deletion_before: np.ndarray
    deletion_sn_slope: np.ndarray
    substitution: np.ndarray
    copy: np.ndarray
    insertion: np.ndarray
    insertion_letter: np.ndarray
    insertion_length: np.ndarray
    long_insertion_bp: np.ndarray
    insertion_same_kind: np.ndarray
    merged: np.ndarray
    rate_spread: np.ndarray
    kinetics_spread: np.ndarray
    sn_log_mean: np.ndarray
    sn_log_sd: np.ndarray
    sn_correlation: np.ndarray
    pw: np.ndarray
    ip: np.ndarray

    @classmethod
    def from_dict(cls, tables: dict[str, Any]) -> ErrorModel:
        """The model whose tables are nested lists.

        Raises:
            ValueError: a table is missing, unknown, or of another shape or range than expected.
        """
        names = [field.name for field in fields(cls)]
        if set(tables) != set(names):
            odd = sorted(set(tables) ^ set(names))[0]
            problem = "missing" if odd in names else "unknown"
            raise ValueError(f"table '{odd}' is {problem}; expected {', '.join(names)}")
        return cls(**{name: _checked(name, tables[name]) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """The tables as nested lists, rounded to five significant digits."""
        return {field.name: _rounded(getattr(self, field.name)).tolist() for field in fields(self)}


def _checked(name: str, values: Any) -> np.ndarray:
    shape, (least, most) = TABLES[name]
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"table '{name}' is not of numbers in shape {list(shape)}") from None
    if table.shape != shape:
        raise ValueError(f"table '{name}' has shape {list(table.shape)}; expected {list(shape)}")
    if not ((least <= table) & (table <= most)).all():
        found = f"{table.min():g} to {table.max():g}"
        raise ValueError(f"table '{name}' has values from {found}; expected {least:g} to {most:g}")
    if name == "insertion_length" and table.sum() == 0:
        raise ValueError(f"table '{name}' has only zeros; expected probabilities")
    if name in ("pw", "ip") and (np.diff(table) < 0).any():
        raise ValueError(f"table '{name}': codes fall from one quantile to the next; expected them to rise")
    return table


def _rounded(table: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.5g}") for value in table.ravel()]).reshape(table.shape)


@dataclass(frozen=True)
class ErrorConditions:
    """What the passes of one ZMW share: `sn` [4], and factors on rates [3] and on mean PW and IP [2]."""

    sn: np.ndarray
    rate: np.ndarray
    kinetics: np.ndarray

    def mirrored(self, model: ErrorModel) -> ErrorConditions:
        """As far from the means of the model's logarithms, on the other side."""
        rate_sd, kinetics_sd = model.rate_spread[0], model.kinetics_spread[0]
        return ErrorConditions(
            np.exp(2 * model.sn_log_mean) / self.sn,
            np.exp(-(rate_sd**2)) / self.rate,
            np.exp(-(kinetics_sd**2)) / self.kinetics,
        )


def draw_conditions(model: ErrorModel, rng: np.random.Generator) -> ErrorConditions:
    """Signal-to-noise ratios, error rates and speed of a ZMW; its four channels are bright or dim together."""
    shared = np.sqrt(model.sn_correlation)
    score = shared * rng.standard_normal() + np.sqrt(1 - shared**2) * rng.standard_normal(4)
    log_sn = model.sn_log_mean + model.sn_log_sd * np.clip(score, -_SN_RANGE_SD, _SN_RANGE_SD)
    return ErrorConditions(np.exp(log_sn), _factors(model.rate_spread[0], rng), _factors(model.kinetics_spread[0], rng))


def _factors(sd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lognormal factors with mean 1, in the shape of `sd`."""
    return np.exp(sd * rng.standard_normal(sd.shape) - sd**2 / 2)


def read_template(
    template: bytes, conditions: ErrorConditions, model: ErrorModel, rng: np.random.Generator
) -> AlignedColumns:
    """One pass of the polymerase over a template; the columns say what happened, gaps wherever it happened.

    Args:
        template: letters A, C, G, T, 5' to 3' of the strand that the read resembles.
    """
    context = _Context.of(base_codes(template))
    rates = _rates_along(len(template), conditions, model, rng)
    missed = _happens(_deletion_prob(context, conditions.sn, model) * rates[DELETIONS], rng)
    read_bases = _substituted(context, model.substitution, rates[SUBSTITUTIONS], rng)
    inserted = _insertions(context, model, rates[INSERTIONS], rng)

    # The columns of a template base: what is inserted before it, then the base itself.
    column = np.cumsum(inserted.num_before + 1) - 1
    is_inserted = np.ones(len(column) + len(inserted.letters), dtype=bool)
    is_inserted[column] = False
    codes = np.full((2, len(is_inserted)), GAP_CODE, dtype=np.uint8)
    codes[0, column], codes[1, column] = context.bases, np.where(missed, GAP_CODE, read_bases)
    codes[1, is_inserted] = inserted.letters
    kind = np.empty(len(is_inserted), dtype=np.int64)
    kind[column] = np.where(inserted.is_copied, COPIED, CORRECT)
    kind[column[read_bases != context.bases]] = SUBSTITUTED
    kind[is_inserted] = np.where(inserted.is_copy, COPIED, RANDOM)

    merged = missed & (context.run_class > 0) & (rng.random(len(missed)) < model.merged)
    letters = np.where(codes[1] == GAP_CODE, codes[0], codes[1])
    kinetics = _draw_kinetics(model, letters, kind, _follows(column[missed & ~merged], codes[1]), rng)
    _merge_pulses_(kinetics[0], merged, column, context.bases)
    kinetics *= (conditions.kinetics * _factors(model.kinetics_spread[1], rng))[:, None]
    kinetics = np.clip(np.rint(kinetics), 0, MAX_CODE)
    kinetics[:, codes[1] == GAP_CODE] = NO_KINETICS
    return AlignedColumns(codes[0], codes[1], kinetics.astype(np.int16))


@dataclass(frozen=True)
class _Context:
    """The bases of a template, int64 [n], and what stands around each: the base before, its homopolymer's length."""

    bases: np.ndarray
    before: np.ndarray
    run_class: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> _Context:
        bases = codes.astype(np.int64)
        return cls(bases, np.concatenate([bases[:1], bases[:-1]]), np.minimum(run_lengths(bases), MAX_RUN) - 1)


def run_lengths(bases: np.ndarray) -> np.ndarray:
    """Length of the homopolymer that each base stands in, int64 [n]."""
    first = np.flatnonzero(np.diff(bases.astype(np.int16), prepend=-1))
    length = np.diff(first, append=len(bases))
    return np.repeat(length, length)


def _rates_along(length: int, conditions: ErrorConditions, model: ErrorModel, rng: np.random.Generator) -> np.ndarray:
    """Factors on the rates of a read, [3, length], constant in windows of 100 bases."""
    read = conditions.rate * _factors(model.rate_spread[1], rng)
    windows = _factors(np.tile(model.rate_spread[2], (length // SPREAD_WINDOW_BP + 1, 1)), rng)
    return np.repeat(read * windows, SPREAD_WINDOW_BP, axis=0)[:length].T


def _happens(prob: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(prob)) < np.minimum(prob, MAX_PROB)


def _deletion_prob(context: _Context, sn: np.ndarray, model: ErrorModel) -> np.ndarray:
    lone = np.where(context.run_class == 0, model.deletion_before[context.before, context.bases], 1)
    by_channel = np.exp(model.deletion_sn_slope * (np.log(sn) - model.sn_log_mean))
    return model.deletion[context.bases, context.run_class] * lone * by_channel[context.bases]


def _substituted(context: _Context, table: np.ndarray, rate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The bases as they are read."""
    before, bases = context.before, context.bases
    wrong = np.flatnonzero(_happens(table.sum(axis=2)[before, bases] * rate, rng))
    ends = table[before[wrong], bases[wrong]].cumsum(axis=1)
    read = bases.copy()
    read[wrong] = (rng.random(len(wrong))[:, None] * ends[:, -1:] >= ends).sum(axis=1)
    return read


@dataclass(frozen=True)
class _Insertions:
    """`num_before` [n]: letters before each base; `is_copied` [n]: the first is; `letters`, `is_copy` [inserted]."""

    num_before: np.ndarray
    is_copied: np.ndarray
    letters: np.ndarray
    is_copy: np.ndarray


def _insertions(context: _Context, model: ErrorModel, rate: np.ndarray, rng: np.random.Generator) -> _Insertions:
    copy = rate * model.copy[context.bases, context.run_class]
    other = rate * model.insertion[context.before, context.bases]
    at = np.flatnonzero(_happens(copy + other, rng))
    starts_as_copy = rng.random(len(at)) * (copy + other)[at] < copy[at]
    length = _insertion_lengths(len(at), model, rng)
    num_before, is_copied = np.zeros(len(copy), dtype=np.int64), np.zeros(len(copy), dtype=bool)
    num_before[at], is_copied[at] = length, starts_as_copy

    # Of the letters of an insertion, the one beside the base is of the kind drawn; each further one may change it.
    changes = rng.random(int(length.sum())) >= model.insertion_same_kind
    last = np.cumsum(length) - 1
    changes[last] = False
    num_changes = np.cumsum(changes[::-1])[::-1]
    is_copy = np.repeat(starts_as_copy, length) ^ ((num_changes - np.repeat(num_changes[last], length)) % 2 == 1)
    before, base = (np.repeat(bases[at], length) for bases in (context.before, context.bases))
    letters = np.where(is_copy, base, _other_letters(before, base, model.insertion_letter, rng))
    return _Insertions(num_before, is_copied, letters, is_copy)


def _insertion_lengths(num: int, model: ErrorModel, rng: np.random.Generator) -> np.ndarray:
    length = 1 + np.searchsorted(_cumulative(model.insertion_length), rng.random(num), side="right")
    tail = rng.geometric(1 / (model.long_insertion_bp - MAX_LENGTH + 1), num) - 1
    return np.where(length == MAX_LENGTH, np.minimum(MAX_LENGTH + tail, MAX_INSERTION_BP), length)


def _other_letters(before: np.ndarray, base: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Letters that differ from both neighbours."""
    weights = np.tile(weight, (4, 4, 1))
    for code in range(4):
        weights[code, :, code] = weights[:, code, code] = 0
    ends = _cumulative(weights)[before, base]
    return (rng.random(len(base))[:, None] >= ends).sum(axis=1)


def _cumulative(weights: np.ndarray) -> np.ndarray:
    """Upper ends of the choices on [0, 1), along the last axis, without the last choice."""
    ends = weights.cumsum(axis=-1)
    return ends[..., :-1] / ends[..., -1:]


def _follows(missed: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Of all columns, those of the first read base after each of the columns `missed`, bool [C]."""
    is_read = np.flatnonzero(read != GAP_CODE)
    following = np.searchsorted(is_read, missed)
    follows = np.zeros(len(read), dtype=bool)
    follows[is_read[following[following < len(is_read)]]] = True
    return follows


def _draw_kinetics(
    model: ErrorModel, letters: np.ndarray, kind: np.ndarray, is_late: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """PW and IP of each column, float64 [2, C]."""
    ip_kind = np.where(is_late & (kind == CORRECT), AFTER_DELETION, kind)
    return np.stack([_draw_quantiles(model.pw[kind, letters], rng), _draw_quantiles(model.ip[ip_kind, letters], rng)])


def _draw_quantiles(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draw from each distribution given by its codes at `QUANTILES`, [n, quantiles]."""
    prob = rng.random(len(codes))
    above = np.searchsorted(QUANTILES, prob, side="right")
    row = np.arange(len(codes))
    low, high = codes[row, above - 1], codes[row, above]
    return low + (high - low) * (prob - QUANTILES[above - 1]) / (QUANTILES[above] - QUANTILES[above - 1])


def _merge_pulses_(pw: np.ndarray, merged: np.ndarray, column: np.ndarray, bases: np.ndarray) -> None:
    """Adds the pulses of `merged` template bases to that of the next base of their homopolymer, or the one before."""
    at = np.flatnonzero(merged)
    has_next = np.append(bases[1:] == bases[:-1], False)[at]
    np.add.at(pw, column[np.where(has_next, at + 1, at - 1)], pw[column[at]])
