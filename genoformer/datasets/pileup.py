"""One molecule -> subreads spaced out against their CCS read -> windows that a model reads.

Subreads are laid over the CCS read base by base; where any of them has inserted bases, every other read gets a gap
there, so that all reads share columns. With the CCS read ACT, a subread ACGT and a subread AT:

    column      0 1 2 3
    CCS         A C   T
    subread 0   A C G T      2=1I1=
    subread 1   A     T      1=1D1=

The result equals DeepConsensus v1.2 (`preprocess/pre_lib.py`), column for column, without a loop over bases. Known
differences, all outside what that program can read: secondary and supplementary alignments are left out, IUPAC letters
count as gaps in the rows, and windows of a `wl` tag longer than the model's are kept as CCS in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genoformer.config import ConsensusConfig
from genoformer.errors import AlignmentError
from genoformer.genome.alphabet import pileup_codes
from genoformer.genome.quality import error_prob, phred
from genoformer.io.subreads import NUM_SN, CcsRead, Subread

FORWARD, REVERSE = 1, 2  # codes of the strand rows; 0 is an absent pass

# CIGAR operations M I D N S H P = X: which consume bases of the read and of the reference.
_CONSUMES_READ = np.array([1, 1, 0, 0, 1, 0, 0, 1, 1], dtype=bool)
_CONSUMES_REF = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1], dtype=bool)
_INSERTION, _SOFT_CLIP = 1, 4


@dataclass(frozen=True)
class Pileup:
    """Spaced columns of one molecule. P passes kept, W columns.

    `codes`, `pw`, `ip` uint8 [P, W] are 0 at gaps; `span` int64 [P, 2] is the half-open column range from the first to
    the last base of a pass; `strand` uint8 [P]; `sn` float32 [4] of the first subread;
    `ccs_codes` uint8 [W]; `ccs_index` int64 [W] is the CCS position, -1 at gaps; `ccs_quals` int16 [W], -1 at gaps.
    """

    ccs: CcsRead
    codes: np.ndarray
    pw: np.ndarray
    ip: np.ndarray
    span: np.ndarray
    strand: np.ndarray
    sn: np.ndarray
    ccs_codes: np.ndarray
    ccs_index: np.ndarray
    ccs_quals: np.ndarray
    num_subreads: int
    num_trimmed_bases: int

    @property
    def num_columns(self) -> int:
        """W, the number of spaced columns."""
        return len(self.ccs_codes)


@dataclass(frozen=True)
class Windows:
    """Windows of a pileup that hold at least one CCS base, from left to right; all arrays [n].

    `start`, `length` in columns; `ccs_start`, `ccs_end` half-open CCS positions; `overflows` marks windows longer
    than the model's (smart windows only), `ccs_phred` is the mean-error Phred of the CCS bases.
    """

    start: np.ndarray
    length: np.ndarray
    ccs_start: np.ndarray
    ccs_end: np.ndarray
    overflows: np.ndarray
    ccs_phred: np.ndarray
    num_empty: int

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Placement:
    """Where the kept bases of one subread go: reference positions and insertion slots before spacing."""

    kept: np.ndarray  # [n] bool, bases that are not clipped or trimmed
    ref: np.ndarray  # [kept] reference position; for an inserted base the position it stands before
    rank: np.ndarray  # [kept] place within its insertion, -1 for aligned bases
    end: int  # reference position after the last one covered
    num_trimmed: int


def build_pileup(ccs: CcsRead, subreads: list[Subread], max_passes: int = 20, max_insertion: int = 5) -> Pileup:
    """The spaced pileup of one molecule.

    Args:
        subreads: in file order; those beyond `max_passes` take part in the spacing but have no rows.
        max_insertion: longer insertions are removed; 0 keeps all.
    Raises:
        AlignmentError: a subread that reaches beyond its CCS read.
    """
    ccs_length = len(ccs.sequence)
    placements = [place_read(subread, max_insertion, ccs) for subread in subreads]
    slot_width = np.zeros(ccs_length + 1, dtype=np.int64)
    for placement in placements:
        inserted = placement.rank >= 0
        np.maximum.at(slot_width, placement.ref[inserted], placement.rank[inserted] + 1)

    # The columns of slot p are the inserted bases before CCS position p, then the CCS base itself.
    base_column = np.arange(ccs_length + 1) + np.cumsum(slot_width)
    num_columns = int(base_column[ccs_length])  # the last slot holds what is inserted after the CCS read
    features = np.zeros((3, min(len(subreads), max_passes), num_columns), dtype=np.uint8)
    span = np.zeros((features.shape[1], 2), dtype=np.int64)
    for row, (subread, placement) in enumerate(zip(subreads[:max_passes], placements, strict=False)):
        column = base_column[placement.ref]
        inserted = placement.rank >= 0
        column[inserted] += (placement.rank - slot_width[placement.ref])[inserted]
        for feature, values in zip(features, (subread.codes, subread.pw, subread.ip), strict=True):
            feature[row, column] = values[placement.kept]
        if len(column):
            span[row] = column[0], column[-1] + 1

    ccs_index = np.full(num_columns, -1, dtype=np.int64)
    ccs_index[base_column[:ccs_length]] = np.arange(ccs_length)
    at_base = base_column[:ccs_length]
    ccs_codes = np.zeros(num_columns, dtype=np.uint8)
    ccs_codes[at_base] = pileup_codes(ccs.sequence)
    ccs_quals = np.full(num_columns, -1, dtype=np.int16)
    ccs_quals[at_base] = ccs.quals
    strand = np.array([REVERSE if s.is_reverse else FORWARD for s in subreads[:max_passes]], dtype=np.uint8)
    sn = subreads[0].sn if subreads else np.zeros(NUM_SN, dtype=np.float32)
    num_trimmed = sum(placement.num_trimmed for placement in placements)
    codes, pw, ip = features
    return Pileup(
        ccs, codes, pw, ip, span, strand, sn, ccs_codes, ccs_index, ccs_quals, len(subreads), num_trimmed
    )  # fmt: skip


def place_read(subread: Subread, max_insertion: int, ccs: CcsRead) -> Placement:
    """Where the bases of a read lie on its CCS read; insertions longer than `max_insertion` are dropped, 0 keeps all.

    Raises:
        AlignmentError: a CIGAR that reaches beyond the CCS read, or with an unknown operation.
    """
    op, length = subread.cigar & 15, (subread.cigar >> 4).astype(np.int64)
    if (op >= len(_CONSUMES_READ)).any():
        raise AlignmentError(f"read {subread.name}: CIGAR operation {int(op.max())}; expected 0 to 8")
    read_length, ref_length = length * _CONSUMES_READ[op], length * _CONSUMES_REF[op]
    ref_start = subread.start + np.cumsum(ref_length) - ref_length
    end = int(subread.start + ref_length.sum())
    if end > len(ccs.sequence):
        raise AlignmentError(
            f"read {subread.name}: aligned to {ccs.name}:{subread.start}-{end}, which has {len(ccs.sequence)} bases; "
            "check that the subreads and CCS files belong together"
        )
    is_insertion = op == _INSERTION
    trimmed = is_insertion & (length > max_insertion) if max_insertion > 0 else np.zeros(len(op), dtype=bool)
    kept = np.repeat(~trimmed & (op != _SOFT_CLIP), read_length)

    # Inserted bases of neighbouring operations (1I 1I, or around a trimmed one) queue up in one slot.
    inserted = np.where(is_insertion & ~trimmed, length, 0)
    inserted_before = np.cumsum(inserted) - inserted
    slot_base = np.maximum.accumulate(np.where(ref_length > 0, inserted_before, 0))
    read_start = np.cumsum(read_length) - read_length
    within = np.arange(read_length.sum()) - np.repeat(read_start, read_length)
    of_insertion = np.repeat(is_insertion, read_length)
    ref = np.repeat(ref_start, read_length) + np.where(of_insertion, 0, within)
    rank = np.where(of_insertion, np.repeat(inserted_before - slot_base, read_length) + within, -1)
    return Placement(kept, ref[kept], rank[kept], end, int(length[trimmed].sum()))


def cut_windows(pileup: Pileup, config: ConsensusConfig, smart_windows: bool = False) -> Windows:
    """The windows of a pileup.

    Args:
        smart_windows: take the widths, in CCS bases, from the CCS read's `wl` tag instead of a fixed length.
    Raises:
        AlignmentError: `wl` is missing or does not add up to the CCS read.
    """
    step = config.window_length - config.window_padding
    if smart_windows:
        ends = _smart_ends(pileup)
        start = np.concatenate([[0], ends[:-1]])
        length = ends - start
    else:
        ccs_columns = int(np.flatnonzero(pileup.ccs_index >= 0)[-1]) + 1
        start = np.arange(0, ccs_columns, step)
        length = np.full(len(start), step)
    # CCS positions run through the columns in order, so a count of bases gives each window's range.
    bases_before = np.concatenate([[0], np.cumsum(pileup.ccs_index >= 0)])
    ccs_start = bases_before[start]
    ccs_end = bases_before[np.minimum(start + length, pileup.num_columns)]
    filled = ccs_end > ccs_start
    start, length, ccs_start, ccs_end = (values[filled] for values in (start, length, ccs_start, ccs_end))
    prob = error_prob(pileup.ccs.quals)
    mean_prob = [prob[a:b].sum() / (b - a) for a, b in zip(ccs_start.tolist(), ccs_end.tolist(), strict=True)]
    num_empty = int((~filled).sum())
    return Windows(
        start, length, ccs_start, ccs_end, length > config.window_length, phred(np.array(mean_prob)), num_empty
    )


def _smart_ends(pileup: Pileup) -> np.ndarray:
    lengths = pileup.ccs.window_lengths
    num_bases = len(pileup.ccs.sequence)
    usable = lengths is not None and lengths.dtype.kind in "iu" and (lengths > 0).all()
    if lengths is None or not usable or lengths.sum() != num_bases:
        found = "no wl tag" if lengths is None else f"wl {lengths.tolist()[:5]}... adding up to {lengths.sum()}"
        raise AlignmentError(
            f"CCS read {pileup.ccs.name} has {found}; expected window lengths for {num_bases} bases; "
            "leave out --smart-windows"
        )
    at_base = np.flatnonzero(pileup.ccs_index >= 0)
    return at_base[np.cumsum(lengths) - 1] + 1


def window_rows(
    pileup: Pileup, windows: Windows, chosen: np.ndarray, config: ConsensusConfig, dtype: npt.DTypeLike = np.int16
) -> np.ndarray:
    """Model input of the chosen windows, [n, R, L]: bases, PW, IP and strand of the passes, CCS, [its quality], SN.

    Args:
        chosen: indices of windows, none of which overflows.
        dtype: float32 keeps the fraction of SN, int16 cuts it off as the model does.
    Source: DeepConsensus v1.2, `pre_lib.DcConfig` and `DcExample.extract_features`.
    """
    passes, kept, length = config.max_passes, len(pileup.strand), config.window_length
    rows: np.ndarray = np.zeros((len(chosen), config.num_rows, length), dtype=dtype)
    column = windows.start[chosen, None] + np.arange(length)  # [n, L]
    inside = (np.arange(length) < windows.length[chosen, None]) & (column < pileup.num_columns)
    column = np.where(inside, column, 0)
    for feature, values in enumerate((pileup.codes, pileup.pw, pileup.ip)):
        first = feature * passes
        rows[:, first : first + kept] = (values[:, column] * inside).transpose(1, 0, 2)
    rows[:, 3 * passes : 3 * passes + kept] = pileup.strand[:, None]
    rows[:, 4 * passes] = pileup.ccs_codes[column] * inside
    if config.use_ccs_quality:
        rows[:, 4 * passes + 1] = np.where(inside, pileup.ccs_quals[column], -1)
    rows[:, -NUM_SN:] = np.clip(pileup.sn, 0, np.iinfo(np.int16).max)[:, None]
    return rows
