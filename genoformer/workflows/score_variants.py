"""`genoformer.score_variants`: variants scored from Python, as arrays, a table or a file."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import UsageError
from genoformer.genome.variant import Variant
from genoformer.io.genome_fasta import Genome
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead
from genoformer.io.score_text import HEAD_COLUMNS, TRACK_COLUMNS, head_values
from genoformer.io.vcf import VcfRecord, read_vcf
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.device import find_device
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.track_model import choose_outputs, open_track_model
from genoformer.workflows.variant_scorer import make_scorer, make_scoring, score_table
from genoformer.workflows.variant_source import VariantSource


@dataclass(frozen=True)
class VariantScores:
    """The scores of variants.

    Attributes:
        scored: in the order of the variants.
        table: names of scores and tracks.
        counts: variants by kind, and ALTs that were left out by reason.
    """

    scored: tuple[ScoredVariant, ...]
    table: ScoreTable
    counts: Mapping[str, int]

    @property
    def variants(self) -> list[Variant]:
        """What was scored."""
        return [row.head.variant for row in self.scored]

    def __getitem__(self, score: str) -> np.ndarray:
        """A score by its full name, float32 [variants, T]; KeyError where there is no such score."""
        if score not in self.table.scores:
            raise KeyError(score)
        place = self.table.scores.index(score)
        shape = (len(self.scored), len(self.table.tracks))
        return np.array([row.values[place] for row in self.scored], np.float32).reshape(shape)

    def to_table(self) -> dict[str, np.ndarray]:
        """Columns by name, a row for each variant and track; what pandas.DataFrame or polars.DataFrame takes."""
        num_tracks, num_rows = len(self.table.tracks), len(self.scored)
        columns = {
            name: np.repeat(np.array([head_values(head)[place] for head in self.heads()]), num_tracks)
            for place, name in enumerate(HEAD_COLUMNS)
        }
        tracks = [(index, track.identifier, track.description) for index, track in self.table.tracks.items()]
        for place, name in enumerate(TRACK_COLUMNS):
            columns[name] = np.tile(np.array([track[place] for track in tracks]), num_rows)
        return columns | {score: self[score].ravel() for score in self.table.scores}

    def to_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Writes a file in the schema of `genoformer variants score`.

        Raises:
            OutputError: the file cannot be written.
        """
        write_score_hdf5(Path(path), self)

    def heads(self) -> Iterator[VariantHead]:
        """What the rows are about."""
        return (row.head for row in self.scored)

    def rows(self) -> Iterator[ScoredVariant]:
        """The scored variants."""
        return iter(self.scored)


def score_variants(
    model: ExpressionTransformer | str | os.PathLike[str],
    genome: str | os.PathLike[str],
    variants: str | os.PathLike[str] | Iterable[Variant],
    *,
    device: str | None = None,
    **settings: Any,
) -> VariantScores:
    """The scores of a VCF file's variants or of any others, kept in memory.

    Args:
        model: an expression model, a file of one, or the name of a model that ships.
        genome: a FASTA file.
        variants: a VCF file, or variants.
        device: for a model from a file; None: CUDA where there is any, else the CPU.
        settings: the fields of `workflows.score_options.ScoreSettings`: scores, tracks, species, rc, shifts, ...
    Raises:
        UsageError: settings that cannot work, or something else than variants.
        DataError: files that are damaged or do not belong together.
    """
    unknown = next((key for key in settings if key not in ScoreSettings.__dataclass_fields__), None)
    if unknown is not None:
        known = ", ".join(ScoreSettings.__dataclass_fields__)
        raise UsageError(f"score_variants: unknown setting '{unknown}'; expected {known}")
    chosen = ScoreSettings(**{key: _frozen(value) for key, value in settings.items()})
    origin = {"command": "genoformer.score_variants", "identity": "{}"}
    if isinstance(model, ExpressionTransformer):
        outputs = choose_outputs(model.tracks, chosen.species, chosen.tracks)
    else:
        opened = open_track_model(os.fspath(model), chosen.species, chosen.tracks, (str(find_device(device)),), None)
        origin, outputs, model = origin | opened.notes, opened.outputs, opened.load()
    scoring = make_scoring(model.config, outputs, chosen, model.positions.device.type)
    with Genome(os.fspath(genome)) as contigs:
        scorer = make_scorer(model, contigs.codes, scoring)
        name, records = _records(variants)
        source = VariantSource(
            name, records, contigs, ref_mismatch=chosen.ref_mismatch, max_allele_bp=model.config.window_bp // 2
        )
        everything = range(1, source.count_records() + 1)
        counts: Counter[str] = source.check(everything)
        rows = tuple(scorer.score(source.variants(everything, Counter())))
        return VariantScores(rows, score_table(scoring, contigs, origin), dict(counts))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _records(
    variants: str | os.PathLike[str] | Iterable[Variant],
) -> tuple[str, Callable[[], Iterable[VcfRecord]]]:
    """What to call them, and what gives them anew at each call."""
    if isinstance(variants, str | os.PathLike):
        return os.fspath(variants), functools.partial(read_vcf, Path(variants))
    kept = list(variants)
    other = next((each for each in kept if not isinstance(each, Variant)), None)
    if other is not None:
        raise UsageError(f"variants: found {other!r}; expected a VCF file or genoformer.genome.variant.Variant objects")
    records = [
        VcfRecord(number, number, each.chrom, each.start, each.name, each.ref.upper(), (each.alt,))
        for number, each in enumerate(kept, 1)
    ]
    return "variants", lambda: records
