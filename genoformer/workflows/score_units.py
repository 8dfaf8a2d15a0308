"""Variants in units that devices score, each on its own.

A device keeps the reference of the last window, so variants that share one go to one device as far as may be.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genoformer.io.genome_fasta import Genome
from genoformer.io.score_rows import ScoredVariant
from genoformer.workflows.device import enough_memory
from genoformer.workflows.device_pool import DevicePool
from genoformer.workflows.track_model import TrackModel
from genoformer.workflows.variant_scorer import Scoring, make_scorer
from genoformer.workflows.variant_source import PlacedVariant

Unit = list[PlacedVariant]

MAX_SHARING = 64  # variants of one window in a unit


@dataclass(frozen=True)
class UnitScorer:
    """A model and how it scores variants of a genome; picklable, for processes that open both themselves."""

    model: TrackModel
    genome: Path
    scoring: Scoring

    def open_devices(self) -> DevicePool[Unit, list[ScoredVariant]]:
        """What scores the variants of a unit."""
        return DevicePool(self.load, self.model.devices, in_thread=not self.model.on_cpu)

    @contextlib.contextmanager
    def load(self, device: str) -> Iterator[Callable[[Unit], list[ScoredVariant]]]:
        """The function of `open_devices` on one of them."""
        model = self.model.load(device)
        with Genome(self.genome) as genome:
            scorer = make_scorer(model, genome.codes, self.scoring)

            def score_unit(unit: Unit) -> list[ScoredVariant]:
                with enough_memory(device, f"{scorer.predictor.settings.batch_size} sequences"):
                    return list(scorer.score(unit))

            yield score_unit

    def units(self, variants: Iterable[PlacedVariant]) -> Iterator[Unit]:
        """Consecutive variants: as many as fill a batch and, for several devices, those that share the last window.

        Not so where predictions of every bin are kept, of which few fit into memory.
        """
        window = self.scoring.window
        least = self.scoring.settings.rows_at_once(self.model.device_kind)
        is_shared = len(self.model.devices) > 1 and not self.scoring.settings.keep_predictions
        most = max(least, MAX_SHARING) if is_shared else least
        unit: Unit = []
        for placed in variants:
            if len(unit) >= least and (len(unit) >= most or window(placed) != window(unit[-1])):
                yield unit
                unit = []
            unit.append(placed)
        if unit:
            yield unit
