"""Scores of variants in one HDF5 file, in the schema of Basenji's SAD files, which its tools read.

    snp, chr                bytes [n]         name, or chrom:position; contig
    pos                     uint32 [n]        of REF's first base, 1-based
    ref_allele, alt_allele  bytes [n]         `ref` is another name of the first
    target_ids, target_labels   bytes [T]     identifier and description of each track
    SAD, SAR, ...           float32 [n, T]    attribute `score`: its name in full, which says over which bins and how
    percentiles             float64 [279]
    SAD_pct, SAR_pct, ...   float32 [T, 279]  percentiles of the scores over variants, as many as are looked at
    REF, ALT                float32 [n, N, T] predictions, where they are kept
    record, note            int64, bytes [n]  number of the VCF record from 1; "flipped" or "trusted"
    target_index            int32 [T]         among the outputs of the head
    contigs, contig_lengths bytes, int64      of the genome
    genes/gene, genes/name  bytes [G]         all genes
    genes/si, genes/gi      int64 [m]         variant and gene of each row of
    genes/<score>           float32 [m, T]
    attributes              format_version, kind, and what the writer says of the file's origin

Source: Basenji, `basenji_sad.py`, whose scores are float16.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from genoformer.errors import DataError
from genoformer.genome.variant import Variant
from genoformer.genome.variant_scores import CENTRE_SUFFIX
from genoformer.io.hdf5_shards import encoded, named_tracks, writing
from genoformer.io.reads import partial_path
from genoformer.io.score_rows import ScoredVariant, ScoreRows, ScoreTable, VariantHead

FORMAT_VERSION = 1
KIND = "variant scores"
PERCENTILES = np.concatenate([np.arange(0.001, 0.1, 0.001), np.arange(0.1, 0.9, 0.01), np.arange(0.9, 1, 0.001)])
MAX_VARIANTS_IN_PERCENTILES = 1 << 16
_BLOCK_BYTES = 1 << 24  # of rows that are written or read at a time
_BASENJI_NAMES = {
    "sad_sum": "SAD", "sad_mean": "SAD_mean", "logsad_sum": "logSAD", "sar_sum": "SAR", "d1_sum": "D1", "d2_sum": "D2",
    "js": "JS", "max": "SAX",
}  # fmt: skip
SUFFIXES = ("_percentile", "_z")  # of scores held against a background


def dataset_name(score: str) -> str:
    """What the dataset of a score is called: as in Basenji where that has it."""
    rest = score
    for suffix in SUFFIXES:
        rest = rest.removesuffix(suffix)
    base = rest.removesuffix(CENTRE_SUFFIX)
    return _BASENJI_NAMES.get(base, base) + score[len(base) :]


def write_score_hdf5(path: str | Path, source: ScoreRows) -> None:
    """Writes all rows to a file that appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = partial_path(path)
    try:
        with writing(partial):
            with h5py.File(partial, "w", libver="latest") as file:
                _Writer(file, source).write()
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class BackgroundArrays:
    """Of each score and track of a file, in float64: mean and standard deviation [S, T], percentiles [S, T, 279].

    `tracks` are their identifiers and descriptions.
    """

    tracks: list[tuple[str, str]]
    mean: np.ndarray
    deviation: np.ndarray
    percentiles: np.ndarray


def read_background(path: str | Path, scores: Sequence[str]) -> BackgroundArrays:
    """What the scores in a file are like; the file may be Basenji's own.

    Raises:
        DataError: no such file, a damaged one, or one without variants or one of the scores.
    """
    try:
        with h5py.File(path, "r") as file:
            missing = next((score for score in scores if f"{dataset_name(score)}_pct" not in file), None)
            if missing is not None or not len(file["snp"]):
                lacks = "no variants" if missing is None else f"no percentiles of '{missing}'"
                raise DataError(f"{path}: has {lacks}; make the background with the same --scores")
            if not np.allclose(file["percentiles"][:], PERCENTILES):
                raise DataError(f"{path}: has other percentiles than Basenji's 279")
            names = [dataset_name(score) for score in scores]
            moments = np.array([_moments(file[name]) for name in names])  # [S, 2, T]
            percentiles = np.array([file[f"{name}_pct"][:] for name in names], np.float64)
            tracks = list(zip(_strings(file["target_ids"]), _strings(file["target_labels"]), strict=True))
            return BackgroundArrays(tracks, moments[:, 0], moments[:, 1], percentiles)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: is no whole file of variant scores ({error}); make it again") from None


def _moments(dataset: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over rows, [T] each, a block of rows at a time."""
    num_rows, num_tracks = dataset.shape
    at_a_time = max(1, _BLOCK_BYTES // (8 * max(1, num_tracks)))
    blocks = range(0, num_rows, at_a_time)
    mean = sum(dataset[start : start + at_a_time].sum(axis=0, dtype=np.float64) for start in blocks) / num_rows
    squares = sum(((dataset[start : start + at_a_time] - mean) ** 2).sum(axis=0) for start in blocks)
    return mean, np.sqrt(squares / num_rows)


class _Writer:
    """Fills one file, whose arrays have their sizes from the start."""

    def __init__(self, file: h5py.File, source: ScoreRows) -> None:
        self.file, self.source, self.table = file, source, source.table

    def write(self) -> None:
        table = self.table
        attributes = {"format_version": FORMAT_VERSION, "kind": KIND} | dict(table.attributes)
        self.file.attrs.update(dict(sorted(attributes.items())))
        self._write_tracks()
        num_rows = self._lay_out_heads()
        row_bytes = 4 * len(table.tracks) * (len(table.scores) + 2 * table.num_bins)
        rows_at_a_time = max(1, min(_BLOCK_BYTES // max(row_bytes, 1), num_rows or 1))
        self._lay_out_scores(num_rows)
        block: list[ScoredVariant] = []
        start = 0
        for row in self.source.rows():
            block.append(row)
            if len(block) == rows_at_a_time:
                self._write_block(start, block)
                start, block = start + len(block), []
        self._write_block(start, block)
        self._write_percentiles(num_rows)

    def _write_tracks(self) -> None:
        tracks = self.table.tracks
        self.file["target_ids"] = encoded([track.identifier for track in tracks.values()])
        self.file["target_labels"] = encoded([track.description for track in tracks.values()])
        self.file["target_index"] = np.array(list(tracks), np.int32)
        self.file["contigs"] = encoded(list(self.table.contigs))
        self.file["contig_lengths"] = np.array(list(self.table.contigs.values()), np.int64)

    def _lay_out_heads(self) -> int:
        """Makes the arrays of what rows are about, wide enough for the longest text; returns the number of rows."""
        widths, num_rows = np.ones(len(_TEXTS), int), 0
        for head in self.source.heads():
            widths = np.maximum(widths, [len(text) for text in _head_texts(head)])
            num_rows += 1
        for name, width in zip(_TEXTS, widths.tolist(), strict=True):
            self.file.create_dataset(name, (num_rows,), f"S{width}")
        self.file["ref"] = self.file["ref_allele"]
        self.file.create_dataset("pos", (num_rows,), np.uint32)
        self.file.create_dataset("record", (num_rows,), np.int64)
        return num_rows

    def _lay_out_scores(self, num_rows: int) -> None:
        num_tracks = len(self.table.tracks)
        for score in self.table.scores:
            dataset = self.file.create_dataset(dataset_name(score), (num_rows, num_tracks), np.float32)
            dataset.attrs["score"] = score
        if self.table.num_bins:
            for allele in ("REF", "ALT"):
                self.file.create_dataset(allele, (num_rows, self.table.num_bins, num_tracks), np.float32)
        if self.table.gene_score:
            genes = self.file.create_group("genes")
            genes["gene"], genes["name"] = (encoded(texts) for texts in zip(*self.table.genes, strict=True))
            for name in ("si", "gi"):
                genes.create_dataset(name, (0,), np.int64, maxshape=(None,), chunks=(4096,))
            genes.create_dataset(
                self.table.gene_score, (0, num_tracks), np.float32, maxshape=(None, num_tracks),
                chunks=(max(1, 16384 // max(num_tracks, 1)), num_tracks),
            )  # fmt: skip

    def _write_block(self, start: int, block: list[ScoredVariant]) -> None:
        if not block:
            return
        rows, heads = slice(start, start + len(block)), [row.head for row in block]
        for name, texts in zip(_TEXTS, zip(*map(_head_texts, heads), strict=True), strict=True):
            self.file[name][rows] = np.array(texts, self.file[name].dtype)
        self.file["pos"][rows] = np.array([head.variant.start + 1 for head in heads], np.uint32)
        self.file["record"][rows] = np.array([head.record for head in heads], np.int64)
        for place, score in enumerate(self.table.scores):
            self.file[dataset_name(score)][rows] = np.array([row.values[place] for row in block])
        for place, allele in enumerate(("REF", "ALT") if self.table.num_bins else ()):
            self.file[allele][rows] = np.array([row.predictions[place] for row in block if row.predictions is not None])
        if self.table.gene_score:
            self._write_genes(start, block)

    def _write_genes(self, start: int, block: list[ScoredVariant]) -> None:
        found = [(start + place, *row.genes) for place, row in enumerate(block) if row.genes and len(row.genes[0])]
        if not found:
            return
        arrays = {
            "si": np.concatenate([np.full(len(genes), row, np.int64) for row, genes, _ in found]),
            "gi": np.concatenate([np.array(genes, np.int64) for _, genes, _ in found]),
            self.table.gene_score: np.concatenate([values for _, _, values in found]),
        }
        for name, values in arrays.items():
            dataset = self.file["genes"][name]
            first = len(dataset)
            dataset.resize(first + len(values), axis=0)
            dataset[first:] = values

    def _write_percentiles(self, num_rows: int) -> None:
        """Percentiles of each score and track, over variants spread evenly where there are very many."""
        self.file["percentiles"] = PERCENTILES
        step = -(-num_rows // MAX_VARIANTS_IN_PERCENTILES) if num_rows else 1
        at_a_time = max(1, _BLOCK_BYTES // (4 * max(1, -(-num_rows // step))))
        for score in self.table.scores if num_rows else ():
            if score.endswith(SUFFIXES):
                continue
            name, num_tracks = dataset_name(score), len(self.table.tracks)
            table = self.file.create_dataset(f"{name}_pct", (num_tracks, len(PERCENTILES)), np.float32)
            for first in range(0, num_tracks, at_a_time):
                values = self.file[name][::step, first : first + at_a_time]
                table[first : first + at_a_time] = np.percentile(values, 100 * PERCENTILES, axis=0).T


_TEXTS = ("snp", "chr", "ref_allele", "alt_allele", "note")


def _head_texts(head: VariantHead) -> tuple[bytes, ...]:
    variant = head.variant
    return tuple(text.encode() for text in (head.name, variant.chrom, variant.ref, variant.alt, head.note))


def _plain(value: Any) -> Any:
    """A value of Python, of which JSON can be made."""
    return value.item() if isinstance(value, np.generic) else value


class ScoreFile:
    """A file of scores, read row by row; its rows are `ScoreRows`.

    Attributes:
        table: what all rows have in common.
        num_rows: variants.
        identity: what determined the scores, JSON values.
    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._reading():
            self._file = h5py.File(path, "r")
            attributes = {name: _plain(value) for name, value in self._file.attrs.items()}
            kind, version = attributes.pop("kind", None), attributes.pop("format_version", None)
        if (kind, version) != (KIND, FORMAT_VERSION):
            raise DataError(
                f"{path}: holds {kind or 'HDF5 of another program'}, version {version}; expected {KIND} of version "
                f"{FORMAT_VERSION}, as 'genoformer variants score' writes them"
            )
        with self._reading():
            self.table = self._read_table(attributes)
            self.num_rows = len(self._file["snp"])
            self.identity: dict[str, Any] = json.loads(attributes["identity"])

    def __enter__(self) -> ScoreFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{self.path}: is no whole file of variant scores ({error}); make it again") from None

    def _read_table(self, attributes: dict[str, Any]) -> ScoreTable:
        file = self._file
        tracks = named_tracks(*(file[name][:] for name in ("target_index", "target_ids", "target_labels")))
        contigs = dict(zip(_strings(file["contigs"]), file["contig_lengths"][:].tolist(), strict=True))
        genes: tuple[tuple[str, str], ...] = ()
        gene_score = ""
        if "genes" in file:
            genes = tuple(zip(_strings(file["genes/gene"]), _strings(file["genes/name"]), strict=True))
            gene_score = next(name for name in file["genes"] if name not in ("gene", "name", "si", "gi"))
        num_bins = file["REF"].shape[1] if "REF" in file else 0
        scores = json.loads(attributes["scores"])
        return ScoreTable(tuple(scores), tracks, num_bins, genes, gene_score, contigs, attributes)

    def heads(self) -> Iterator[VariantHead]:
        """What the rows are about, in order."""
        at_a_time = 4096
        for start in range(0, self.num_rows, at_a_time):
            with self._reading():
                columns = [self._file[name][start : start + at_a_time].tolist() for name in ("record", "pos", *_TEXTS)]
            yield from map(_head, zip(*columns, strict=True))

    def rows(self) -> Iterator[ScoredVariant]:
        """The rows, in order."""
        genes = self._gene_rows()
        for place, head in enumerate(self.heads()):
            yield self._row(place, head, genes)

    def row(self, place: int) -> ScoredVariant:
        """One of the rows, without its genes."""
        with self._reading():
            columns = tuple(self._file[name][place : place + 1].tolist()[0] for name in ("record", "pos", *_TEXTS))
        return self._row(place, _head(columns), iter([([], np.zeros((0, len(self.table.tracks)), np.float32))]))

    def blocks(self, score: str) -> Iterator[np.ndarray]:
        """A score of all variants, float32 [n, T], a block of rows at a time."""
        at_a_time = max(1, _BLOCK_BYTES // (4 * max(1, len(self.table.tracks))))
        for start in range(0, self.num_rows, at_a_time):
            with self._reading():
                yield self._file[dataset_name(score)][start : start + at_a_time]

    def _row(self, place: int, head: VariantHead, genes: Iterator[tuple[list[int], np.ndarray]]) -> ScoredVariant:
        table = self.table
        with self._reading():
            values = np.array([self._file[dataset_name(score)][place] for score in table.scores], np.float32)
            predictions = np.array([self._file[a][place] for a in ("REF", "ALT")]) if table.num_bins else None
            return ScoredVariant(head, values, predictions, next(genes) if table.gene_score else None)

    def _gene_rows(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Genes of each variant and their scores."""
        if not self.table.gene_score:
            return
        group = self._file["genes"]
        first, variants = 0, group["si"][:]
        for place in range(self.num_rows):
            end = int(np.searchsorted(variants, place, side="right"))
            yield group["gi"][first:end].tolist(), group[self.table.gene_score][first:end]
            first = end


def _head(columns: tuple[Any, ...]) -> VariantHead:
    record, pos, *texts = columns
    name, chrom, ref, alt, note = (text.decode() for text in texts)
    own_name = "" if name == f"{chrom}:{pos}" else name
    return VariantHead(record, Variant(chrom, pos - 1, ref, alt, own_name), note)


def _strings(dataset: h5py.Dataset) -> list[str]:
    return [text.decode() for text in dataset[:].tolist()]
