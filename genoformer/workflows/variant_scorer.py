"""Variants scored by a model: their alleles predicted, compared, held against a background and summed over genes."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer import __version__
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.genome.track_choice import choose_tracks
from genoformer.genome.variant_scores import centre_bins, full_names, score_alleles
from genoformer.io.genome_fasta import Genome
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.allele_predictor import AllelePredictor, Comparison, PredictorSettings
from genoformer.workflows.background import Background, load_background
from genoformer.workflows.gene_scores import GeneScorer
from genoformer.workflows.model_choice import choose_species
from genoformer.workflows.score_options import CPU_BATCH, GPU_BATCH, ScoreSettings
from genoformer.workflows.variant_source import FLIPPED, TRUSTED, PlacedVariant

logger = logging.getLogger(__name__)

# What the files say of how exact they are; measured by tests/workflows/test_allele_predictor.py.
NOISE = "predictions agree with full forward passes of both alleles within 2e-6 of the largest"


@dataclass(frozen=True)
class VariantScorer:
    """A model ready to score variants.

    Attributes:
        tracks: that are scored, by their index among the head's outputs.
        scores: names of the rows of a variant's values.
    """

    predictor: AllelePredictor
    settings: ScoreSettings
    tracks: Mapping[int, Track]
    background: Background | None = None
    genes: GeneScorer | None = None

    @property
    def own_scores(self) -> tuple[str, ...]:
        """Names of the scores that need no background."""
        return full_names(self.settings.scores)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of all scores, in the order of a variant's values."""
        return self.own_scores + (self.background.names if self.background else ())

    def score(self, variants: Iterable[PlacedVariant]) -> Iterator[ScoredVariant]:
        """The scores of variants, in their order."""
        waiting: deque[PlacedVariant] = deque()
        for tracks in self.predictor.predict(self._comparisons(variants, waiting)):
            yield self._scored(waiting.popleft(), tracks.ref, tracks.alt)

    def _comparisons(self, variants: Iterable[PlacedVariant], waiting: deque[PlacedVariant]) -> Iterator[Comparison]:
        for placed in variants:
            waiting.append(placed)
            yield Comparison(self._window(placed), placed.ref, placed.alt)

    def _window(self, placed: PlacedVariant) -> Interval:
        return self.settings.window(placed.site, self.predictor.config)

    def _scored(self, placed: PlacedVariant, ref: np.ndarray, alt: np.ndarray) -> ScoredVariant:
        covered = self.predictor.covered(self._window(placed))
        bin_of_variant = (placed.site.start - covered.start) // self.predictor.config.bin_bp
        centre = centre_bins(len(ref), bin_of_variant, self.settings.centre_bins)
        values = score_alleles(ref, alt, self.own_scores, centre)
        if self.background is not None:
            values = np.concatenate([values, self.background.compare(values)])
        note = FLIPPED if placed.alt is None else TRUSTED if placed.ref is not None else ""
        return ScoredVariant(
            VariantHead(placed.record, placed.variant, note),
            values,
            np.stack([ref, alt]) if self.settings.keep_predictions else None,
            self.genes.scores(covered, ref, alt) if self.genes else None,
        )


def make_scorer(
    model: ExpressionTransformer,
    genome: Genome,
    settings: ScoreSettings,
    background: str | Path | None = None,
    genes: GeneScorer | None = None,
) -> VariantScorer:
    """What scores variants of a genome with a model.

    Raises:
        UsageError: settings that cannot work with this model.
        DataError: a background that does not fit.
    """
    settings.check()
    settings.check_model(model.config)
    species = choose_species(settings.species, list(model.config.heads))
    chosen = choose_tracks(model.tracks[species], settings.tracks)
    tracks = {index: model.tracks[species][index] for index in chosen}
    scores = full_names(settings.scores)
    predictor = AllelePredictor(
        model,
        genome.codes,
        PredictorSettings(
            species, tuple(chosen), settings.rc, settings.shifts, settings.stitch, settings.reuse,
            settings.batch_size or (CPU_BATCH if model.positions.device.type == "cpu" else GPU_BATCH),
            settings.precision,
        ),
    )  # fmt: skip
    if settings.precision != "fp32":
        logger.warning(
            "scoring in %s, not fp32: away from a variant its rounding may be larger than the effects",
            settings.precision,
        )
    held_against = None if background is None else load_background(background, scores, list(tracks.values()))
    return VariantScorer(predictor, settings, tracks, held_against, genes)


def score_table(scorer: VariantScorer, genome: Genome, origin: Mapping[str, Any]) -> ScoreTable:
    """What all rows have in common.

    Args:
        origin: what files say of it, besides what they say anyway.
    """
    settings, genes = scorer.settings, scorer.genes
    attributes = {
        "version": __version__,
        **origin,
        "genome": genome.path.name,
        "species": scorer.predictor.settings.species,
        "precision": settings.precision,
        "noise": NOISE if settings.precision == "fp32" else f"that of {settings.precision}",
        "scores": json.dumps(scorer.scores),
        "window_bp": scorer.predictor.config.window_bp,
        "bin_bp": scorer.predictor.config.bin_bp,
        "centre": settings.centre,
        "grid_bp": settings.grid_bp or 0,
    }
    return ScoreTable(
        scorer.scores,
        scorer.tracks,
        scorer.predictor.num_bins if settings.keep_predictions else 0,
        genes.names if genes else (),
        genes.score if genes else "",
        genome.lengths,
        dict(sorted(attributes.items())),  # as a file gives them back
    )
