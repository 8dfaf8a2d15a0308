"""The tables of an error model from counts over aligned reads.

An aligner that minimises edits explains part of the errors otherwise than they came about (an insertion beside a
deletion as a mismatch), so counts alone give biased tables. `corrected` mends that: simulate with the tables, align and
count in the same way, and move each table by what comes out wrong; a few rounds suffice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from genoformer.genome.error_counts import ErrorCounts, ReadRates
from genoformer.genome.error_model import (
    CORRECT,
    MAX_CODE,
    MAX_INSERTION_BP,
    MAX_LENGTH,
    QUANTILES,
    TABLES,
    ErrorModel,
)

MIN_SPREAD_BP = 500  # shorter reads say little about how rates differ
MIN_ZMWS = 3  # for what differs between them

# What is rare is taken to be like what it is a case of; that counts as much as so many observations.
_PSEUDO_BASES, _PSEUDO_CODES = 500.0, 200.0
_LETTER_ROUNDS = 50
_MAX_STEP = 2.0  # a rate changes by at most this factor in a round
_CODE_TABLES = ("pw", "ip")
_SN_TABLES = ("sn_log_mean", "sn_log_sd", "sn_correlation", "deletion_sn_slope")


def estimate_model(counts: ErrorCounts, fallback: ErrorModel) -> ErrorModel:
    """The tables as the counts have them.

    Args:
        counts: of at least one read.
        fallback: its kinetics and what differs between ZMWs stay where the reads do not tell.
    """
    deletion = _by_run(counts.run_missed, counts.run_bases)
    lone_missed = _shrunk(counts.lone_missed, counts.lone_bases, deletion[:, 0])
    model = replace(
        fallback,
        deletion=deletion,
        deletion_before=np.where(np.eye(4, dtype=bool), 1, lone_missed / np.maximum(deletion[:, 0], 1e-9)),
        substitution=_substitution(counts.read_as),
        copy=_by_run(counts.run_copies, counts.run_bases),
        insertion=_shrunk(counts.inserted_between, counts.between, _share(counts.inserted_between, counts.between)),
        insertion_letter=_letter_weights(counts.other_letters),
        insertion_length=_shares(counts.insertion_lengths + np.eye(MAX_LENGTH)[0]),
        long_insertion_bp=np.clip(_share(*counts.long_insertions), MAX_LENGTH, MAX_INSERTION_BP),
        insertion_same_kind=_share(*counts.pairs_inserted),
        rate_spread=_rate_spread(counts.reads),
    )
    return _with_kinetics(_with_sn(model, counts.reads), counts)


def corrected(model: ErrorModel, wanted: ErrorModel, found: ErrorModel) -> ErrorModel:
    """`model` moved by what separates the tables `found` in reads simulated with it from those `wanted`."""
    tables = {}
    for name in (field.name for field in fields(model)):
        old, goal, came = (getattr(one, name) for one in (model, wanted, found))
        if name in _SN_TABLES:
            tables[name] = goal
        elif name in _CODE_TABLES:
            tables[name] = np.maximum.accumulate(np.clip(old + goal - came, 0, MAX_CODE), axis=-1)
        else:
            step = np.divide(goal, came, out=np.ones_like(goal), where=came > 0)
            tables[name] = np.clip(old * np.clip(step, 1 / _MAX_STEP, _MAX_STEP), *TABLES[name].limits)
    return ErrorModel(**tables)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(part) / max(float(np.sum(whole)), 1.0))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum()


def _shrunk(events: np.ndarray, chances: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Rates of events, drawn to the usual rate where there were few chances."""
    return (events + _PSEUDO_BASES * usual) / (chances + _PSEUDO_BASES)


def _by_run(events: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Rates by base and homopolymer length; a rare length is drawn to the length below it."""
    rates = [_shrunk(events[:, 0], bases[:, 0], _share(events, bases))]
    for length in range(1, bases.shape[1]):
        rates.append(_shrunk(events[:, length], bases[:, length], rates[-1]))
    return np.stack(rates, axis=1)


def _substitution(read_as: np.ndarray) -> np.ndarray:
    by_base = read_as.sum(axis=0)
    usual = by_base / np.maximum(by_base.sum(axis=1, keepdims=True), 1)
    prob = _shrunk(read_as, read_as.sum(axis=2, keepdims=True), usual)
    return np.where(np.eye(4, dtype=bool), 0, prob)


def _letter_weights(counts: np.ndarray) -> np.ndarray:
    """Weights that make the letters drawn between two neighbours, which they differ from, as frequent as counted.

    Source: Hunter, Annals of Statistics 32:384 (2004), the fixed-point iteration for choices from varying sets.
    """
    may = np.ones((4, 4, 4))
    for code in range(4):
        may[code, :, code] = may[:, code, code] = 0
    wins, choices = counts.sum(axis=(0, 1)) + 1, counts.sum(axis=2) + 1
    weight = np.full(4, 0.25)
    for _ in range(_LETTER_ROUNDS):
        weight = _shares(wins / (may * (choices / (may @ weight))[..., None]).sum(axis=(0, 1)))
    return weight


def _rate_spread(reads: Sequence[ReadRates]) -> np.ndarray:
    """Standard deviations of ln(rate) beyond what chance explains, [ZMW, read, window; kind]."""
    long = [one for one in reads if one.num_bases >= MIN_SPREAD_BP] or list(reads)
    events = np.array([one.events for one in long], dtype=np.float64) + 0.5
    log_rate = np.log(events / np.array([[one.num_bases] for one in long]))
    spread = _group_spread(log_rate, [one.zmw for one in long], 1 / events)
    return np.vstack([spread, _window_spread(long)])


def _group_spread(values: np.ndarray, groups: list[str], noise: np.ndarray) -> np.ndarray:
    """Standard deviations between groups and within them, [2, kinds], of `values` [n, kinds] with variances `noise`."""
    members = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    means = np.array([values[rows].mean(axis=0) for rows in members.values()])
    squares = sum(((values[rows] - values[rows].mean(axis=0)) ** 2).sum(axis=0) for rows in members.values())
    within_total = squares / max(len(values) - len(members), 1)
    between = np.zeros(values.shape[1])
    if len(members) >= MIN_ZMWS:
        per_mean = np.mean([1 / len(rows) for rows in members.values()])
        between = means.var(axis=0, ddof=1) - per_mean * np.maximum(within_total, noise.mean(axis=0))
    return np.sqrt(np.maximum([between, within_total - noise.mean(axis=0)], 0))


def _window_spread(reads: Sequence[ReadRates]) -> np.ndarray:
    """The same between windows of a read, [kinds], from the variance of counts over their mean squared."""
    excess, square = np.zeros(3), np.zeros(3)
    for windows in (one.windows for one in reads if len(one.windows) > 1):
        mean = windows.mean(axis=0)
        excess += len(windows) * (windows.var(axis=0, ddof=1) - mean)
        square += len(windows) * mean**2
    return np.sqrt(np.log1p(np.maximum(excess / np.maximum(square, 1), 0)))


def _with_sn(model: ErrorModel, reads: Sequence[ReadRates]) -> ErrorModel:
    sn: dict[str, np.ndarray] = {}
    deletions: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((4, 2)))
    for one in reads:
        if one.sn is not None and (one.sn > 0).all():
            sn[one.zmw] = one.sn
            deletions[one.zmw] += one.base_deletions
    if len(sn) < MIN_ZMWS:
        return model
    log_sn = np.log(np.array(list(sn.values()), dtype=np.float64))
    missed, chances = np.array([deletions[zmw] for zmw in sn]).transpose(2, 0, 1)
    score = (log_sn - log_sn.mean(axis=0)) / np.maximum(log_sn.std(axis=0), 1e-9)
    pairs = (score.T @ score / len(score))[np.triu_indices(4, 1)]
    return replace(
        model,
        sn_log_mean=log_sn.mean(axis=0),
        sn_log_sd=log_sn.std(axis=0, ddof=1),
        sn_correlation=np.clip(pairs.mean(), 0, 1),
        deletion_sn_slope=_slope(log_sn, np.log((missed + 0.5) / (chances + 1)), missed),
    )


def _slope(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Slope of y over x within columns, at most 0."""
    total = np.maximum(weight.sum(axis=0), 1e-9)
    x, y = (values - (weight * values).sum(axis=0) / total for values in (x, y))
    return np.clip((weight * x * y).sum() / max((weight * x * x).sum(), 1e-9), TABLES["deletion_sn_slope"].limits[0], 0)


def _with_kinetics(model: ErrorModel, counts: ErrorCounts) -> ErrorModel:
    means = [one.kinetics for one in counts.reads if one.kinetics is not None]
    if not means:
        return model
    zmws = [one.zmw for one in counts.reads if one.kinetics is not None]
    logs = np.log(np.maximum(np.array(means), 1))
    codes = np.arange(MAX_CODE + 1)
    mean_pw = (counts.pw[CORRECT] * codes).sum(axis=1) / np.maximum(counts.pw[CORRECT].sum(axis=1), 1)
    total_pw, num_read, num_runs = counts.short_runs.T
    return replace(
        model,
        merged=np.clip(_share(total_pw - num_read * mean_pw, num_runs * mean_pw), 0, 1),
        kinetics_spread=_group_spread(logs, zmws, np.zeros_like(logs)),
        pw=_quantiles(counts.pw),
        ip=_quantiles(counts.ip),
    )


def _quantiles(histogram: np.ndarray) -> np.ndarray:
    """Codes at `QUANTILES` of each histogram over codes; one with few counts is drawn to that of correct bases."""
    usual = _shares(histogram[CORRECT].sum(axis=0))
    drawn = (histogram + _PSEUDO_CODES * usual).reshape(-1, histogram.shape[-1])
    edges = np.arange(-1, histogram.shape[-1]) + 0.5
    table = np.array([_inverse(np.concatenate([[0], row.cumsum() / row.sum()]), edges) for row in drawn])
    return np.clip(table, 0, MAX_CODE).reshape(*histogram.shape[:-1], len(QUANTILES))


def _inverse(cumulative: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Where a cumulative distribution passes `QUANTILES`; it may have flat parts."""
    first, last = np.argmax(cumulative > 0) - 1, np.argmax(cumulative >= cumulative[-1] - 1e-12)
    return np.interp(QUANTILES, cumulative[first : last + 1], edges[first : last + 1])
