"""The stretches that `ism` changes, and the window in which all changes of one are compared with the genome."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ExpressionConfig
from genoformer.errors import DataError
from genoformer.genome.alphabet import genome_letters
from genoformer.genome.interval import Interval, parse_interval
from genoformer.io.genome_fasta import Genome
from genoformer.io.mutagenesis import MutatedStretch
from genoformer.io.vcf import STDIN, STDIN_NAME, read_vcf
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.prediction_plan import shard_of
from genoformer.workflows.variant_source import PlacedVariant, VariantSource


@dataclass(frozen=True)
class Site:
    """A stretch to change and the window that its changes share."""

    stretch: MutatedStretch
    window: Interval


def sites_of(options: IsmOptions, vcf: Path | None, genome: Genome, config: ExpressionConfig) -> list[Site]:
    """The sites of a shard: its part of a region's bases, or of the places at which a file has variants, in its order.

    Args:
        vcf: the file itself, where there is one.
    Raises:
        UsageError: no region, or more bases than the model predicts at once.
        DataError: files that are damaged or do not belong together, a region that is not of the genome, or no variant.
    """
    return _region_site(options, genome, config) if vcf is None else _variant_sites(options, vcf, genome, config)


def _region_site(options: IsmOptions, genome: Genome, config: ExpressionConfig) -> list[Site]:
    """One, or none where the shard has no base; the whole region lies in the middle of the window."""
    region = parse_interval(options.region or "")
    genome.check_holds(region, "region")
    options.check_length(region.length, config)
    bases = shard_of([1] * region.length, options.shard)
    part = Interval(region.chrom, region.start + bases.start, region.start + bases.stop)
    return [_site(part, str(region), region.resized(config.window_bp), genome)] if part.length else []


def _variant_sites(options: IsmOptions, vcf: Path, genome: Genome, config: ExpressionConfig) -> list[Site]:
    """One for each place, called and put into a window as its first variant is."""
    options.check_length(2 * options.around_bp + 1, config)
    name = STDIN_NAME if options.vcf == STDIN else options.vcf
    source = VariantSource(
        name or vcf, functools.partial(read_vcf, vcf, name=name), genome,
        ref_mismatch=options.settings.ref_mismatch, max_allele_bp=config.window_bp // 2,
    )  # fmt: skip
    records = range(1, source.count_records() + 1)
    source.check(records)
    first_at: dict[tuple[str, int], PlacedVariant] = {}
    for placed in source.variants(records, Counter()):
        first_at.setdefault((placed.site.chrom, placed.site.start), placed)
    if not first_at:
        raise DataError(f"{name}: has no variant with a sequence; expected at least one")
    own = list(first_at.values())[shard_of([1] * len(first_at), options.shard)]
    return [_site_of(placed, options, genome, config) for placed in own]


def _site_of(placed: PlacedVariant, options: IsmOptions, genome: Genome, config: ExpressionConfig) -> Site:
    chrom, start = placed.site.chrom, placed.site.start
    name = placed.variant.name or f"{placed.variant.chrom}:{start + 1}"
    place = Interval(chrom, start - options.around_bp, start + options.around_bp + 1)
    return _site(place, name, options.settings.window(placed.site, config), genome)


def _site(place: Interval, name: str, window: Interval, genome: Genome) -> Site:
    return Site(MutatedStretch(place, name, genome_letters(genome.codes(place))), window)
