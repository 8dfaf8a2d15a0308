"""Saturation mutagenesis in one HDF5 file, in the schema of Baskerville's: scores of every base changed to every other.

    seqs                    bool [n, L, 4]     the genome's letters A, C, G, T of each stretch; none for N
    SAD, SAR, ...           float32 [n, L, 4, T]   score of the letter against the genome's, 0 for that itself and past
                            the contig's ends; attribute `score`: its name in full
    chr, strand             bytes [n]          strand is +
    start, end              int64 [n]          of the stretches, 0-based half-open
    name                    bytes [n]          of the variant or region, its first 255 bytes
    target_ids, target_labels   bytes [T]      identifier and description of each track
    target_index            int32 [T]          among the outputs of the head
    attributes              format_version, kind, identity (JSON: what determines the scores), and more to read: scores
                            (JSON), model, model_sha256, version, command, species

The file is laid out before the first score, so that a run that was killed can fill in what is missing.

Source: Baskerville, `hound_ism_bed.py`, whose scores are float16.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genoformer.genome.alphabet import N_CODE, genome_codes, genome_letters, one_hot
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.filled_hdf5 import FilledFile, LaidOutFile
from genoformer.io.hdf5_shards import encoded, named_tracks
from genoformer.io.score_hdf5 import dataset_name

FORMAT_VERSION = 1
KIND = "saturation mutagenesis"
NUM_LETTERS = 4
_MAX_NAME_BYTES = 255
_CUT_LETTERS = "surrogateescape"  # a name that is cut within a letter is written again as it is


@dataclass(frozen=True)
class MutatedStretch:
    """Bases that are changed one by one, what they are called, and the genome's letters there: A, C, G, T, N."""

    place: Interval
    name: str
    letters: bytes


@dataclass(frozen=True)
class MutagenesisLayout:
    """What a file holds besides the scores.

    Attributes:
        stretches: of one length.
        scores: their names in full.
        tracks: by their index in the model's head.
        identity: JSON values of everything that determines the scores.
        notes: further attributes, texts and numbers.
    """

    stretches: Sequence[MutatedStretch]
    scores: Sequence[str]
    tracks: Mapping[int, Track]
    identity: Mapping[str, Any]
    notes: Mapping[str, Any]

    @property
    def length_bp(self) -> int:
        """Bases of a stretch."""
        return self.stretches[0].place.length if self.stretches else 0

    @property
    def num_bases(self) -> int:
        """Bases of all stretches."""
        return len(self.stretches) * self.length_bp

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the scores."""
        return len(self.stretches), self.length_bp, NUM_LETTERS, len(self.tracks)

    def arrays(self) -> dict[str, np.ndarray]:
        """The datasets of a file but for the scores."""
        places, tracks = [stretch.place for stretch in self.stretches], self.tracks.values()
        names = [stretch.name.encode("utf-8", _CUT_LETTERS)[:_MAX_NAME_BYTES] for stretch in self.stretches]
        codes = genome_codes(b"".join(stretch.letters for stretch in self.stretches))
        return {
            "seqs": one_hot(codes).astype(bool).reshape(self.shape[:3]),
            "chr": encoded([place.chrom for place in places]),
            "strand": encoded(["+"] * len(places)),
            "start": np.array([place.start for place in places], np.int64),
            "end": np.array([place.end for place in places], np.int64),
            "name": np.array(names, "S"),
            "target_ids": encoded([track.identifier for track in tracks]),
            "target_labels": encoded([track.description for track in tracks]),
            "target_index": np.array(list(self.tracks), np.int32),
        }


class MutagenesisWriter(FilledFile):
    """Writes a file under a temporary name; `finish` gives it its own.

    Args:
        resume: keep the scores of a temporary file of the same layout; what is in it is not looked at.
    Raises:
        OutputError: the file cannot be written, the disk is too small, or there is no such temporary file to resume.
    """

    def __init__(self, path: str | Path, layout: MutagenesisLayout, *, resume: bool = False) -> None:
        self._datasets = [dataset_name(score) for score in layout.scores]
        self._base_values = NUM_LETTERS * len(layout.tracks)
        shapes = dict.fromkeys(self._datasets, layout.shape)
        super().__init__(path, shapes, functools.partial(_describe, layout), resume=resume)

    def write(self, first_base: int, values: np.ndarray) -> None:
        """Fills in the scores [scores, n, 4, T] of n bases from `first_base`, counted through all stretches."""
        for name, rows in zip(self._datasets, values, strict=True):
            self.fill(name, first_base * self._base_values, rows)


def _describe(layout: MutagenesisLayout, file: h5py.File) -> None:
    """Everything but the scores."""
    made_of = {"identity": json.dumps(dict(layout.identity)), "scores": json.dumps(list(layout.scores))}
    attributes = {"format_version": FORMAT_VERSION, "kind": KIND} | made_of | dict(layout.notes)
    file.attrs.update(dict(sorted(attributes.items())))
    for score in layout.scores:
        file[dataset_name(score)].attrs["score"] = score
    for name, values in layout.arrays().items():
        file.create_dataset(name, data=values)


class MutagenesisFile(LaidOutFile):
    """A file of saturation mutagenesis.

    Attributes:
        layout: what it holds.
    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, KIND, FORMAT_VERSION)
        self.layout = self._read_layout()
        self._scores = [self._file.stored(dataset_name(name), self.layout.shape, "f4") for name in self.layout.scores]

    def _read_layout(self) -> MutagenesisLayout:
        file, attributes = self._file, dict(self._file.attributes)
        arrays = file.arrays({
            "chr": "S", "start": "i8", "end": "i8", "name": "S", "target_ids": "S", "target_labels": "S",
            "target_index": "i4",
        })  # fmt: skip
        with file.reading():
            places = _places(arrays)
            tracks = named_tracks(arrays["target_index"], arrays["target_ids"], arrays["target_labels"])
            scores, identity = map(str, json.loads(attributes["scores"])), dict(json.loads(attributes["identity"]))
            own = {"format_version", "kind", "scores", "identity"}
            notes = {name: attributes[name] for name in attributes.keys() - own}
        sequences = file.array("seqs", (len(places), places[0].length if places else 0, NUM_LETTERS), "?")
        with file.reading():
            names = [name.decode("utf-8", _CUT_LETTERS) for name in arrays["name"].tolist()]
            stretches = list(map(MutatedStretch, places, names, map(_letters, sequences)))
            return MutagenesisLayout(stretches, list(scores), tracks, identity, notes)

    def values(self, index: int, start: int, end: int) -> np.ndarray:
        """Scores of the bases `start` up to `end` of a stretch, float32 [scores, end - start, 4, T].

        Raises:
            DataError: a damaged file.
        """
        with self._file.reading():
            return np.array([scores[index, start:end] for scores in self._scores])

    def blocks(self, num_bases: int) -> Iterator[np.ndarray]:
        """The scores of all bases in order, float32 [scores, n, 4, T], of at most so many at a time.

        Raises:
            DataError: a damaged file.
        """
        for index in range(len(self.layout.stretches)):
            for start in range(0, self.layout.length_bp, num_bases):
                yield self.values(index, start, min(start + num_bases, self.layout.length_bp))


def _places(arrays: Mapping[str, np.ndarray]) -> list[Interval]:
    columns = (arrays[name].tolist() for name in ("chr", "start", "end"))
    places = [Interval(chrom.decode(), start, end) for chrom, start, end in zip(*columns, strict=True)]
    if len({place.length for place in places}) > 1 or len(arrays["name"]) != len(places):
        raise ValueError("stretches of several lengths, or without names")
    return places


def _letters(bases: np.ndarray) -> bytes:
    """Letters of one-hot bases, bool [L, 4]; N where there is none."""
    return genome_letters(np.where(bases.any(axis=1), bases.argmax(axis=1), N_CODE))
