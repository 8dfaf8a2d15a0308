"""`genoformer expression examples --from-tfrecords`: the examples of a Basenji data set, as HDF5 shards.

The targets stay as they are, in float16. With a genome, sequences may be longer than those of the data set, as
Enformer's are; they are then read from the genome, which must agree with the data set.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genoformer.errors import DataError, UsageError
from genoformer.genome.interval import Interval
from genoformer.io.basenji import TARGET_DTYPE, BasenjiFolder, open_basenji, read_arrays
from genoformer.io.expression_examples import PackedExample, WindowShape, pack_example
from genoformer.io.genome_fasta import Genome
from genoformer.io.regions import Region
from genoformer.workflows.expression_shards import ExampleSet, OnProgress, write_shards
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.splits import assign_splits, count_overlaps

_AHEAD_PER_WORKER = 4
_TRANSFORM = "imported"


@dataclass(frozen=True)
class ImportBasenjiOptions:
    """What to import; `shard` is (i, n) with 1 <= i <= n: the i-th, (i + n)-th, ... file of each split.

    Attributes:
        folder: with statistics.json, targets.txt, sequences.bed and tfrecords.
        genome: FASTA file to hold the sequences against; None: they are taken as they are.
        sequence_bp: bases around the middle of each example, from the genome; None: as in the data set.
        valid, test: see `genoformer.workflows.splits.assign_splits`.
    """

    folder: Path
    out_dir: Path
    genome: Path | None = None
    sequence_bp: int | None = None
    valid: Sequence[str] = ()
    test: Sequence[str] = ()
    shard: tuple[int, int] = (1, 1)
    num_workers: int = 0


@dataclass(frozen=True)
class _Imported:
    """An example on its way to a worker: its sequence, uint8 [S], and targets, float16 [T, N], and where it lies.

    `line` is that in sequences.bed, `bins` what the bins cover.
    """

    line: int
    bins: Interval
    codes: np.ndarray
    targets: np.ndarray


def import_basenji(options: ImportBasenjiOptions, on_progress: OnProgress | None = None) -> dict[str, object]:
    """Writes the shards of all splits; returns the summary.

    Raises:
        UsageError: options that cannot work.
        DataError: a data set that is damaged or incomplete, or whose sequences are not those of the genome.
        OutputError: the folder or a file cannot be written.
    """
    folder = open_basenji(options.folder)
    shape = _shape(folder, options)
    rows = [row for part in folder.rows.values() for row in part]
    bed = options.folder / "sequences.bed"
    splits = assign_splits(rows, bed, options.valid, options.test)
    split_of_line = {row.line: split for row, split in zip(rows, splits, strict=True)}
    bins = [folder.bins(row) for row in rows]
    num_overlaps = count_overlaps(bins, splits, shape.sequence_bp, [f"{bed} line {row.line}" for row in rows])
    work = functools.partial(_pack, bed=bed, shape=shape, genome_path=options.genome)
    ahead = _AHEAD_PER_WORKER * max(1, options.num_workers)
    packed = ordered_map(work, _read(folder, options.shard), options.num_workers, ahead)
    example_set = ExampleSet(shape, folder.tracks, TARGET_DTYPE, _TRANSFORM, tuple(dict.fromkeys(splits)))
    origin = {
        "tfrecords": options.folder.name,
        "genome": None if options.genome is None else options.genome.name,
        "n_sequences_overlapping_other_splits": num_overlaps,
    }
    examples = ((split_of_line[line], example) for line, example in packed)
    return write_shards(options.out_dir, options.shard, example_set, examples, origin, on_progress)


def _shape(folder: BasenjiFolder, options: ImportBasenjiOptions) -> WindowShape:
    if options.sequence_bp is None:
        return folder.shape
    shape = replace(folder.shape, sequence_bp=options.sequence_bp)
    if options.genome is None:
        raise UsageError("--sequence-length needs the genome: TFRecords hold no other sequence than their own")
    if not shape.is_centred:
        raise UsageError(
            f"--sequence-length is {shape.sequence_bp}, which cannot have {shape.target_bp} bp of bins in its middle; "
            "expected more by an even number"
        )
    return shape


def _read(folder: BasenjiFolder, shard: tuple[int, int]) -> Iterator[_Imported]:
    """Examples of the files of a shard, each with its row of sequences.bed."""
    for split, files in folder.files.items():
        rows = folder.rows[split]
        # All files but the last ones of a split hold as many examples as the first.
        per_file = sum(1 for _ in read_arrays(folder, files[0])) if len(files) > 1 else len(rows)
        if len(files) * per_file < len(rows):
            raise DataError(
                f"{files[0].parent}: split {split} has {len(files)} files of {per_file} examples; sequences.bed has "
                f"{len(rows)} rows of it; files are missing"
            )
        for place in range(shard[0] - 1, len(files), shard[1]):
            yield from _read_file(folder, files[place], rows[place * per_file : (place + 1) * per_file])


def _read_file(folder: BasenjiFolder, path: Path, rows: list[Region]) -> Iterator[_Imported]:
    count = 0
    for count, (codes, targets) in enumerate(read_arrays(folder, path), 1):
        if count <= len(rows):
            row = rows[count - 1]
            yield _Imported(row.line, folder.bins(row), codes, targets)
    if count != len(rows):
        raise DataError(
            f"{path}: has {count} examples; by its number and sequences.bed it should have {len(rows)}; copy the data "
            "set again"
        )


def _pack(example: _Imported, bed: Path, shape: WindowShape, genome_path: Path | None) -> tuple[int, PackedExample]:
    """Line in sequences.bed, and the example."""
    codes = example.codes
    if genome_path is not None:
        place = example.bins.resized(len(codes))
        with Genome(genome_path) as genome:
            if not np.array_equal(genome.codes(place), codes):
                raise DataError(
                    f"{bed} line {example.line}: its sequence is not that of {place} in {genome_path}; check the "
                    "genome build"
                )
            codes = genome.codes(example.bins.resized(shape.sequence_bp))
    return example.line, pack_example(example.bins, codes, example.targets, TARGET_DTYPE)
