"""The raw subreads of a ZMW made into a draft of its molecule.

1  The full pass of median length is the seed; those that align to most of it are turned to its strand.
2  abPOA takes the consensus of up to six of them, those nearest to the median length.
3  All passes, up to a limit, are aligned to it; `polish` makes the edits that they ask for. Where that changes much,
   they are aligned and asked again.

The draft has the strand of the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from genoformer.errors import UsageError
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
    """What drafts are made from: `min_passes` full passes or more, `max_passes` of `max_length` bases at the most."""

    min_passes: int = 3
    max_passes: int = 30
    max_length: int = 50_000

    def check(self) -> None:
        """Raises UsageError on the first setting that cannot work."""
        for flag, value, least in (
            ("--min-passes", self.min_passes, 0),
            ("--max-passes", self.max_passes, max(self.min_passes, 1)),
            ("--max-length", self.max_length, MIN_SEARCHED_BASES),
        ):
            if value < least:
                raise UsageError(f"{flag} is {value}; expected at least {least}")

    def flags(self) -> list[str]:
        """The settings that are not the default, as on the command line."""
        defaults = DraftSettings()
        return [
            f"--{setting.name.replace('_', '-')} {getattr(self, setting.name)}"
            for setting in fields(self)
            if getattr(self, setting.name) != getattr(defaults, setting.name)
        ]


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
    if not has_enough_passes(subreads, settings):
        return None
    best = best_passes(subreads, settings)
    num_full = sum(one.is_full for one in best)
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


def has_enough_passes(subreads: Sequence[RawSubread], settings: DraftSettings) -> bool:
    """Whether there are as many full passes as a draft asks for, and any pass at all."""
    best = best_passes(subreads, settings)
    return bool(best) and sum(one.is_full for one in best) >= settings.min_passes


def best_passes(subreads: Sequence[RawSubread], settings: DraftSettings) -> list[RawSubread]:
    """The passes that count, the best first: full ones by how near to their median length, then others, long first."""
    usable = [one for one in subreads if MIN_SEARCHED_BASES <= len(one.sequence) <= settings.max_length]
    full = [one for one in usable if one.is_full]
    median = sorted(len(one.sequence) for one in full)[len(full) // 2] if full else 0
    full.sort(key=lambda one: abs(len(one.sequence) - median))
    partial = sorted((one for one in usable if not one.is_full), key=lambda one: -len(one.sequence))
    return (full + partial)[: settings.max_passes]


def _partial_order_template(passes: Sequence[RawSubread]) -> bytes:
    """The consensus of the whole ones among full passes, the best first; without a second one, the best alone."""
    whole: list[bytes] = []
    for seed in passes[:_MAX_SEEDS]:
        found = _whole_passes(_letters(seed), passes)
        whole = max(whole, found, key=len)
        if 2 * len(whole) > min(len(passes), MAX_PARTIAL_ORDER_PASSES):
            break
    return partial_order_consensus(whole)


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
