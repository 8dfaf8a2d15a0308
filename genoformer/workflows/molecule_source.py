"""Where the molecules of a run come from: subreads aligned to CCS reads, or raw subreads that drafts are made of.

Shards, resumed runs and progress go by virtual offsets in the subreads file, whichever it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genoformer.io.bam import LENGTH_FIELD_BYTES, BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.read_groups import ccs_read_groups
from genoformer.io.subreads import CcsRead, RawMolecule, iterate_molecules
from genoformer.workflows.align import ZmwTask, aligned_records
from genoformer.workflows.draft import DraftTask, draft_tasks, draft_zmw
from genoformer.workflows.draft_zmw import DraftSettings
from genoformer.workflows.prepare import Calls, PreparedMolecule, PrepareSettings, prepare_molecule


@dataclass(frozen=True)
class MoleculeSource:
    """Molecules of an open file.

    `header_text` is the SAM header for their reads. `items` gives the picklable items of the ZMWs that begin at virtual
    offsets in [start, end), `prepare(item, settings=...)` makes a molecule of one in a worker process.
    """

    subreads: BamReader
    header_text: str
    items: Callable[[int | None, int | None], Iterator[Any]]
    prepare: Callable[..., PreparedMolecule]


@contextmanager
def open_molecules(subreads: str, ccs: str | None, draft: DraftSettings) -> Iterator[MoleculeSource]:
    """The molecules of subreads aligned to the CCS reads of a file; without one, of raw subreads.

    Raises:
        AlignmentError: a file that is damaged or no BAM file.
    """
    with BamReader(subreads) as reader:
        if ccs is None:
            text, _ = ccs_read_groups(reader.header.text)
            yield MoleculeSource(
                reader, text, lambda start, end: draft_tasks(reader, draft, start, end), prepare_raw_zmw
            )
            return
        with CcsFinder(ccs) as finder:
            yield MoleculeSource(
                reader,
                finder.header.text,
                lambda start, end: iterate_molecules(reader, finder, start, end),
                prepare_molecule,
            )


def prepare_raw_zmw(task: DraftTask, settings: PrepareSettings) -> PreparedMolecule:
    """Drafts a ZMW, aligns its subreads and cuts its windows; without a draft, or subreads on it, it has no bases.

    Raises:
        AlignmentError: a damaged record, or one that the model cannot use.
    """
    began = time.perf_counter()
    record = draft_zmw(task).record
    if record is None:
        return _without_draft(task, time.perf_counter() - began)
    to_align = ZmwTask([(0, record)], task.records, len(task.records), task.path, task.path, task.next_offset)
    aligned, counts = aligned_records(to_align)
    if not aligned:
        return _without_draft(task, time.perf_counter() - began)
    subreads = [one[LENGTH_FIELD_BYTES:] for one in aligned]
    raw = RawMolecule(f"{task.key}/ccs", task.zmw, record, subreads, counts.unaligned, task.next_offset)
    return replace(prepare_molecule(raw, settings), seconds=time.perf_counter() - began)


def _without_draft(task: DraftTask, seconds: float) -> PreparedMolecule:
    nothing = np.zeros((0, 0))
    return PreparedMolecule(
        task.zmw,
        CcsRead(f"{task.key}/ccs", b"", np.zeros(0, np.uint8)),
        ccs_range=np.zeros((0, 2), np.int64),
        is_called=np.zeros(0, dtype=bool),
        rows=None,
        calls=Calls(nothing.astype(np.uint8), nothing.astype(np.float32)),
        num_subreads=0,
        num_unusable=len(task.records),
        num_trimmed_bases=0,
        num_overflowing=0,
        num_empty=0,
        next_offset=task.next_offset,
        seconds=seconds,
    )
