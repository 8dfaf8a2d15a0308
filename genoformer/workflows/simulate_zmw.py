"""One simulated ZMW: a molecule, passes over it on alternating strands, and a draft consensus of some of them.

The draft makes natural mistakes because it is a vote, in columns laid along the molecule, of about half of the passes:
it knows nothing that those passes do not say. All passes are then aligned to the draft through the shared columns.

Deviation from `ccs`: its drafts come from a hidden Markov model over all passes. The share here leaves a corrector as
much to mend as real drafts do (mostly the lengths of homopolymers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genoformer.datasets.pileup import Pileup, build_pileup
from genoformer.genome.alphabet import pileup_codes, pileup_letters, reverse_complement
from genoformer.genome.error_model import ErrorConditions, draw_conditions, read_template
from genoformer.genome.gapped import GappedPair
from genoformer.genome.quality import MAX_FASTQ_QUALITY, error_prob, phred
from genoformer.io.alignments import CCS, SUBREAD, AlignedRead, Tags, read_group_id
from genoformer.io.reads import OutputRead
from genoformer.io.subreads import CcsRead, Subread
from genoformer.models.vote import vote

ADAPTER_BP = 45  # between two passes in the coordinates of the polymerase read
ADAPTER_BEFORE, ADAPTER_AFTER = 1, 2  # bits of the `cx` tag
SUBREAD_QUALITY = 0.8  # the constant `rq` of Sequel subreads

# A first pass may start, and a last pass end, within the molecule; but three full ones remain, as `ccs` asks for.
MIN_FULL_PASSES = 3
PARTIAL_FIRST_PROB, PARTIAL_LAST_PROB = 0.3, 0.6
PARTIAL_SHARE = (0.2, 0.9)

DRAFT_SHARE = 0.5  # of the passes, rounded up to an odd number, since ties in a vote are deletions
DRAFT_QUALITY_SD = 3.0  # Phred


@dataclass(frozen=True)
class SimulatedZmw:
    """Truth, draft and subreads of one ZMW; the truth has the strand of the draft.

    `num_draft_errors` counts the columns in which draft and truth differ: no less than their edit distance.
    """

    truth: bytes
    draft: OutputRead
    subreads: tuple[AlignedRead, ...]
    num_draft_errors: int


@dataclass(frozen=True)
class _Pass:
    """A pass aligned to a reference (the truth, later the draft), from an aligned base to an aligned base.

    `pw` and `ip` run in the read's own orientation, like `query_start`, its place in the polymerase read.
    """

    pair: GappedPair
    start: int
    is_reverse: bool
    pw: np.ndarray
    ip: np.ndarray
    query_start: int
    context: int

    @property
    def is_full(self) -> bool:
        return self.context == ADAPTER_BEFORE | ADAPTER_AFTER

    @property
    def read(self) -> bytes:
        return self.pair.read.replace(b"-", b"")

    def normalise(self) -> _Pass:
        """The pass with its gaps to the left and its ends trimmed to aligned bases, kinetics included."""
        pair, ref_left, left, right = self.pair.left_align().trim()
        head, tail = (right, left) if self.is_reverse else (left, right)
        kept = slice(head, len(self.pw) - tail)
        return replace(
            self, pair=pair, start=self.start + ref_left, pw=self.pw[kept], ip=self.ip[kept],
            query_start=self.query_start + head,
        )  # fmt: skip


def simulate_zmw(
    truth: bytes, num_passes: int, movie: str, hole: int, ref_id: int, rng: np.random.Generator
) -> SimulatedZmw:
    """Passes over a molecule and their draft consensus.

    Args:
        truth: the molecule, letters A, C, G, T.
        num_passes: at least 1; up to three, all are full.
        ref_id: index of the draft among the references of the subreads' BAM file.
    """
    conditions = draw_conditions(rng)
    passes = _draw_passes(truth, num_passes, conditions, rng)
    pileup = _pileup_on_truth(truth, passes)
    codes, error = _vote_draft(pileup, _draft_passes(passes, rng))
    is_base = codes > 0
    sn: tuple[str, str, np.ndarray] = ("sn", "B", conditions.sn.astype(np.float32))
    quals = phred(error[is_base]) + rng.normal(0, DRAFT_QUALITY_SD, int(is_base.sum()))
    quals = np.clip(np.rint(quals), 1, MAX_FASTQ_QUALITY).astype(np.uint8)
    tags: Tags = (
        ("RG", "Z", read_group_id(movie, CCS)),
        ("ec", "f", float(np.mean([len(one.pair.ref.replace(b"-", b"")) for one in passes])) * num_passes / len(truth)),
        ("np", "i", sum(one.is_full for one in passes)),
        ("rq", "f", float(1 - error_prob(quals).mean())),
        sn,
        ("zm", "i", hole),
    )
    draft = OutputRead(f"{movie}/{hole}/ccs", pileup_letters(codes[is_base]), quals, tags)
    on_draft = _align_to_draft(passes, pileup, codes)
    subreads = tuple(_aligned_read(one, movie, hole, ref_id, sn) for one in on_draft)
    return SimulatedZmw(truth, draft, subreads, int((codes != pileup.ccs_codes).sum()))


def _draw_passes(truth: bytes, num_passes: int, conditions: ErrorConditions, rng: np.random.Generator) -> list[_Pass]:
    """Passes in the order of the polymerase, aligned to the truth."""
    query_start, is_reverse, passes = 0, bool(rng.random() < 0.5), []
    for index in range(num_passes):
        start, end, context = _native_span(len(truth), index, num_passes, rng)
        template = (reverse_complement(truth) if is_reverse else truth)[start:end]
        noisy = read_template(template, conditions, rng)
        pair = noisy.pair.reverse_complement() if is_reverse else noisy.pair
        truth_start = len(truth) - end if is_reverse else start
        one = _Pass(pair, truth_start, is_reverse, noisy.pw, noisy.ip, query_start, context)
        passes.append(one.normalise())
        query_start += len(noisy.pw) + ADAPTER_BP
        is_reverse = not is_reverse
    return passes


def _native_span(length: int, index: int, num_passes: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Template range of a pass along its own strand, and its `cx` tag."""
    partial = round(length * rng.uniform(*PARTIAL_SHARE))
    draw = rng.random()
    if index == 0 and num_passes > MIN_FULL_PASSES + 1 and draw < PARTIAL_FIRST_PROB:
        return length - partial, length, ADAPTER_AFTER
    if index == num_passes - 1 and num_passes > MIN_FULL_PASSES and draw < PARTIAL_LAST_PROB:
        return 0, partial, ADAPTER_BEFORE
    return 0, length, ADAPTER_BEFORE | ADAPTER_AFTER


def _pileup_on_truth(truth: bytes, passes: list[_Pass]) -> Pileup:
    """The passes in spaced columns along the truth, which stands where the CCS read usually does."""
    no_quals = np.zeros(len(truth), dtype=np.uint8)
    rows = [
        Subread("", pileup_codes(one.read), one.pair.cigar(), one.start, one.is_reverse, one.pw, one.ip, no_quals)
        for one in passes
    ]
    return build_pileup(CcsRead("truth", truth, no_quals), rows, max_passes=len(rows), max_insertion=0)


def _draft_passes(passes: list[_Pass], rng: np.random.Generator) -> np.ndarray:
    """Indices of the passes that vote on the draft: full ones first."""
    wanted = max(MIN_FULL_PASSES, int(len(passes) * DRAFT_SHARE) | 1)
    order = rng.permutation(len(passes))
    is_partial = np.array([not passes[index].is_full for index in order])
    return order[np.argsort(is_partial, kind="stable")][:wanted]


def _vote_draft(pileup: Pileup, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draft codes of the truth's columns and their error probabilities; a column that nobody covers is a gap."""
    nothing = np.zeros(pileup.num_columns, dtype=np.uint8)
    return vote(pileup.codes[chosen], pileup.span[chosen], nothing, nothing)


def _align_to_draft(passes: list[_Pass], pileup: Pileup, draft_codes: np.ndarray) -> list[_Pass]:
    draft_before = np.concatenate([[0], np.cumsum(draft_codes > 0)])
    aligned = []
    for one, row, (start, end) in zip(passes, pileup.codes, pileup.span.tolist(), strict=True):
        filled = (draft_codes[start:end] > 0) | (row[start:end] > 0)
        ref, read = (pileup_letters(codes[start:end][filled]).replace(b" ", b"-") for codes in (draft_codes, row))
        aligned.append(replace(one, pair=GappedPair(ref, read), start=int(draft_before[start])).normalise())
    return aligned


def _aligned_read(one: _Pass, movie: str, hole: int, ref_id: int, sn: tuple[str, str, np.ndarray]) -> AlignedRead:
    query_end = one.query_start + len(one.pw)
    tags: Tags = (
        ("RG", "Z", read_group_id(movie, SUBREAD)),
        ("cx", "i", one.context),
        ("ip", "B", one.ip),
        ("np", "i", 1),
        ("pw", "B", one.pw),
        ("qe", "i", query_end),
        ("qs", "i", one.query_start),
        ("rq", "f", SUBREAD_QUALITY),
        sn,
        ("zm", "i", hole),
    )
    name = f"{movie}/{hole}/{one.query_start}_{query_end}"
    return AlignedRead(name, one.read, one.pair.cigar(), ref_id, one.start, one.is_reverse, tags)
