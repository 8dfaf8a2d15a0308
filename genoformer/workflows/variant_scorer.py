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
from genoformer.config import ExpressionConfig
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Fetch
from genoformer.genome.variant_scores import centre_bins, full_names, score_alleles
from genoformer.io.genome_fasta import Genome
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.allele_predictor import AllelePredictor, Comparison, PredictorSettings
from genoformer.workflows.background import Background, load_background
from genoformer.workflows.gene_scores import GeneScorer
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.track_model import Outputs
from genoformer.workflows.variant_source import FLIPPED, TRUSTED, PlacedVariant

logger = logging.getLogger(__name__)

# What the files say of how exact they are; measured by tests/workflows/test_allele_predictor.py.
NOISE = "predictions agree with full forward passes of both alleles within 2e-6 of the largest"


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how; picklable, for processes that have a model of their own.

    Attributes:
        config: of the model.
    """

    config: ExpressionConfig
    outputs: Outputs
    settings: ScoreSettings
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

    def window(self, placed: PlacedVariant) -> Interval:
        """What the model reads around a variant."""
        return self.settings.window(placed.site, self.config)

    def predictor_settings(self, device_kind: str) -> PredictorSettings:
        """How alleles are predicted on a CPU, or on a GPU."""
        settings = self.settings
        return PredictorSettings(
            self.outputs.species, tuple(self.outputs.chosen), settings.rc, settings.shifts, settings.stitch,
            settings.reuse, settings.rows_at_once(device_kind), settings.precision,
        )  # fmt: skip

    def identity(self, device_kind: str) -> dict[str, Any]:
        """What determines the scores besides the model, its outputs and the files, JSON values."""
        settings = self.settings
        return {
            "scores": list(self.own_scores),
            "rc": settings.rc,
            "shifts": list(settings.shifts),
            "centre": None if settings.grid_bp else settings.centre,
            "grid_bp": settings.grid_bp,
            "centre_bins": settings.centre_bins,
            "keep_predictions": settings.keep_predictions,
            "stitch": settings.stitch,
            "ref_mismatch": settings.ref_mismatch,
            "reuse": settings.reuse,
            "precision": settings.precision,
            "batch_size": settings.rows_at_once(device_kind),
        }

    def flags(self) -> list[str]:
        """Words of a command line that ask for these scores, without those that cannot change one."""
        settings, defaults = self.settings, ScoreSettings()
        words = ["--scores", ",".join(self.own_scores), "--species", self.outputs.species]
        words += [f"--tracks '{pattern}'" for pattern in settings.tracks]
        if settings.shifts != (0,):
            words.append(f"--shifts {','.join(map(str, settings.shifts))}")
        for flag, name in (("--window-grid", "grid_bp"), ("--centre", "centre"), ("--centre-bins", "centre_bins"),
                           ("--ref-mismatch", "ref_mismatch"), ("--precision", "precision")):  # fmt: skip
            if getattr(settings, name) != getattr(defaults, name):
                words.append(f"{flag} {getattr(settings, name)}")
        for flag, is_set in (
            ("--rc", settings.rc), ("--no-stitch", not settings.stitch), ("--no-reuse", not settings.reuse),
            ("--predictions", settings.keep_predictions),
        ):  # fmt: skip
            words += [flag] if is_set else []
        return words


@dataclass(frozen=True)
class VariantScorer:
    """A model ready to score variants."""

    predictor: AllelePredictor
    scoring: Scoring

    def score(self, variants: Iterable[PlacedVariant]) -> Iterator[ScoredVariant]:
        """The scores of variants, in their order."""
        waiting: deque[PlacedVariant] = deque()
        for tracks in self.predictor.predict(self._comparisons(variants, waiting)):
            yield self._scored(waiting.popleft(), tracks.ref, tracks.alt)

    def _comparisons(self, variants: Iterable[PlacedVariant], waiting: deque[PlacedVariant]) -> Iterator[Comparison]:
        for placed in variants:
            waiting.append(placed)
            yield Comparison(self.scoring.window(placed), placed.ref, placed.alt)

    def _scored(self, placed: PlacedVariant, ref: np.ndarray, alt: np.ndarray) -> ScoredVariant:
        scoring = self.scoring
        covered = self.predictor.covered(scoring.window(placed))
        bin_of_variant = (placed.site.start - covered.start) // scoring.config.bin_bp
        centre = centre_bins(len(ref), bin_of_variant, scoring.settings.centre_bins)
        values = score_alleles(ref, alt, scoring.own_scores, centre)
        if scoring.background is not None:
            values = np.concatenate([values, scoring.background.compare(values)])
        note = FLIPPED if placed.alt is None else TRUSTED if placed.ref is not None else ""
        return ScoredVariant(
            VariantHead(placed.record, placed.variant, note),
            values,
            np.stack([ref, alt]) if scoring.settings.keep_predictions else None,
            scoring.genes.scores(covered, ref, alt) if scoring.genes else None,
        )


def make_scoring(
    config: ExpressionConfig,
    outputs: Outputs,
    settings: ScoreSettings,
    device: str,
    background: str | Path | None = None,
    genes: GeneScorer | None = None,
) -> Scoring:
    """What is scored with some outputs of a model.

    Args:
        device: that will score, or its kind.
        background: a file of scores of other variants.
    Raises:
        UsageError: settings that cannot work with this model.
        DataError: a background that does not fit.
    """
    settings.check()
    settings.check_model(config)
    if settings.precision == "tf32" and device == "cpu":
        logger.warning("scoring in fp32: a CPU has no tf32")
    elif settings.precision != "fp32":
        logger.warning(
            "scoring in %s, not fp32: away from a variant its rounding may be larger than the effects",
            settings.precision,
        )
    names, tracks = full_names(settings.scores), list(outputs.chosen.values())
    others = None if background is None else load_background(background, names, tracks)
    scoring = Scoring(config, outputs, settings, others, genes)
    scoring.predictor_settings(device).check(config)  # here, not in each process that has a model
    return scoring


def make_scorer(model: ExpressionTransformer, fetch: Fetch, scoring: Scoring) -> VariantScorer:
    """What scores variants of the genome that `fetch` gives, with the model that `scoring` is about."""
    settings = scoring.predictor_settings(model.positions.device.type)
    return VariantScorer(AllelePredictor(model, fetch, settings), scoring)


def score_table(scoring: Scoring, genome: Genome, origin: Mapping[str, Any]) -> ScoreTable:
    """What all rows have in common.

    Args:
        origin: what files say of it, besides what they say anyway.
    """
    settings, genes, config = scoring.settings, scoring.genes, scoring.config
    attributes = {
        "version": __version__,
        **origin,
        "genome": genome.path.name,
        "species": scoring.outputs.species,
        "precision": settings.precision,
        "noise": NOISE if settings.precision == "fp32" else f"that of {settings.precision}",
        "scores": json.dumps(scoring.scores),
        "window_bp": config.window_bp,
        "bin_bp": config.bin_bp,
        "centre": settings.centre,
        "grid_bp": settings.grid_bp or 0,
    }
    return ScoreTable(
        scoring.scores,
        scoring.outputs.chosen,
        config.target_bins if settings.keep_predictions else 0,
        genes.names if genes else (),
        genes.score if genes else "",
        genome.lengths,
        dict(sorted(attributes.items())),  # as a file gives them back
    )
