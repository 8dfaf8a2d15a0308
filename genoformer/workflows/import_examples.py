"""`genoformer consensus import`: the labelled windows of DeepConsensus's TFRecord files, as HDF5 shards.

The shards are those that `examples` makes of the BAM files from which the TFRecords were made.
"""

from __future__ import annotations

import functools
import glob
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genoformer import __version__
from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, UsageError
from genoformer.io.tf_examples import LabelledWindow, read_labelled_windows
from genoformer.io.truth import SPLITS
from genoformer.workflows.examples import new_writer
from genoformer.workflows.shard_files import shard_suffix, shard_writers, write_examples_summary

logger = logging.getLogger(__name__)

SPLIT_MARK = "@split"


@dataclass(frozen=True)
class ImportOptions:
    """What to import; `shard` is (i, n) with 1 <= i <= n: the i-th, (i + n)-th, ... file of each split.

    `pattern` names the files as in DeepConsensus: '@split' stands for train, eval and test; * ? [] and ** match names.
    A folder stands for FOLDER/@split/*. `summaries` are the original's own; the windows must be as many as they say.
    """

    pattern: str
    out_dir: Path
    summaries: tuple[str, ...] = ()
    shard: tuple[int, int] = (1, 1)


def import_examples(options: ImportOptions) -> dict[str, Any]:
    """Writes the shards of all splits; returns the summary.

    Raises:
        UsageError: options that cannot work, or no file that the pattern matches.
        DataError: damaged files, windows of several shapes, or other numbers than the original's summaries have.
        OutputError: the folder or a file cannot be written.
    """
    suffix = shard_suffix(options.shard)
    original = _original_counts(options)
    files = _files(options)
    windows = ((split, path, window) for split, path in files for window in _read(path))
    first = next(windows, None)
    if first is None:
        raise DataError(f"{options.pattern}: no windows in {len(files)} files")
    config = first[2].config
    counts: Counter[str] = Counter()
    names: dict[str, set[str]] = {split: set() for split in SPLITS}
    with shard_writers(options.out_dir, suffix, SPLITS, functools.partial(new_writer, config)) as writers:
        for split, path, window in itertools.chain([first], windows):
            if window.config != config:
                raise DataError(f"{path}: {_shape(window)}, but {first[1]} {_shape(first[2])}; import them apart")
            writers[split].append(window.name, window.examples)
            counts.update(("n_examples", f"n_examples_{split}"))
            names[split].add(window.name)
        _compare(counts, original, options)
    molecules = {f"n_zmw_{split}": len(found) for split, found in names.items()}
    molecules["n_zmw_pass"] = sum(molecules.values())
    summary = dict(counts) | molecules | dict(original) | _provenance(options, config, len(files))
    return write_examples_summary(options.out_dir, suffix, SPLITS, summary)


def _files(options: ImportOptions) -> list[tuple[str, str]]:
    """Split and path of each file of this shard, by split and name."""
    pattern = options.pattern
    if Path(pattern).is_dir():
        pattern = f"{glob.escape(pattern)}/{SPLIT_MARK}/*"
    if SPLIT_MARK not in pattern:
        raise UsageError(
            f"'{pattern}' has no {SPLIT_MARK}; expected a folder or, for instance, 'tf_examples/{SPLIT_MARK}*.gz', "
            f"where {SPLIT_MARK} stands for {', '.join(SPLITS)}"
        )
    found = {split: sorted(glob.glob(pattern.replace(SPLIT_MARK, split), recursive=True)) for split in SPLITS}
    most = max(map(len, found.values()))
    if not most:
        raise UsageError(f"no file is named '{pattern}', {SPLIT_MARK} being one of {', '.join(SPLITS)}")
    index, count = options.shard
    if index > most:
        raise UsageError(f"--shard {index}/{count}: no split has more than {most} files; use fewer shards")
    return [(split, path) for split, paths in found.items() for path in paths[index - 1 :: count]]


def _read(path: str) -> Iterator[LabelledWindow]:
    num_windows = 0
    for window in read_labelled_windows(path):
        yield window
        num_windows += 1
    logger.info("%s: %d windows", path, num_windows)


def _shape(window: LabelledWindow) -> str:
    return f"has windows of {window.config.max_passes} passes and {window.config.window_length} columns"


def _original_counts(options: ImportOptions) -> Counter[str]:
    """The counters of the original's summaries, added up."""
    if options.summaries and options.shard[1] > 1:
        raise UsageError("--summary counts all files, --shard takes a part of them; leave out one of the two")
    counts: Counter[str] = Counter()
    for path in options.summaries:
        try:
            values = json.loads(Path(path).read_bytes())
            counts.update({name: value for name, value in values.items() if isinstance(value, int)})
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: is no summary of DeepConsensus ({error})") from None
    return counts


def _compare(counts: Counter[str], original: Counter[str], options: ImportOptions) -> None:
    for name in (f"n_examples_{split}" for split in SPLITS):
        if options.summaries and counts[name] != original[name]:
            raise DataError(
                f"{', '.join(options.summaries)}: {name} is {original[name]}, but '{options.pattern}' has "
                f"{counts[name]}; check that all files are there"
            )


def _provenance(options: ImportOptions, config: ConsensusConfig, num_files: int) -> dict[str, Any]:
    shape = {"max_passes": config.max_passes, "window_length": config.window_length}
    files = {"tfrecords": Path(options.pattern).name, "num_files": num_files}
    return shape | files | {"shard": list(options.shard), "version": __version__}
