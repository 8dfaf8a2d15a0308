"""`genoformer consensus align`: raw subreads aligned to their CCS reads, as `correct` takes them.

Each subread is aligned to the CCS read of its ZMW. What becomes of the others:

    a ZMW without a CCS read                        left out and counted
    a subread that does not belong to its CCS read  left out and counted: no hit of minimap2, and more than 30 % of it
                                                    differ from the best place that edlib finds
    a ZMW with a CCS read a strand (`ccs --by-strand`, names end in /fwd and /rev)
                                                    such a read lies in the sense of sequencing and is made from the
                                                    passes of its own strand: it gets the subreads that align forward;
                                                    those of a strand without a CCS read are left out and counted
    a CCS read without subreads                     is a reference in the header, with no alignment

Records come in the order of the raw subreads, whatever the number of processes. Memory is bounded by the ZMWs in
flight and by the names of the CCS reads.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from genoformer import __version__
from genoformer.errors import AlignmentError, UsageError
from genoformer.io.aligned_bam import AlignedBam, bgzf_blocks, encode_aligned
from genoformer.io.aligner import CcsAligner, SubreadAlignment, aligner_versions
from genoformer.io.bam import BamReader, BamRecord, record_name
from genoformer.io.ccs_table import CcsTable
from genoformer.io.raw_subreads import iterate_raw_zmws
from genoformer.io.reads import header_with_program
from genoformer.io.shards import shard_range
from genoformer.workflows.ordered_map import ordered_map

logger = logging.getLogger(__name__)

_AHEAD_PER_WORKER = 4  # ZMWs
_BY_STRAND = (b"/fwd", b"/rev")


@dataclass(frozen=True)
class AlignOptions:
    """What to align; the command line's options of the same names. `shard` is (i, n) with 1 <= i <= n."""

    subreads: str
    ccs: str
    output: str
    threads: int | None = None
    shard: tuple[int, int] | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        if not self.output.endswith(".bam"):
            raise UsageError(f"output '{self.output}': expected a name ending in .bam")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}; expected at least 1")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(f"--shard is {self.shard[0]}/{self.shard[1]}; expected i/N with 1 <= i <= N")
        if len({Path(path).resolve() for path in (self.subreads, self.ccs, self.output)}) != 3:
            raise UsageError("subreads, CCS reads and output must be different files")


@dataclass
class AlignCounts:
    """What became of the subreads of a run."""

    zmws: int = 0
    zmws_without_ccs: int = 0
    subreads: int = 0
    subreads_without_ccs: int = 0
    aligned: int = 0
    unaligned: int = 0
    other_strand: int = 0

    def add_(self, other: AlignCounts) -> None:
        """Adds the counts of other ZMWs."""
        for count in fields(self):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))


@dataclass(frozen=True)
class ZmwTask:
    """Raw records of a ZMW; picklable. `ccs` holds (number in its file, record); without any, `subreads` is empty.

    `next_offset` is the virtual offset in the subreads file where the next ZMW starts.
    """

    ccs: list[tuple[int, bytes]]
    subreads: list[bytes]
    num_subreads: int
    subreads_path: Path
    ccs_path: Path
    next_offset: int


@dataclass(frozen=True)
class AlignedZmw:
    """Compressed aligned records of a ZMW."""

    blocks: bytes
    counts: AlignCounts
    next_offset: int


def align(options: AlignOptions, on_progress: Callable[[int, float], None] | None = None) -> AlignCounts:
    """Aligns all subreads of a file, or of one shard of it; returns what became of them.

    Args:
        on_progress: called with the number of ZMWs done and the part of the input read.
    Raises:
        UsageError: options that cannot work, or the extra `align` is not installed.
        DataError: input that is damaged or does not fit together, output that cannot be written.
    """
    options.check()
    versions = aligner_versions()
    with BamReader(options.subreads) as subreads:
        output = AlignedBam(options.output)
        try:
            with CcsTable(options.ccs) as ccs:
                text = header_with_program(subreads.header.text, __version__, _command(options), versions)
                output.write_header(text, ccs)
                counts = _run(options, subreads, ccs, output, on_progress)
                _check_counts(counts, options)
            output.finish()
        except BaseException:
            output.discard()
            raise
    return counts


def _command(options: AlignOptions) -> str:
    """The command line for @PG: without folders, and without flags that cannot change a record."""
    return f"genoformer consensus align {Path(options.subreads).name} {Path(options.ccs).name}"


def _run(
    options: AlignOptions,
    subreads: BamReader,
    ccs: CcsTable,
    output: AlignedBam,
    on_progress: Callable[[int, float], None] | None,
) -> AlignCounts:
    threads = options.threads or len(os.sched_getaffinity(0))
    num_workers = 0 if threads == 1 else threads
    start, end = shard_range(subreads, options.shard) if options.shard else (None, None)
    tasks = _tasks(subreads, ccs, start, end)
    counts = AlignCounts()
    with contextlib.closing(ordered_map(align_zmw, tasks, num_workers, _AHEAD_PER_WORKER * threads)) as aligned:
        for zmw in aligned:
            output.write_blocks(zmw.blocks)
            counts.add_(zmw.counts)
            if on_progress is not None:
                on_progress(counts.zmws, (zmw.next_offset >> 16) / subreads.file.size_bytes)
    return counts


def _tasks(subreads: BamReader, ccs: CcsTable, start: int | None, end: int | None) -> Iterator[ZmwTask]:
    is_done = np.zeros(len(ccs), dtype=bool)
    for group in iterate_raw_zmws(subreads, start, end):
        indices = ccs.find(group.key)
        if is_done[indices].any():
            raise AlignmentError(
                f"{subreads.path}: subreads of ZMW {group.key.decode()} are in two places; expected them together: "
                "sort with 'samtools sort -n'"
            )
        is_done[indices] = True
        yield ZmwTask(
            [(index, ccs.record(index)) for index in indices],
            group.records if indices else [],
            len(group.records),
            subreads.path,
            ccs.path,
            group.next_offset,
        )


def align_zmw(task: ZmwTask) -> AlignedZmw:
    """Aligns and compresses the subreads of a ZMW: what a worker process does.

    Raises:
        AlignmentError: a damaged record.
    """
    records, counts = aligned_records(task)
    return AlignedZmw(bgzf_blocks(b"".join(records)), counts, task.next_offset)


def aligned_records(task: ZmwTask) -> tuple[list[bytes], AlignCounts]:
    """The aligned records of a ZMW, their length fields included, and what became of its subreads.

    Raises:
        AlignmentError: a damaged record.
    """
    counts = AlignCounts(zmws=1, subreads=task.num_subreads)
    if not task.ccs:
        counts.zmws_without_ccs, counts.subreads_without_ccs = 1, task.num_subreads
        return [], counts
    references = [_Reference.of(index, raw, task.ccs_path) for index, raw in task.ccs]
    records = []
    for raw in task.subreads:
        record = BamRecord(raw, task.subreads_path)
        index, found = _best(references, record.sequence)
        if found is None:
            counts.unaligned += 1
        elif index is None:
            counts.other_strand += 1
        else:
            records.append(encode_aligned(record, raw, index, found))
    counts.aligned = len(records)
    return records, counts


@dataclass(frozen=True)
class _Reference:
    index: int
    is_by_strand: bool
    aligner: CcsAligner = field(repr=False)

    @classmethod
    def of(cls, index: int, raw: bytes, path: Path) -> _Reference:
        return cls(index, record_name(raw).endswith(_BY_STRAND), CcsAligner(BamRecord(raw, path).sequence))


def _best(references: list[_Reference], sequence: bytes) -> tuple[int | None, SubreadAlignment | None]:
    """The first CCS read that takes a subread, and its alignment; no CCS read where all are of the other strand."""
    other = None
    for reference in references:
        found = reference.aligner.align(sequence)
        if found is not None and not (reference.is_by_strand and found.is_reverse):
            return reference.index, found
        other = other or found
    return None, other


def _check_counts(counts: AlignCounts, options: AlignOptions) -> None:
    if options.shard is not None and counts.zmws == counts.zmws_without_ccs:  # a small shard may have none
        logger.warning("shard %d/%d: none of its %d ZMWs has a CCS read", *options.shard, counts.zmws)
    elif counts.zmws == 0:
        raise AlignmentError(f"{options.subreads}: holds no reads; expected raw subreads")
    elif counts.zmws == counts.zmws_without_ccs:
        raise AlignmentError(
            f"{options.subreads}: none of its {counts.zmws:,} ZMWs has a CCS read in {options.ccs}; "
            "check that the two files belong together"
        )
