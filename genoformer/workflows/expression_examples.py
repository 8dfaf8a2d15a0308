"""`genoformer expression examples`: sequences and the coverage along them, from a genome and bigWigs, as HDF5 shards.

An example depends on its region alone, not on what other examples there are, so that shards can be made apart.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track, bin_coverage, bound_to_baseline, fill_missing
from genoformer.io.bigwig import BigWig
from genoformer.io.expression_examples import PackedExample, WindowShape, pack_example
from genoformer.io.genome_fasta import Genome, contig_hint
from genoformer.io.regions import Region, read_bed
from genoformer.io.targets import read_targets
from genoformer.workflows.expression_shards import ExampleSet, OnProgress, write_shards
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.splits import assign_splits, count_overlaps

logger = logging.getLogger(__name__)

_BLACKLIST_MARGIN_BP = 20  # the original's
_BLOCK_BYTES, _MAX_BLOCK = 1 << 27, 32  # targets and examples that a worker holds at a time
_AHEAD_PER_WORKER = 2

_Spans = dict[str, np.ndarray]  # starts and ends of stretches by contig, int64 [n, 2]


@dataclass(frozen=True)
class ExpressionExamplesOptions:
    """What to make examples of; `shard` is (i, n) with 1 <= i <= n: the i-th, (i + n)-th, ... region.

    Attributes:
        regions: BED file; an example for each line, all of one length.
        sequence_bp: bases around the middle of each region; None: the region's.
        bin_bp, crop_bp: bases of a bin, and at either end of a region without bins.
        valid, test: see `genoformer.workflows.splits.assign_splits`.
        blacklist: BED file of regions whose coverage is bounded by the median.
        interpolate: bases without a value lie on the line between their neighbours; else they are 0.
        as_borzoi: targets as Borzoi was trained with; see `genoformer.genome.track.bin_coverage`.
        dtype: of the stored targets, float32 or float16.
    """

    genome: Path
    targets: Path
    regions: Path
    out_dir: Path
    sequence_bp: int | None = None
    bin_bp: int = 128
    crop_bp: int = 0
    valid: Sequence[str] = ()
    test: Sequence[str] = ()
    blacklist: Path | None = None
    interpolate: bool = False
    as_borzoi: bool = False
    dtype: str = "float32"
    shard: tuple[int, int] = (1, 1)
    num_workers: int = 0


@dataclass(frozen=True)
class _Plan:
    """What a worker needs to make examples."""

    options: ExpressionExamplesOptions
    shape: WindowShape
    tracks: list[Track]
    blacklist: _Spans


def make_expression_examples(
    options: ExpressionExamplesOptions, on_progress: OnProgress | None = None
) -> dict[str, object]:
    """Writes the shards of all splits; returns the summary.

    Raises:
        UsageError: options that cannot work.
        DataError: files that are damaged or do not belong together.
        OutputError: the folder or a file cannot be written.
    """
    regions = read_bed(options.regions)
    splits = assign_splits(regions, options.regions, options.valid, options.test)
    shape, tracks = _shape(regions, options), read_targets(options.targets)
    _check_builds(regions, tracks, options)
    bins = [region.interval.resized(shape.target_bp) for region in regions]
    lines = [f"{options.regions} line {region.line}" for region in regions]
    num_overlaps = count_overlaps(bins, splits, shape.sequence_bp, lines)
    own = slice(options.shard[0] - 1, None, options.shard[1])
    plan = _Plan(options, shape, tracks, _read_blacklist(options.blacklist))
    made = _made([region.interval for region in regions[own]], plan)
    transform = "borzoi" if options.as_borzoi else "baskerville"
    example_set = ExampleSet(shape, tracks, options.dtype, transform, tuple(dict.fromkeys(splits)))
    origin = {name: getattr(options, name).name for name in ("genome", "targets", "regions")} | {
        "blacklist": None if options.blacklist is None else options.blacklist.name,
        "interpolate": options.interpolate,
        "n_sequences_overlapping_other_splits": num_overlaps,
    }
    return write_shards(
        options.out_dir, options.shard, example_set, zip(splits[own], made, strict=True), origin, on_progress
    )


def _shape(regions: list[Region], options: ExpressionExamplesOptions) -> WindowShape:
    """The shape of all examples."""
    length = regions[0].interval.length
    for region in regions:
        if region.interval.length != length:
            raise DataError(
                f"{options.regions} line {region.line}: has {region.interval.length} bp, line {regions[0].line} has "
                f"{length}; expected regions of one length"
            )
    num_bins, rest = divmod(length - 2 * options.crop_bp, options.bin_bp)
    if num_bins < 1 or rest:
        raise DataError(
            f"{options.regions}: regions of {length} bp without {options.crop_bp} at either end are no whole number of "
            f"bins of {options.bin_bp} bp; choose --bin and --crop to fit"
        )
    shape = WindowShape(options.sequence_bp or length, options.bin_bp, num_bins)
    if not shape.is_centred:
        raise DataError(
            f"{options.regions}: a sequence of {shape.sequence_bp} bp cannot have {shape.target_bp} bp of bins in its "
            "middle; choose a --sequence-length that is longer by an even number"
        )
    return shape


def _check_builds(regions: list[Region], tracks: list[Track], options: ExpressionExamplesOptions) -> None:
    """Raises unless regions and tracks are of the genome, as far as names and lengths of contigs tell."""
    with Genome(options.genome) as genome:
        for region in regions:
            genome.check_holds(region.interval, f"{options.regions} line {region.line}")
        lengths = {region.interval.chrom: genome.length(region.interval.chrom) for region in regions}
        missing = {}
        for track in tracks:
            chroms = _missing_contigs(track, lengths, genome)
            if chroms:
                missing[track.file] = chroms
    if missing:
        file, chroms = next(iter(missing.items()))
        logger.warning(
            "%d of %d tracks have no value on some contigs, which counts as 0; %s has none on %s",
            len(missing), len(tracks), file, ", ".join(chroms),
        )  # fmt: skip


def _missing_contigs(track: Track, lengths: dict[str, int], genome: Genome) -> list[str]:
    """Contigs of regions, with their lengths, that a track does not know; raises where it is of another genome."""
    if not track.file:
        raise DataError(f"track '{track.identifier}': has no file in the targets table")
    with BigWig(track.file) as coverage:
        shared = coverage.lengths.keys() & genome.lengths.keys()
        for chrom in sorted(shared & lengths.keys() or shared):
            if coverage.lengths[chrom] != genome.lengths[chrom]:
                raise DataError(
                    f"{track.file}: {chrom} has {coverage.lengths[chrom]} bp, in {genome.path} it has "
                    f"{genome.lengths[chrom]}; the track is of another genome build"
                )
        if not shared:
            chrom = next(iter(lengths))
            raise DataError(f"{track.file}: has no contig '{chrom}'; {contig_hint(chrom, coverage.lengths)}")
        return [chrom for chrom in lengths if chrom not in coverage.lengths]


def _read_blacklist(path: Path | None) -> _Spans:
    """Blacklisted stretches with a margin."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for region in read_bed(path) if path is not None else []:
        start, end = region.interval.start - _BLACKLIST_MARGIN_BP, region.interval.end + _BLACKLIST_MARGIN_BP
        spans.setdefault(region.interval.chrom, []).append((start, end))
    return {chrom: np.array(stretches) for chrom, stretches in spans.items()}


def _blacklisted(interval: Interval, spans: _Spans) -> np.ndarray:
    """Which bases of an interval are blacklisted, bool [length]."""
    mask: np.ndarray = np.zeros(interval.length, dtype=bool)
    stretches = spans.get(interval.chrom, np.empty((0, 2), int)) - interval.start
    for start, end in stretches[(stretches[:, 0] < interval.length) & (stretches[:, 1] > 0)].tolist():
        mask[max(start, 0) : end] = True
    return mask


def _made(regions: list[Interval], plan: _Plan) -> Iterator[PackedExample]:
    """The examples of regions, in their order."""
    workers = plan.options.num_workers
    size = max(1, min(_MAX_BLOCK, _BLOCK_BYTES // (4 * len(plan.tracks) * plan.shape.num_bins)))
    blocks = (regions[start : start + size] for start in range(0, len(regions), size))
    work = functools.partial(_make_block, plan=plan)
    for examples in ordered_map(work, blocks, workers, _AHEAD_PER_WORKER * max(1, workers)):
        yield from examples


def _make_block(regions: list[Interval], plan: _Plan) -> list[PackedExample]:
    """Examples of a few regions: each track is opened once for all of them."""
    targets = np.empty((len(regions), len(plan.tracks), plan.shape.num_bins), np.float32)
    masks = [_blacklisted(region, plan.blacklist) for region in regions]
    for place, track in enumerate(plan.tracks):
        with BigWig(track.file) as coverage:
            for row, (region, mask) in enumerate(zip(regions, masks, strict=True)):
                values = coverage.values(region)
                try:
                    targets[row, place] = _targets(values, mask, track, plan)
                except DataError as error:
                    raise DataError(f"{track.file}: {region}: {error}") from None
    with Genome(plan.options.genome) as genome:
        return [
            pack_example(
                region.resized(plan.shape.target_bp), genome.codes(region.resized(plan.shape.sequence_bp)), values,
                plan.options.dtype,
            )
            for region, values in zip(regions, targets, strict=True)
        ]  # fmt: skip


def _targets(coverage: np.ndarray, is_blacklisted: np.ndarray, track: Track, plan: _Plan) -> np.ndarray:
    """Targets [N] of a track from its coverage of a region."""
    crop = plan.options.crop_bp
    coverage = fill_missing(coverage, interpolate=plan.options.interpolate)
    coverage = bound_to_baseline(coverage, is_blacklisted, plan.shape.num_bins)
    return bin_coverage(
        coverage[crop : len(coverage) - crop], track, plan.shape.bin_bp, as_borzoi=plan.options.as_borzoi
    )
