"""Scored variants on their way to the files that hold them: a spool that grows by one variant at a time.

A spool can be cut at the end of any variant and continued, which the final formats cannot; these are made of a whole
spool, so a run that was interrupted ends with the bytes of one that was not. Its records are a length, a JSON head,
and the numbers in float32.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from genoformer.genome.track import Track
from genoformer.genome.variant import Variant

_LENGTH = struct.Struct("<I")
_NUMBER = np.dtype("<f4")


@dataclass(frozen=True)
class VariantHead:
    """What a row of scores is about.

    Attributes:
        record: number of the record in the VCF file, from 1.
        variant: as the file has it.
        note: "flipped" or "trusted" where REF is not in the genome, else "".
    """

    record: int
    variant: Variant
    note: str

    @property
    def name(self) -> str:
        """The variant's name; chrom:position where it has none."""
        return self.variant.name or f"{self.variant.chrom}:{self.variant.start + 1}"


@dataclass(frozen=True)
class ScoredVariant:
    """The scores of a variant.

    Attributes:
        values: float32 [scores, T].
        predictions: of REF and ALT, float32 [2, N, T]; None where they are not kept.
        genes: numbers of the genes around, and float32 [genes, T].
    """

    head: VariantHead
    values: np.ndarray
    predictions: np.ndarray | None = None
    genes: tuple[Sequence[int], np.ndarray] | None = None


@dataclass(frozen=True)
class ScoreTable:
    """What all rows have in common.

    Attributes:
        scores: their names, as `genome.variant_scores` has them, some with "_z" or "_percentile" after it.
        tracks: by their index among the head's outputs.
        num_bins: of predictions that are kept; 0: none are.
        genes: identifier and name of each.
        gene_score: what the number of a gene is; "" without genes.
        contigs: lengths by name, of the genome.
        attributes: what a file says of its origin: texts and numbers.
    """

    scores: tuple[str, ...]
    tracks: Mapping[int, Track]
    num_bins: int = 0
    genes: tuple[tuple[str, str], ...] = ()
    gene_score: str = ""
    contigs: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


class ScoreRows(Protocol):
    """Scored variants that can be gone through several times."""

    @property
    def table(self) -> ScoreTable:
        """What all rows have in common."""
        ...

    def heads(self) -> Iterator[VariantHead]:
        """What the rows are about, in order."""
        ...

    def rows(self) -> Iterator[ScoredVariant]:
        """The rows, in order."""
        ...


def encode_row(row: ScoredVariant) -> bytes:
    """A record of a spool."""
    head, variant = row.head, row.head.variant
    genes = [int(gene) for gene in row.genes[0]] if row.genes else []
    fields = [head.record, variant.chrom, variant.start, variant.ref, variant.alt, variant.name, head.note, genes]
    text = json.dumps(fields).encode()
    arrays = [row.values, row.predictions, row.genes[1] if row.genes else None]
    numbers = b"".join(np.ascontiguousarray(array, _NUMBER).tobytes() for array in arrays if array is not None)
    return _LENGTH.pack(len(text)) + text + numbers


class Spool:
    """The rows of a spool of `num_bytes` bytes."""

    def __init__(self, path: str | Path, num_bytes: int, table: ScoreTable) -> None:
        self.path, self.num_bytes, self.table = Path(path), num_bytes, table

    def heads(self) -> Iterator[VariantHead]:
        """What the rows are about, in order."""
        with self.path.open("rb") as file:
            while file.tell() < self.num_bytes:
                head, genes = self._head(file)
                file.seek(_NUMBER.itemsize * sum(map(_size, self._shapes(len(genes)))), 1)
                yield head

    def rows(self) -> Iterator[ScoredVariant]:
        """The rows, in order."""
        with self.path.open("rb") as file:
            while file.tell() < self.num_bytes:
                head, genes = self._head(file)
                values, predictions, of_genes = (self._array(file, shape) for shape in self._shapes(len(genes)))
                yield ScoredVariant(
                    head,
                    values,
                    predictions if self.table.num_bins else None,
                    (genes, of_genes) if self.table.gene_score else None,
                )

    def _shapes(self, num_genes: int) -> list[tuple[int, ...]]:
        num_tracks = len(self.table.tracks)
        return [(len(self.table.scores), num_tracks), (2, self.table.num_bins, num_tracks), (num_genes, num_tracks)]

    @staticmethod
    def _head(file: BinaryIO) -> tuple[VariantHead, list[int]]:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        record, chrom, start, ref, alt, name, note, genes = json.loads(file.read(length))
        return VariantHead(record, Variant(chrom, start, ref, alt, name), note), genes

    @staticmethod
    def _array(file: BinaryIO, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(file.read(_NUMBER.itemsize * _size(shape)), _NUMBER).reshape(shape)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
