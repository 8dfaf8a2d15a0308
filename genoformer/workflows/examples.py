"""`genoformer consensus examples`: labelled pileup windows for training, as HDF5 shards.

Writes `SPLIT-iiiii-of-nnnnn.h5` for train, eval and test, and `examples-iiiii-of-nnnnn.summary.json` with the
original's counters. A molecule's split is that of the chromosome that its truth lies on.

Source: DeepConsensus v1.2, `preprocess.py` and `pre_lib.create_proc_feeder`.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer import __version__
from genoformer.config import ConsensusConfig
from genoformer.datasets.labels import ADJUSTED, OVERFLOW, window_labels
from genoformer.datasets.pileup import build_pileup, cut_windows, window_rows
from genoformer.errors import DataError
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.examples import Examples, ExampleWriter
from genoformer.io.shards import shard_range
from genoformer.io.subreads import RawMolecule, Subread, decode_ccs, decode_subread, iterate_molecules
from genoformer.io.truth import (
    SPLITS,
    TruthFinder,
    decode_truth,
    is_supplementary,
    read_truth_bed,
    read_truth_split,
)
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.shard_files import shard_suffix, shard_writers, write_examples_summary

_INSERTION = 1
_REASONS = (
    "n_zmw_missing_truth_range", "n_zmw_no_label_alignment", "n_zmw_truth_label_supp_alignment",
    "n_zmw_missing_contig_split",
)  # fmt: skip
_AHEAD_PER_WORKER = 4


@dataclass(frozen=True)
class ExamplesOptions:
    """What to make examples of; `shard` is (i, n) with 1 <= i <= n."""

    subreads: str
    ccs: str
    truth_to_ccs: str
    truth_bed: str
    truth_split: str
    out_dir: Path
    genome: str = "human"
    max_passes: int = 20
    window_length: int = 100
    ins_trim: int = 5
    smart_windows: bool = False
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)
    num_workers: int = 0

    @property
    def config(self) -> ConsensusConfig:
        """Shape of the windows; quality is stored beside the rows."""
        return ConsensusConfig(max_passes=self.max_passes, window_length=self.window_length)


@dataclass(frozen=True)
class _Labelled:
    """A molecule on its way to a worker: its raw records, its truth and its split, or why it has none."""

    raw: RawMolecule
    truth: bytes | None
    split: str | None
    missing: str | None  # the counter of what is missing


@dataclass(frozen=True)
class _Made:
    """What a worker made of a molecule."""

    name: str
    split: str | None
    examples: Examples | None
    counts: Counter[str]
    ends_zmw: bool


def make_examples(options: ExamplesOptions, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Writes the shards of all splits; returns the summary.

    Raises:
        UsageError: options that cannot work.
        DataError: damaged input, or files that do not belong together.
        OutputError: the folder or a file cannot be written.
    """
    suffix = shard_suffix(options.shard)
    counts: Counter[str] = Counter()
    with shard_writers(options.out_dir, suffix, SPLITS, functools.partial(new_writer, options.config)) as writers:
        for made in _made(options):
            counts.update(made.counts)
            if made.split is not None and made.examples is not None:
                writers[made.split].append(made.name, made.examples)
            if on_progress is not None:
                on_progress(counts["n_zmw_processed"])
        _check_any_passed(counts, options)
    summary = dict(counts) | _provenance(options)
    return write_examples_summary(options.out_dir, suffix, SPLITS, summary)


def _check_any_passed(counts: Counter[str], options: ExamplesOptions) -> None:
    """Raises where no molecule has a truth and a split; one shard of several may be without."""
    if counts["n_zmw_pass"] or options.shard[1] > 1:
        return
    reasons = ", ".join(f"{name} {counts[name]}" for name in _REASONS if counts[name]) or "there are none"
    raise DataError(
        f"{options.subreads}: none of its molecules has a truth and a split ({reasons}); check that "
        f"{options.truth_to_ccs}, {options.truth_bed} and {options.truth_split} belong to it"
    )


def new_writer(config: ConsensusConfig, path: Path, split: str) -> ExampleWriter:
    """A writer for one shard, as `shard_writers` asks for it."""
    return ExampleWriter(path, config, split)


def _made(options: ExamplesOptions) -> Iterator[_Made]:
    with contextlib.ExitStack() as files:
        subreads = files.enter_context(BamReader(options.subreads))
        ccs = files.enter_context(CcsFinder(options.ccs))
        truth = files.enter_context(TruthFinder(options.truth_to_ccs))
        start, end = shard_range(subreads, options.shard) if options.shard[1] > 1 else (None, None)
        labelled = _labelled(options, iterate_molecules(subreads, ccs, start, end), truth)
        work = functools.partial(_make, options=options)
        ahead = _AHEAD_PER_WORKER * max(1, options.num_workers)
        made = files.enter_context(contextlib.closing(ordered_map(work, labelled, options.num_workers, ahead)))
        yield from made


def _labelled(options: ExamplesOptions, molecules: Iterator[RawMolecule], truth: TruthFinder) -> Iterator[_Labelled]:
    """Molecules with their truth, until `limit` of them have one."""
    contigs = read_truth_bed(options.truth_bed)
    splits = read_truth_split(options.truth_split, options.genome)
    num_passed = 0
    for raw in molecules:
        if options.limit is not None and num_passed >= options.limit:
            return
        record, split, missing = None, None, None
        if raw.name not in contigs:
            missing = "n_zmw_missing_truth_range"
        elif (record := truth.find(raw.name)) is None:
            missing = "n_zmw_no_label_alignment"
        elif is_supplementary(record):
            missing = "n_zmw_truth_label_supp_alignment"
        elif (split := splits.get(contigs[raw.name])) is None:
            missing = "n_zmw_missing_contig_split"
        num_passed += missing is None
        yield _Labelled(raw, record, split, missing)


def _make(labelled: _Labelled, options: ExamplesOptions) -> _Made:
    raw, config = labelled.raw, options.config
    decoded = [decode_subread(record, options.subreads) for record in raw.subreads]
    subreads = [subread for subread in decoded if subread is not None]
    counts = _subread_counts(subreads, options.ins_trim)
    counts["n_zmw_processed"] = 1
    truth = None if labelled.truth is None or labelled.missing else decode_truth(labelled.truth, options.truth_to_ccs)
    if truth is None or labelled.split is None or not subreads:
        counts[labelled.missing or "n_zmw_no_label_alignment"] += 1
        return _Made(raw.name, None, None, counts, raw.next_offset is not None)
    pileup = build_pileup(decode_ccs(raw.ccs, options.ccs), subreads, options.max_passes, options.ins_trim)
    windows = cut_windows(pileup, config, options.smart_windows)
    labels = window_labels(pileup, windows, truth, options.window_length)
    chosen = np.flatnonzero((labels.status != OVERFLOW) & ~windows.overflows)
    rows = window_rows(pileup, windows, chosen, config, np.float32)
    examples = Examples.from_rows(
        rows, config,
        ccs_quals=_window_quals(pileup.ccs_quals, windows.start[chosen], windows.length[chosen], options.window_length),
        labels=labels.codes[chosen], ccs_start=windows.ccs_start[chosen],
        num_passes=np.full(len(chosen), min(len(subreads), options.max_passes)), molecule=np.zeros(len(chosen)),
    )  # fmt: skip
    counts.update({
        f"n_zmw_{labelled.split}": 1,
        "n_zmw_pass": 1,
        f"n_examples_{labelled.split}": len(chosen),
        "n_examples": len(chosen),
        "n_examples_adjusted_label": int((labels.status == ADJUSTED).sum()),
        "n_examples_label_overflow": int((labels.status == OVERFLOW).sum()),
        "n_examples_overflow": int((windows.overflows & (labels.status != OVERFLOW)).sum()),
        "n_examples_skip_large_windows_keep": len(chosen),
        "n_examples_no_ccs_idx": windows.num_empty,
    })  # fmt: skip
    counts.update(f"example_width_bucket_{length}" for length in windows.length.tolist())
    if windows.num_empty and not options.smart_windows:
        counts[f"example_width_bucket_{options.window_length}"] += windows.num_empty
    return _Made(raw.name, labelled.split, examples, +counts, raw.next_offset is not None)


def _subread_counts(subreads: list[Subread], ins_trim: int) -> Counter[str]:
    """The original's counters of CIGAR lengths and of the insertions that are trimmed."""
    counts: Counter[str] = Counter()
    if ins_trim <= 0:
        return counts
    for subread in subreads:
        op, length = subread.cigar & 15, subread.cigar >> 4
        trimmed = length[(op == _INSERTION) & (length > ins_trim)]
        counts["zmw_total_bp"] += int(length.sum(dtype=np.int64))
        counts["zmw_trimmed_insertions"] += len(trimmed)
        counts["zmw_trimmed_insertions_bp"] += int(trimmed.sum(dtype=np.int64))
    return counts


def _window_quals(ccs_quals: np.ndarray, start: np.ndarray, length: np.ndarray, window_length: int) -> np.ndarray:
    """Qualities of the CCS columns of each window, [n, L], -1 at gaps and beyond the end."""
    within = np.arange(window_length)
    column = start[:, None] + within
    inside = (within < length[:, None]) & (column < len(ccs_quals))
    return np.where(inside, ccs_quals[np.where(inside, column, 0)], -1)


def _provenance(options: ExamplesOptions) -> dict[str, Any]:
    inputs = {
        name: Path(getattr(options, name)).name
        for name in ("subreads", "ccs", "truth_to_ccs", "truth_bed", "truth_split")
    }
    settings = {name: getattr(options, name) for name in ("genome", "max_passes", "window_length", "ins_trim", "limit")}
    return inputs | settings | {"shard": list(options.shard), "version": __version__}
