"""Predicted tracks in one HDF5 file: of each region the bins of the windows around it, one region after the other.

    predictions             float32 [T, N]     track by track, over the bins of all regions
    first_bin               int64 [n + 1]      those of region i are first_bin[i] up to first_bin[i + 1]
    chrom                   int32 [n]          index into chroms
    start                   int64 [n]          first base of the first bin, 0-based; negative before the contig
    region_start, region_end    int64 [n]      the region itself
    name                    bytes [n]          column 4 of the BED file, its first 255 bytes
    chroms, chrom_lengths   bytes, int64 [c]   all contigs of the genome, in its order
    track                   int32 [T]          index among the outputs of the model's head
    identifier, description bytes [T]
    attributes              format_version, kind, bin_bp, num_outputs (of the head), identity (JSON: what determines the
                            numbers), contents (what they are: predictions, or contributions), and more to read: model,
                            model_sha256, version, command, species, window_bp

The file is laid out before the first prediction, so that a run that was killed can fill in what is missing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.filled_hdf5 import FilledFile, LaidOutFile
from genoformer.io.hdf5_shards import named_tracks

FORMAT_VERSION = 1
KIND = "predictions"
_ARRAY = "predictions"
_SIZES = "bin_bp", "num_outputs"
_OWN = {"format_version", "kind", "identity", "contents", *_SIZES}
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class Stretch:
    """The bins that are predicted for a region, `bins`, and what it is called."""

    region: Interval
    name: str | None
    bins: Interval


@dataclass(frozen=True)
class Layout:
    """What a file holds besides the predictions.

    Attributes:
        lengths: bases of each contig of the genome by name, in its order.
        tracks: by their index in the model's head.
        num_outputs: of that head.
        identity: JSON values of everything that determines the predictions.
        notes: further attributes, texts and numbers.
        contents: what the values are.
    """

    stretches: Sequence[Stretch]
    bin_bp: int
    lengths: Mapping[str, int]
    tracks: Mapping[int, Track]
    num_outputs: int
    identity: Mapping[str, Any]
    notes: Mapping[str, Any]
    contents: str = KIND

    @property
    def first_bins(self) -> np.ndarray:
        """Where the bins of each stretch begin among all, and their number at the end, int64 [n + 1]."""
        counts = [stretch.bins.length // self.bin_bp for stretch in self.stretches]
        return np.cumsum([0, *counts], dtype=np.int64)

    def arrays(self) -> dict[str, np.ndarray]:
        """The datasets of a file but for the predictions."""
        place = {chrom: index for index, chrom in enumerate(self.lengths)}
        names = [(stretch.name or "").encode()[:_MAX_NAME_BYTES] for stretch in self.stretches]
        tracks = self.tracks.values()
        return {
            "first_bin": self.first_bins,
            "chrom": np.array([place[stretch.bins.chrom] for stretch in self.stretches], np.int32),
            "start": np.array([stretch.bins.start for stretch in self.stretches], np.int64),
            "region_start": np.array([stretch.region.start for stretch in self.stretches], np.int64),
            "region_end": np.array([stretch.region.end for stretch in self.stretches], np.int64),
            "name": np.array(names, "S"),
            "chroms": np.array([chrom.encode() for chrom in self.lengths], "S"),
            "chrom_lengths": np.array(list(self.lengths.values()), np.int64),
            "track": np.array(list(self.tracks), np.int32),
            "identifier": np.array([track.identifier.encode() for track in tracks], "S"),
            "description": np.array([track.description.encode() for track in tracks], "S"),
        }


class PredictionWriter(FilledFile):
    """Writes a file under a temporary name; `finish` gives it its own.

    Args:
        resume: keep the predictions of a temporary file of the same layout; what is in it is not looked at.
    Raises:
        OutputError: the file cannot be written, the disk is too small, or there is no such temporary file to resume.
    """

    def __init__(self, path: str | Path, layout: Layout, *, resume: bool = False) -> None:
        self._num_bins = int(layout.first_bins[-1])
        shapes = {_ARRAY: (len(layout.tracks), self._num_bins)}
        super().__init__(path, shapes, functools.partial(_describe, layout), resume=resume)

    def write(self, first_bin: int, values: np.ndarray) -> None:
        """Fills in the predictions [T, n] of n bins from `first_bin`."""
        for row, track in enumerate(values):
            self.write_row(row, first_bin, track)

    def write_row(self, row: int, first_bin: int, values: np.ndarray) -> None:
        """Fills in those of one track [n], by its place in the file."""
        self.fill(_ARRAY, row * self._num_bins + first_bin, values)


def _describe(layout: Layout, file: h5py.File) -> None:
    """Everything but the predictions."""
    file.attrs.update({"format_version": FORMAT_VERSION, "kind": KIND} | dict(sorted(layout.notes.items())))
    file.attrs.update({name: getattr(layout, name) for name in _SIZES})
    file.attrs["identity"], file.attrs["contents"] = json.dumps(dict(layout.identity)), layout.contents
    for name, values in layout.arrays().items():
        file.create_dataset(name, data=values)


class PredictionFile(LaidOutFile):
    """A file of predictions, read track by track.

    Attributes:
        layout: what it holds.
        first_bins, num_bins: where the bins of each stretch begin among all, int64 [n + 1], and how many there are.
    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, KIND, FORMAT_VERSION)
        self.layout = self._read_layout()
        self.first_bins = self.layout.first_bins
        self.num_bins = int(self.first_bins[-1])
        self._predictions = self._file.stored(_ARRAY, (len(self.layout.tracks), self.num_bins), "f4")

    def _read_layout(self) -> Layout:
        file, attributes = self._file, dict(self._file.attributes)
        arrays = file.arrays({
            "first_bin": "i8", "chrom": "i4", "start": "i8", "region_start": "i8", "region_end": "i8", "name": "S",
            "chroms": "S", "chrom_lengths": "i8", "track": "i4", "identifier": "S", "description": "S",
        })  # fmt: skip
        with file.reading():
            bin_bp, num_outputs = (int(attributes[name]) for name in _SIZES)
            identity = json.loads(attributes["identity"])
            notes = {name: attributes[name] for name in attributes.keys() - _OWN}
            return Layout(
                _stretches(arrays, bin_bp), bin_bp, _lengths(arrays),
                named_tracks(arrays["track"], arrays["identifier"], arrays["description"]), num_outputs, identity,
                notes, str(attributes.get("contents", KIND)),
            )  # fmt: skip

    def values(self, row: int, start: int, end: int) -> np.ndarray:
        """Predictions of a track for bins `start` up to `end`, float32 [end - start].

        Args:
            row: the track's place in the file.
        Raises:
            DataError: a damaged file.
        """
        with self._file.reading():
            return self._predictions[row, start:end]


def _stretches(arrays: Mapping[str, np.ndarray], bin_bp: int) -> list[Stretch]:
    chroms = [chrom.decode() for chrom in arrays["chroms"].tolist()]
    counts, first_bins = np.diff(arrays["first_bin"]), arrays["first_bin"]
    if not len(first_bins) or first_bins[0] or bin_bp < 1 or (counts < 1).any():
        raise ValueError("bins that do not follow one another")
    if not ((arrays["chrom"] >= 0) & (arrays["chrom"] < len(chroms))).all():
        raise ValueError("regions of contigs that it does not name")
    columns = (arrays[name].tolist() for name in ("chrom", "start", "region_start", "region_end", "name"))
    return [
        Stretch(
            Interval(chroms[chrom], region_start, region_end),
            name.decode("utf-8", "replace") or None,
            Interval(chroms[chrom], start, start + count * bin_bp),
        )
        for count, chrom, start, region_start, region_end, name in zip(counts.tolist(), *columns, strict=True)
    ]


def _lengths(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    chroms = [chrom.decode() for chrom in arrays["chroms"].tolist()]
    return dict(zip(chroms, arrays["chrom_lengths"].tolist(), strict=True))
