"""One raw molecule -> windows for the model: what a worker process does. Imports neither torch nor pysam."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.config import ConsensusConfig
from genoformer.datasets.pileup import build_pileup, cut_windows, window_rows
from genoformer.errors import AlignmentError
from genoformer.io.subreads import CcsRead, RawMolecule, decode_ccs, decode_subread
from genoformer.models.vote import vote


@dataclass(frozen=True)
class PrepareSettings:
    """How molecules become windows.

    `skip_above`: windows whose CCS bases have a mean-error Phred above it keep the CCS; 0 skips none.
    """

    subreads_path: Path
    ccs_path: Path
    config: ConsensusConfig
    use_vote: bool
    skip_above: float
    max_insertion: int
    smart_windows: bool


@dataclass(frozen=True)
class Calls:
    """Called codes uint8 [n, L] and their error probabilities float32 [n, L]; code 0 emits nothing."""

    codes: np.ndarray
    error_prob: np.ndarray


@dataclass(frozen=True)
class PreparedMolecule:
    """A molecule ready for the model. n windows, m of them for the model.

    `ccs_range` int64 [n, 2] is each window's half-open CCS range, `is_called` bool [n] marks the m windows for the
    model, `rows` [m, R, L] are their inputs; a vote needs no model and fills `calls` instead.
    """

    zmw: int
    ccs: CcsRead
    ccs_range: np.ndarray
    is_called: np.ndarray
    rows: np.ndarray | None
    calls: Calls | None
    num_subreads: int
    num_unusable: int
    num_trimmed_bases: int
    num_overflowing: int
    num_empty: int
    next_offset: int | None
    seconds: float

    @property
    def num_called(self) -> int:
        """m, the number of windows for the model."""
        return int(self.is_called.sum())


def prepare_molecule(raw: RawMolecule, settings: PrepareSettings) -> PreparedMolecule:
    """Decodes a molecule and cuts its windows.

    Raises:
        AlignmentError: a record that cannot be used.
    """
    began = time.perf_counter()
    ccs = decode_ccs(raw.ccs, settings.ccs_path)
    decoded = [decode_subread(record, settings.subreads_path, not settings.use_vote) for record in raw.subreads]
    subreads = [subread for subread in decoded if subread is not None]
    num_unusable = raw.num_unusable + len(decoded) - len(subreads)
    try:
        pileup = build_pileup(ccs, subreads, settings.config.max_passes, settings.max_insertion)
        windows = cut_windows(pileup, settings.config, settings.smart_windows)
    except AlignmentError as error:
        raise AlignmentError(f"{settings.subreads_path}, {settings.ccs_path}: {error}") from None
    skipped = windows.ccs_phred > settings.skip_above if settings.skip_above else np.zeros(len(windows), dtype=bool)
    is_called = ~windows.overflows & ~skipped if subreads else np.zeros(len(windows), dtype=bool)
    chosen = np.flatnonzero(is_called)
    rows = calls = None
    if settings.use_vote:
        calls = _vote_calls(*vote(pileup.codes, pileup.span, pileup.ccs_codes, pileup.ccs_quals),
                            windows.start[chosen], windows.length[chosen])  # fmt: skip
    else:
        rows = window_rows(pileup, windows, chosen, settings.config)
    return PreparedMolecule(
        raw.zmw,
        ccs,
        np.stack([windows.ccs_start, windows.ccs_end], axis=1),
        is_called,
        rows,
        calls,
        num_subreads=len(subreads),
        num_unusable=num_unusable,
        num_trimmed_bases=pileup.num_trimmed_bases,
        num_overflowing=int(windows.overflows.sum()),
        num_empty=windows.num_empty,
        next_offset=raw.next_offset,
        seconds=time.perf_counter() - began,
    )


def _vote_calls(codes: np.ndarray, error_prob: np.ndarray, start: np.ndarray, length: np.ndarray) -> Calls:
    """Column calls [W] cut into windows [m, L], gaps beyond a window's end."""
    within = np.arange(int(length.max(initial=0)))
    column = start[:, None] + within
    inside = (within < length[:, None]) & (column < len(codes))
    column = np.where(inside, column, 0)
    return Calls((codes[column] * inside).astype(np.uint8), error_prob[column])
