"""The raw subreads of a ZMW made into a draft of its molecule.

1  The full pass of median length is the seed; those that align to most of it are turned to its strand.
2  abPOA takes the consensus of up to six of them, those nearest to the median length.
3  All passes, up to a limit, are aligned to it; `polish` makes the edits that they ask for. Where that changes much,
   they are aligned and asked again.

The draft has the strand of the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genoformer.genome.alphabet import pileup_codes, pileup_letters, reverse_complement
from genoformer.genome.polish import PlacedPass, polish
from genoformer.genome.quality import MAX_FASTQ_QUALITY, phred
from genoformer.genome.read_odds import read_odds
from genoformer.io.aligner import MIN_SEARCHED_BASES, CcsAligner, SubreadAlignment
from genoformer.io.partial_order import partial_order_consensus
from genoformer.io.raw_subreads import RawSubread

MAX_PARTIAL_ORDER_PASSES = 6  # the rest are heard when polishing
_MAX_SEEDS = 3
_WHOLE_SHARE = 0.8  # of the seed, from which on a pass counts as whole
_MANY_EDITS_SHARE = 0.01
_MAX_PLACEMENTS = 3


@dataclass(frozen=True)
class DraftSettings:
    """What makes a draft: at least `min_passes` full passes, at most `max_passes` passes of all."""

    min_passes: int = 3
    max_passes: int = 30


@dataclass(frozen=True)
class Draft:
    """A draft: letters, Phred qualities uint8 [n], full passes and mean depth of all passes that it is made from."""

    sequence: bytes
    quals: np.ndarray
    num_passes: int
    effective_coverage: float


def draft_molecule(subreads: Sequence[RawSubread], settings: DraftSettings | None = None) -> Draft | None:
    """The draft of a molecule; None where there are too few full passes, or they do not align to one another.

    Args:
        subreads: of one ZMW, in the order of sequencing.
    """
    settings = settings or DraftSettings()
    best = best_passes(subreads, settings.max_passes)
    num_full = sum(one.is_full for one in best)
    if not best or num_full < settings.min_passes:
        return None
    template = _partial_order_template(best[: max(num_full, 1)])
    for _ in range(_MAX_PLACEMENTS):
        placed = _placed(best, template)
        if not placed:
            return None
        polished = polish(pileup_codes(template), placed)
        template = pileup_letters(polished.codes)
        if polished.num_edits <= _MANY_EDITS_SHARE * len(template):
            break
    depth = sum(one.end - one.start for one in placed) / len(template)
    return Draft(template, _quals(polished.error_prob), num_full, depth)


def best_passes(subreads: Sequence[RawSubread], max_passes: int) -> list[RawSubread]:
    """The passes that count, the best first: full ones by how near to their median length, then others, long first."""
    usable = [one for one in subreads if len(one.sequence) >= MIN_SEARCHED_BASES]
    full = [one for one in usable if one.is_full]
    median = sorted(len(one.sequence) for one in full)[len(full) // 2] if full else 0
    full.sort(key=lambda one: abs(len(one.sequence) - median))
    partial = sorted((one for one in usable if not one.is_full), key=lambda one: -len(one.sequence))
    return (full + partial)[:max_passes]


def _partial_order_template(passes: Sequence[RawSubread]) -> bytes:
    """The consensus of the whole ones among full passes, the best first; without a second one, the best alone."""
    whole: list[bytes] = []
    for seed in passes[:_MAX_SEEDS]:
        found = _whole_passes(_letters(seed), passes)
        whole = max(whole, found, key=len)
        if 2 * len(whole) > min(len(passes), MAX_PARTIAL_ORDER_PASSES):
            break
    return partial_order_consensus(whole) if len(whole) > 1 else whole[0]


def _whole_passes(seed: bytes, passes: Sequence[RawSubread]) -> list[bytes]:
    """Passes that align to most of the seed, and it to most of them, along its strand; as many as abPOA takes."""
    aligner, whole = CcsAligner(seed), []
    for one in passes:
        letters = _letters(one)
        found = aligner.align(letters)
        if found is not None and _covers_most(found, len(seed), len(letters)):
            whole.append(reverse_complement(letters) if found.is_reverse else letters)
        if len(whole) == MAX_PARTIAL_ORDER_PASSES:
            break
    return whole


def _covers_most(found: SubreadAlignment, seed_length: int, pass_length: int) -> bool:
    local = found.local
    return (
        local.ref_end - local.ref_start >= _WHOLE_SHARE * seed_length
        and local.read_end - local.read_start >= _WHOLE_SHARE * pass_length
    )


def _placed(passes: Sequence[RawSubread], template: bytes) -> list[PlacedPass]:
    """The passes that align to the template, along it."""
    aligner, placed = CcsAligner(template), []
    for one in passes:
        letters = _letters(one)
        found = aligner.align(letters)
        if found is None:
            continue
        along = slice(None, None, -1 if found.is_reverse else 1)
        codes = pileup_codes(reverse_complement(letters) if found.is_reverse else letters)
        odds = read_odds(codes, one.pw[along], one.ip[along], one.sn, found.is_reverse)
        places = found.local.places(len(template), len(codes))
        placed.append(PlacedPass(codes, odds, places, found.local.ref_start, found.local.ref_end))
    return placed


def _letters(subread: RawSubread) -> bytes:
    """The bases of a subread; A for what is none, which the other passes mend."""
    return pileup_letters(np.maximum(pileup_codes(subread.sequence), 1))


def _quals(error_prob: np.ndarray) -> np.ndarray:
    """Phred qualities, uint8 [n]."""
    return np.clip(np.rint(phred(error_prob)), 1, MAX_FASTQ_QUALITY).astype(np.uint8)
