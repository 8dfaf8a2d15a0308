"""How likely each error at a base of a pass is against the base read right: by its letter, neighbours and kinetics.

The figures are few and rough on purpose: one rate a kind of error, deletions by the signal-to-noise ratio of the base's
channel, and densities of pulse width (PW) and inter-pulse duration (IP) that tell true bases from inserted ones. They
were measured on 84 Sequel I subreads of six ZMWs (966 kb) aligned to their truth. PW and IP count in units of their
mean over the pass, so that another speed of the polymerase or frame rate changes nothing.

Letters are pileup codes (gap and N 0, A, T, C, G), as in a pileup.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SUBSTITUTION_PROB = 0.0156  # of a base, to any of three letters
INSERTION_PROB = 0.067  # of a base more, before each
COPIED_SHARE = 0.36  # of inserted bases: copies of a neighbour, beside those that equal one by chance
INSERTED_LETTER_PROB = np.array([0.25, 0.25, 0.30, 0.15, 0.30])  # by code

# ln(deletion) = offset + slope ln(SN), times a factor: an aligner pairs some deletions with insertions.
DELETION_FACTOR, DELETION_OFFSET, DELETION_SLOPE = 1.42, -1.27, -1.17
USUAL_SN = np.array([5.6, 10.6, 5.0, 8.6])  # A, C, G, T
LEAST_SN = 1.0

# Kinds of read bases. PW is lognormal (mean and sd of ln), IP gamma (mean, shape); both as measured, in codes.
CORRECT, SUBSTITUTED, COPIED, RANDOM = range(4)
MEAN_PW, MEAN_IP = 16.4, 17.9
PW_LOG_MEAN = np.array([2.52, 1.65, 2.30, 1.55])
PW_LOG_SD = np.array([0.76, 1.05, 0.92, 1.10])
CORRECT_PW_MEAN = np.array([16.6, 14.6, 13.5, 21.9, 18.3])  # by code, in place of the first PW_LOG_MEAN
IP_MEAN = np.array([17.3, 18.9, 20.6, 23.7])
IP_SHAPE = np.array([0.85, 0.85, 0.70, 0.45])
MAX_PW_LOG_ODDS, MAX_IP_LOG_ODDS = 3.0, 2.0

_COMPLEMENT = np.array([0, 2, 1, 4, 3], dtype=np.uint8)
_CHANNEL = np.array([0, 0, 3, 1, 2])  # of each code, among A, C, G, T; N takes that of A
_LEAST_CODE = 0.5  # stands in for 0 in logarithms


@dataclass(frozen=True)
class ReadOdds:
    """Odds of errors of a pass, float32.

    `substitution` [n] of each read base for one other letter of the template, `insertion` [n] of each read base for
    none, `deletion` [5] of a template base that is not read, by its code.
    """

    substitution: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray


def read_odds(codes: np.ndarray, pw: np.ndarray, ip: np.ndarray, sn: np.ndarray, is_reverse: bool) -> ReadOdds:
    """The odds of a pass that lies along a template.

    Args:
        codes: uint8 [n], n at least 1.
        pw, ip: CodecV1 codes uint8 [n], along the template too; zeros alone say nothing.
        sn: [4], A, C, G, T as sequenced; zeros alone take usual ones.
        is_reverse: the pass was sequenced along the other strand.
    """
    native = _COMPLEMENT[codes] if is_reverse else codes
    before, after = np.append(np.uint8(0), codes[:-1]), np.append(codes[1:], np.uint8(0))
    equals_neighbour = (codes == before) | (codes == after)
    copied = COPIED_SHARE * ((codes == before) * 0.5 + (codes == after) * 0.5)
    drawn = (1 - COPIED_SHARE) * INSERTED_LETTER_PROB[native]
    log_odds = _kinetic_log_odds(native, pw, ip)  # [4, n]
    inserted = np.where(equals_neighbour, log_odds[COPIED], log_odds[RANDOM])
    return ReadOdds(
        (SUBSTITUTION_PROB / 3 * np.exp(log_odds[SUBSTITUTED])).astype(np.float32),
        (INSERTION_PROB * (copied + drawn) * np.exp(inserted)).astype(np.float32),
        _deletion_odds(sn, is_reverse),
    )


def _deletion_odds(sn: np.ndarray, is_reverse: bool) -> np.ndarray:
    by_code = np.maximum(sn if sn.any() else USUAL_SN, LEAST_SN)[_CHANNEL]
    odds = DELETION_FACTOR * np.exp(DELETION_OFFSET + DELETION_SLOPE * np.log(by_code))
    return (odds[_COMPLEMENT] if is_reverse else odds).astype(np.float32)


def _kinetic_log_odds(native: np.ndarray, pw: np.ndarray, ip: np.ndarray) -> np.ndarray:
    """ln of how much likelier PW and IP are for each kind of base than for a correct one, [4, n]."""
    log_odds = np.zeros((4, len(native)))
    if pw.any():
        width = np.log(np.maximum(pw, _LEAST_CODE) * (MEAN_PW / pw.mean()))
        log_mean = np.log(CORRECT_PW_MEAN[native]) - PW_LOG_SD[CORRECT] ** 2 / 2
        correct = _lognormal(width, log_mean, PW_LOG_SD[CORRECT])
        for kind in (SUBSTITUTED, COPIED, RANDOM):
            odds = _lognormal(width, PW_LOG_MEAN[kind], PW_LOG_SD[kind]) - correct
            log_odds[kind] += np.clip(odds, -MAX_PW_LOG_ODDS, MAX_PW_LOG_ODDS)
    if ip.any():
        pause = np.maximum(ip, _LEAST_CODE) * (MEAN_IP / ip.mean())
        for kind in (COPIED, RANDOM):
            odds = _log_gamma_density(pause, kind) - _log_gamma_density(pause, CORRECT)
            log_odds[kind] += np.clip(odds, -MAX_IP_LOG_ODDS, MAX_IP_LOG_ODDS)
    return log_odds


def _lognormal(log_value: np.ndarray, log_mean: np.ndarray | float, log_sd: float) -> np.ndarray:
    """ln of the density of ln(value), but for a constant."""
    return -0.5 * ((log_value - log_mean) / log_sd) ** 2 - math.log(log_sd)


def _log_gamma_density(value: np.ndarray, kind: int) -> np.ndarray:
    shape = float(IP_SHAPE[kind])
    scale = float(IP_MEAN[kind]) / shape
    return (shape - 1) * np.log(value) - value / scale - shape * math.log(scale) - math.lgamma(shape)
