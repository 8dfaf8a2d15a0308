"""`genoformer consensus draft`: a draft consensus of each ZMW, from raw subreads alone.

What becomes of the ZMWs that get none:

    too few full passes     left out and counted (`--min-passes`); a pass that is shorter than 50 bases, or longer than
                            `--max-length`, does not count
    passes that do not      left out and counted: none aligns to what the full ones have in common
    align to one another

With `--min-passes 1` a single full pass is its own draft, which partial passes improve; with 0, the longest partial
pass stands in where there is no full one. Such drafts have low qualities.

Drafts come in the order of the subreads, whatever the number of processes. Memory is bounded by the ZMWs in flight;
of a ZMW, all subreads are held, and at most `--max-passes` of them looked at.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from genoformer import __version__
from genoformer.errors import AlignmentError, UsageError
from genoformer.genome.quality import error_prob
from genoformer.io.aligner import aligner_versions
from genoformer.io.bam import LENGTH_FIELD_BYTES, BamReader, encode_unmapped
from genoformer.io.partial_order import partial_order_version
from genoformer.io.raw_subreads import RawSubread, decode_raw_subread, iterate_raw_zmws
from genoformer.io.read_groups import ccs_read_groups
from genoformer.io.reads import ReadWriter, header_with_program, write_json
from genoformer.io.shards import shard_range
from genoformer.io.zmws import SeenZmws
from genoformer.workflows.draft_zmw import Draft, DraftSettings, draft_molecule, has_enough_passes
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.output import summary_path

_AHEAD_PER_WORKER = 4  # ZMWs


@dataclass(frozen=True)
class DraftOptions:
    """What to draft; the command line's options of the same names. `shard` is (i, n) with 1 <= i <= n."""

    subreads: str
    output: str
    settings: DraftSettings = field(default_factory=DraftSettings)
    threads: int | None = None
    shard: tuple[int, int] | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        if not self.output.endswith(".bam"):
            raise UsageError(f"output '{self.output}': expected a name ending in .bam")
        self.settings.check()
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}; expected at least 1")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(f"--shard is {self.shard[0]}/{self.shard[1]}; expected i/N with 1 <= i <= N")
        paths = [Path(path).resolve() for path in (self.subreads, self.output, summary_path(self.output))]
        if len(set(paths)) != len(paths):
            raise UsageError("subreads, output and its summary must be different files")


@dataclass
class DraftCounts:
    """What became of the ZMWs of a run."""

    zmws: int = 0
    subreads: int = 0
    drafts: int = 0
    bases: int = 0
    too_few_passes: int = 0
    not_alike: int = 0

    def add_(self, other: DraftCounts) -> None:
        """Adds the counts of other ZMWs."""
        for count in fields(self):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))


@dataclass(frozen=True)
class DraftTask:
    """Raw records of a ZMW; picklable. `key` is movie/hole, `next_offset` the virtual offset of the next ZMW."""

    key: str
    read_group: str | None
    records: list[bytes]
    path: Path
    settings: DraftSettings
    next_offset: int

    @property
    def zmw(self) -> int:
        """Hole number."""
        return int(self.key.rsplit("/", 1)[1])


@dataclass(frozen=True)
class DraftedZmw:
    """The draft of a ZMW as a BAM record without its length field; None where there is none."""

    record: bytes | None
    counts: DraftCounts
    next_offset: int


def draft(options: DraftOptions, on_progress: Callable[[int, float], None] | None = None) -> dict[str, Any]:
    """Drafts all molecules of a file, or of one shard of it; returns the summary.

    Args:
        on_progress: called with the number of ZMWs done and the part of the input read.
    Raises:
        UsageError: options that cannot work, or the extra `align` is not installed.
        DataError: input that is damaged, output that cannot be written.
    """
    began = time.perf_counter()
    options.check()
    versions = drafting_versions()
    with BamReader(options.subreads) as subreads:
        writer = ReadWriter(options.output, draft_header(subreads, _command(options)))
        try:
            counts = _run(options, subreads, writer, on_progress)
            if counts.zmws == 0 and options.shard is None:
                raise AlignmentError(f"{options.subreads}: holds no reads; expected raw subreads")
            writer.end()
        except BaseException:
            writer.discard()
            raise
    run = {"version": __version__, "packages": versions, "seconds": round(time.perf_counter() - began, 3)}
    summary = {"command": _command(options), "counts": vars(counts), "run": run}
    write_json(summary_path(options.output), summary)
    writer.publish()
    return summary


def drafting_versions() -> str:
    """Names and versions of the packages that drafts need.

    Raises:
        UsageError: one is not installed.
    """
    return f"{aligner_versions()}, {partial_order_version()}"


def draft_header(subreads: BamReader, command: str) -> str:
    """The header of drafts from a file of raw subreads."""
    text, _ = ccs_read_groups(subreads.header.text)
    return header_with_program(text, __version__, command, drafting_versions())


def _command(options: DraftOptions) -> str:
    """The command line for @PG: without folders, and without flags that cannot change a record."""
    return " ".join(["genoformer consensus draft", Path(options.subreads).name, *options.settings.flags()])


def _run(
    options: DraftOptions,
    subreads: BamReader,
    writer: ReadWriter,
    on_progress: Callable[[int, float], None] | None,
) -> DraftCounts:
    threads = options.threads or len(os.sched_getaffinity(0))
    num_workers = 0 if threads == 1 else threads
    start, end = shard_range(subreads, options.shard) if options.shard else (None, None)
    tasks = draft_tasks(subreads, options.settings, start, end)
    counts = DraftCounts()
    with contextlib.closing(ordered_map(draft_zmw, tasks, num_workers, _AHEAD_PER_WORKER * threads)) as drafted:
        for zmw in drafted:
            if zmw.record is not None:
                writer.write_record(zmw.record)
            counts.add_(zmw.counts)
            if on_progress is not None:
                on_progress(counts.zmws, (zmw.next_offset >> 16) / subreads.file.size_bytes)
    return counts


def draft_tasks(
    subreads: BamReader, settings: DraftSettings, start: int | None = None, end: int | None = None
) -> Iterator[DraftTask]:
    """The ZMWs that begin at virtual offsets in [start, end).

    Raises:
        AlignmentError: as `iterate_raw_zmws`, or a ZMW in two places.
    """
    _, read_groups = ccs_read_groups(subreads.header.text)
    seen = SeenZmws(subreads.path)
    for group in iterate_raw_zmws(subreads, start, end):
        seen.add(group.key)
        key = group.key.decode()
        read_group = read_groups.get(key.rsplit("/", 1)[0])
        yield DraftTask(key, read_group, group.records, subreads.path, settings, group.next_offset)


def draft_zmw(task: DraftTask) -> DraftedZmw:
    """Drafts a ZMW: what a worker process does.

    Raises:
        AlignmentError: a damaged record.
    """
    subreads = [decode_raw_subread(record, task.path) for record in task.records]
    counts = DraftCounts(zmws=1, subreads=len(subreads))
    record = None
    if not has_enough_passes(subreads, task.settings):
        counts.too_few_passes = 1
    elif (drafted := draft_molecule(subreads, task.settings)) is None:
        counts.not_alike = 1
    else:
        counts.drafts, counts.bases = 1, len(drafted.sequence)
        record = _record(task, drafted, subreads)
    return DraftedZmw(record, counts, task.next_offset)


def _record(task: DraftTask, drafted: Draft, subreads: list[RawSubread]) -> bytes:
    """A record with the tags that `ccs` writes."""
    rq = 1 - float(error_prob(drafted.quals).mean())
    tags: list[tuple[str, str, Any]] = [("RG", "Z", task.read_group)] if task.read_group else []
    tags += [("ec", "f", drafted.effective_coverage), ("np", "i", drafted.num_passes), ("rq", "f", rq)]
    tags += [("sn", "B", subreads[0].sn)] if subreads[0].sn.any() else []
    tags += [("zm", "i", task.zmw)]
    return encode_unmapped(f"{task.key}/ccs", drafted.sequence, drafted.quals, tags)[LENGTH_FIELD_BYTES:]
