"""Saturation mutagenesis in one HDF5 file, in the schema of Baskerville's: scores of every base changed to every other.

    seqs                    bool [n, L, 4]     the genome's letters A, C, G, T of each stretch; none for N
    SAD, SAR, ...           float32 [n, L, 4, T]   score of the letter against the genome's, 0 for that itself and past
                            the contig's ends; attribute `score`: its name in full
    chr, strand             bytes [n]          strand is +
    start, end              int64 [n]          of the stretches, 0-based half-open
    name                    bytes [n]          of the variant or region, its first 255 bytes
    target_ids, target_labels   bytes [T]      identifier and description of each track
    target_index            int32 [T]          among the outputs of the head
    attributes              format_version, kind, and what the writer says of the file's origin

Source: Baskerville, `hound_ism_bed.py`, whose scores are float16.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genoformer.errors import DataError, OutputError
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.reads import partial_path
from genoformer.io.score_hdf5 import dataset_name

FORMAT_VERSION = 1
KIND = "saturation mutagenesis"
NUM_LETTERS = 4
_ITEM_BYTES = 4
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class MutatedStretch:
    """Bases that are changed one by one, and what they are called."""

    place: Interval
    name: str


class MutagenesisWriter:
    """Writes a file under a temporary name; `finish` gives it its own.

    Args:
        stretches: of one length.
        scores: their names in full.
        tracks: by their index in the model's head.
        attributes: texts and numbers.
    Raises:
        OutputError: the file cannot be written, or the disk is too small.
    """

    def __init__(
        self,
        path: str | Path,
        stretches: Sequence[MutatedStretch],
        scores: Sequence[str],
        tracks: Mapping[int, Track],
        attributes: Mapping[str, Any],
    ) -> None:
        self.path, self._partial, self._scores = Path(path), partial_path(path), tuple(scores)
        shape = len(stretches), stretches[0].place.length, NUM_LETTERS, len(tracks)
        with self._writing():
            self._check_room(_ITEM_BYTES * math.prod(shape) * len(scores))
            self._file = h5py.File(self._partial, "w", libver="latest")
        with self._writing():
            self._file.attrs.update(
                dict(sorted({"format_version": FORMAT_VERSION, "kind": KIND, **attributes}.items()))
            )
            self._write_stretches(stretches)
            self._file["target_ids"] = _texts([track.identifier for track in tracks.values()])
            self._file["target_labels"] = _texts([track.description for track in tracks.values()])
            self._file["target_index"] = np.array(list(tracks), np.int32)
            self._file.create_dataset("seqs", shape[:3], bool)
            for score in self._scores:
                dataset = self._file.create_dataset(dataset_name(score), shape, np.float32)
                dataset.attrs["score"] = score

    def _write_stretches(self, stretches: Sequence[MutatedStretch]) -> None:
        places = [stretch.place for stretch in stretches]
        self._file["chr"] = _texts([place.chrom for place in places])
        self._file["strand"] = _texts(["+"] * len(places))
        self._file["start"] = np.array([place.start for place in places], np.int64)
        self._file["end"] = np.array([place.end for place in places], np.int64)
        self._file["name"] = np.array([stretch.name.encode()[:_MAX_NAME_BYTES] for stretch in stretches], "S")

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._partial.parent).free
        if free < needed:
            raise OutputError(
                f"{self._partial}: needs {needed:,} bytes, {free:,} are free; choose fewer --tracks or bases"
            )

    def write_sequence(self, index: int, letters: np.ndarray) -> None:
        """Fills in the genome's letters of a stretch, [L, 4]."""
        with self._writing():
            self._file["seqs"][index] = letters.astype(bool)

    def write(self, index: int, place: int, letter: int, values: np.ndarray) -> None:
        """Fills in the scores [scores, T] of a letter at a place of a stretch."""
        with self._writing():
            for score, row in zip(self._scores, values, strict=True):
                self._file[dataset_name(score)][index, place, letter] = row

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        with self._writing():
            self._file.close()
            self._partial.replace(self.path)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        with contextlib.suppress(OSError, RuntimeError):  # what a full disk did not take is not wanted any more
            self._file.close()
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self._partial}: cannot be written: {reason}") from None


def read_through(path: str | Path) -> tuple[int, int]:
    """The number of stretches in a file, and of bases in each, after reading all of their scores.

    Raises:
        DataError: not such a file, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            if (file.attrs.get("kind"), file.attrs.get("format_version")) != (KIND, FORMAT_VERSION):
                raise DataError(
                    f"{path}: expected {KIND} of version {FORMAT_VERSION}, as 'genoformer variants ism' writes"
                )
            num_stretches, length, _ = file["seqs"].shape
            for name in json.loads(file.attrs["scores"]):
                dataset = file[dataset_name(name)]
                for index, place in itertools.product(range(num_stretches), range(length)):
                    dataset[index, place]
            return num_stretches, length
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: is no whole file of {KIND} ({error}); make it again") from None


def _texts(values: Sequence[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], "S")
