"""`genoformer variants ism`: saturation mutagenesis, every base of a region or around variants changed to every other.

All changes of a stretch are compared with the genome in one window, whose prediction they share: a region lies in the
middle of its window, a variant where `score` puts it.
"""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.alphabet import GENOME_LETTERS, one_hot
from genoformer.genome.interval import Interval, parse_interval
from genoformer.genome.track_choice import safe_stem
from genoformer.genome.variant import Variant
from genoformer.genome.variant_scores import centre_bins, score_alleles
from genoformer.io.genome_fasta import Genome
from genoformer.io.mutagenesis import NUM_LETTERS, MutagenesisWriter, MutatedStretch
from genoformer.io.reads import write_bytes
from genoformer.io.vcf import read_vcf, seekable_vcf
from genoformer.workflows.allele_predictor import Comparison
from genoformer.workflows.device import find_device
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.output import file_identity
from genoformer.workflows.report_logos import MAX_LOGO_BP, check_can_draw_logos, mutagenesis_png
from genoformer.workflows.track_model import TrackModel, open_track_model
from genoformer.workflows.variant_scorer import Scoring, VariantScorer, make_scorer, make_scoring
from genoformer.workflows.variant_source import VariantSource

OnProgress = Callable[[int, int], None]

_LETTERS = f"{GENOME_LETTERS.decode()}N"  # by their codes


@dataclass(frozen=True)
class _Site:
    """A stretch to change and the window that its changes share."""

    stretch: MutatedStretch
    window: Interval


class _Change(NamedTuple):
    """A base of a stretch that gets another letter, by its place there and the letter's code."""

    place: int
    letter: int
    variant: Variant


def ism(options: IsmOptions, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Scores all changes; returns the summary.

    Sets torch's number of threads for this process.

    Args:
        on_progress: told how many changes are scored, and of how many.
    Raises:
        UsageError, DataError, OutputError: as `score`.
    """
    began = time.perf_counter()
    options.check()
    if options.num_logos:
        check_can_draw_logos()
    settings, device = options.settings, str(find_device(options.device))
    model = open_track_model(options.model, settings.species, settings.tracks, (device,), options.threads)
    scoring = make_scoring(model.config, model.outputs, settings)
    with Genome(options.genome) as genome:
        sites = _region_site(options, genome, scoring) if options.region else _variant_sites(options, genome, scoring)
        options.check_length(sites[0].stretch.place.length, model.config)
        scorer = make_scorer(model.load(), genome.codes, scoring)
        attributes = _attributes(options, model, scoring)
        stretches = [site.stretch for site in sites]
        writer = MutagenesisWriter(options.output, stretches, scoring.own_scores, model.outputs.chosen, attributes)
        try:
            num_changes = _fill(writer, sites, genome, scorer, options, on_progress)
        except BaseException:
            writer.discard()
            raise
        writer.finish()
    seconds = round(time.perf_counter() - began, 3)
    return {"stretches": len(sites), "changes": num_changes, "run": {"model": model.path.name, "seconds": seconds}}


def _region_site(options: IsmOptions, genome: Genome, scoring: Scoring) -> list[_Site]:
    region = parse_interval(options.region or "")
    genome.check_holds(region, "region")
    window = region.resized(scoring.config.window_bp)
    return [_Site(MutatedStretch(region, str(region)), window)]


def _variant_sites(options: IsmOptions, genome: Genome, scoring: Scoring) -> list[_Site]:
    """A site for each place at which there are variants, in the order of the file."""
    config = scoring.config
    with seekable_vcf(options.vcf or "") as vcf:
        records = functools.partial(read_vcf, vcf)
        source = VariantSource(
            vcf, records, genome, ref_mismatch=options.settings.ref_mismatch, max_allele_bp=config.window_bp // 2
        )
        numbers = range(1, source.count_records() + 1)
        source.check(numbers)
        sites: dict[tuple[str, int], _Site] = {}
        for placed in source.variants(numbers, Counter()):
            first = placed.site.start
            place = Interval(placed.site.chrom, first - options.around_bp, first + options.around_bp + 1)
            name = placed.variant.name or f"{placed.variant.chrom}:{first + 1}"
            window = options.settings.window(placed.site, config)
            sites.setdefault((place.chrom, first), _Site(MutatedStretch(place, name), window))
    if not sites:
        raise DataError(f"{options.vcf}: has no variant with a sequence; expected at least one")
    return list(sites.values())


def _attributes(options: IsmOptions, model: TrackModel, scoring: Scoring) -> dict[str, Any]:
    settings = asdict(options.settings)
    own = {name: settings[name] for name in ("rc", "shifts", "centre", "grid_bp", "centre_bins", "reuse", "precision")}
    return model.notes | {
        "genome": file_identity(options.genome),
        "scores": json.dumps(scoring.own_scores),
        "settings": json.dumps(own),
    }


def _fill(
    writer: MutagenesisWriter,
    sites: Sequence[_Site],
    genome: Genome,
    scorer: VariantScorer,
    options: IsmOptions,
    on_progress: OnProgress | None,
) -> int:
    """Scores every change, and draws the first sites; returns the number of changes."""
    num_done, total = 0, (NUM_LETTERS - 1) * sum(site.stretch.place.length for site in sites)
    for index, site in enumerate(sites):
        place = site.stretch.place
        effects = np.zeros((place.length, NUM_LETTERS))
        writer.write_sequence(index, one_hot(genome.codes(place)))
        for change, values in _scored(site, genome, scorer):
            writer.write(index, change.place, change.letter, values)
            effects[change.place, change.letter] = values[0].sum()
            num_done += 1
            if on_progress is not None:
                on_progress(num_done, total)
        if index < options.num_logos:
            _draw(options.output, index, site.stretch, genome, effects, scorer.scoring.own_scores[0])
    return num_done


def _scored(site: _Site, genome: Genome, scorer: VariantScorer) -> Iterator[tuple[_Change, np.ndarray]]:
    """The changes of a site and their scores, float32 [scores, T]."""
    predictor, scoring, changes = scorer.predictor, scorer.scoring, list(_changes(site.stretch.place, genome))
    covered = predictor.covered(site.window)
    predicted = predictor.predict(Comparison(site.window, None, change.variant) for change in changes)
    for change, (ref, alt) in zip(changes, predicted, strict=True):
        bin_of_change = (change.variant.start - covered.start) // predictor.config.bin_bp
        centre = centre_bins(len(ref), bin_of_change, scoring.settings.centre_bins)
        yield change, score_alleles(ref, alt, scoring.own_scores, centre)


def _changes(stretch: Interval, genome: Genome) -> Iterator[_Change]:
    """Every base within the contig as every letter that it is not; N as all four."""
    length = genome.length(stretch.chrom)
    for place, code in enumerate(genome.codes(stretch).tolist()):
        start = stretch.start + place
        if 0 <= start < length:
            ref = _LETTERS[code]
            for letter, alt in enumerate(_LETTERS[:NUM_LETTERS]):
                if alt != ref:
                    yield _Change(place, letter, Variant(stretch.chrom, start, ref, alt))


def _draw(output: Path, index: int, stretch: MutatedStretch, genome: Genome, effects: np.ndarray, score: str) -> None:
    """A logo and a map of effects [L, 4], or of the middle of a stretch that is long."""
    place = stretch.place
    shown = place if place.length <= MAX_LOGO_BP else place.resized(MAX_LOGO_BP)
    rows = effects[shown.start - place.start : shown.end - place.start]
    drawn = mutagenesis_png(shown, genome.letters(shown), rows, stretch.name, score)
    write_bytes(output.with_name(f"{safe_stem([output.stem, f'logo_{index + 1:04d}', stretch.name])}.png"), drawn)
