"""What `predict` has to predict: the bins of each region, and the windows that they are taken from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.genome.interval import Interval, parse_interval
from genoformer.genome.tiling import Tile, tiles
from genoformer.io.genome_fasta import Genome
from genoformer.io.predictions import Stretch
from genoformer.io.regions import Region, read_bed


@dataclass(frozen=True)
class Window:
    """What the model reads at once.

    Attributes:
        sequence: the bases; may reach past the contig's ends.
        low, high: which of the predicted bins are kept.
        first_bin: where these go among the bins of the run.
    """

    sequence: Interval
    low: int
    high: int
    first_bin: int


def read_regions(regions: str, genome: Genome) -> list[Region]:
    """Regions of a BED file, or the one that is written as genome browsers do.

    Raises:
        UsageError: neither.
        DataError: a bad BED file, or a region that is not of the genome.
    """
    is_file = Path(regions).exists()
    if not is_file and ":" not in regions:
        raise UsageError(
            f"the regions are '{regions}'; expected a BED file that is there, or a region such as chr8:1-9,000"
        )
    found = read_bed(regions) if is_file else [Region(parse_interval(regions), None, 1)]
    for region in found:
        genome.check_holds(region.interval, place_of(regions, region))
    return found


def place_of(regions: str, region: Region) -> str:
    """What a message calls a region that `read_regions` found."""
    return f"{regions} line {region.line}" if Path(regions).exists() else "region"


def regions_digest(regions: Sequence[Region]) -> str:
    """What tells lists of regions apart."""
    lines = (f"{region.interval}\t{region.name}\n".encode() for region in regions)
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def stretch_of(region: Region, config: ExpressionConfig) -> Stretch:
    """The bins of a region: those of a window in whose middle it lies; more only where it is longer."""
    num_bins = max(config.target_bins, -(-region.interval.length // config.bin_bp))
    return Stretch(region.interval, region.name, region.interval.resized(num_bins * config.bin_bp))


def shard_of(num_windows: Sequence[int], shard: tuple[int, int]) -> slice:
    """The stretches of shard (i, n): consecutive ones, about as many windows in each shard.

    Args:
        num_windows: of each stretch.
    """
    index, count = shard
    before = np.cumsum([0, *num_windows])
    owner = before[:-1] * count // max(1, before[-1])
    first, last = np.searchsorted(owner, [index - 1, index])
    return slice(int(first), int(last))


def tiles_of(stretch: Stretch, config: ExpressionConfig, shared_bins: int) -> list[Tile]:
    """The windows of a stretch."""
    return tiles(stretch.bins.length // config.bin_bp, config.target_bins, shared_bins)


def window_of(chrom: str, first_base: int, config: ExpressionConfig) -> Interval:
    """What the model reads for bins that begin at `first_base`."""
    start = first_base - (config.window_bp // config.bin_bp - config.target_bins) // 2 * config.bin_bp  # as it crops
    return Interval(chrom, start, start + config.window_bp)


def windows_of(
    stretches: Sequence[Stretch], tiling: Sequence[Sequence[Tile]], config: ExpressionConfig
) -> list[Window]:
    """The windows of all stretches, one after the other."""
    first_bin, windows = 0, []
    for stretch, own in zip(stretches, tiling, strict=True):
        for tile in own:
            sequence = window_of(stretch.bins.chrom, stretch.bins.start + tile.start * config.bin_bp, config)
            windows.append(Window(sequence, tile.low - tile.start, tile.high - tile.start, first_bin + tile.low))
        first_bin += own[-1].high
    return windows
