"""Shards of expression examples: stretches of sequence and the binned tracks of their middle in one HDF5 file.

    sequences     uint8 [n, S]                   genome codes: A, C, G, T, N = 0 to 4
    targets       float32 or float16 [n, T, N]   track by track
    chrom         int32 [n]                      index into chroms
    start         int64 [n]                      first base of the first bin, 0-based
    chroms        bytes [c]
    identifier, description, sum_stat            bytes [T]
    scale, clip_soft, clip                       float64 [T], NaN for none
    strand_pair   int32 [T]                      index of the track of the other strand, or its own
    track_sums    float64 [T]                    of all windows and bins
    attributes    format_version, kind, sequence_bp S, bin_bp, num_bins N, dtype, transform, split

The N bins are in the middle of the S bases.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.alphabet import N_CODE
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.hdf5_shards import ShardFile, ShardWriter, deflate

FORMAT_VERSION = 1
KIND = "expression"
DTYPES = ("float32", "float16")

_TEXTS = ("identifier", "description", "sum_stat")
_NUMBERS = ("scale", "clip_soft", "clip")


@dataclass(frozen=True)
class WindowShape:
    """Size of an example: `sequence_bp` bases, and in their middle `num_bins` bins of `bin_bp` bases."""

    sequence_bp: int
    bin_bp: int
    num_bins: int

    @property
    def target_bp(self) -> int:
        """Bases that the bins cover."""
        return self.bin_bp * self.num_bins

    @property
    def flank_bp(self) -> int:
        """Bases before the first bin, as many as after the last one."""
        return (self.sequence_bp - self.target_bp) // 2

    @property
    def is_centred(self) -> bool:
        """Whether the bins can lie in the middle of the sequence."""
        return self.sequence_bp >= self.target_bp and (self.sequence_bp - self.target_bp) % 2 == 0

    def __str__(self) -> str:
        return f"{self.sequence_bp:,} bp with {self.num_bins:,} bins of {self.bin_bp} bp"


@dataclass(frozen=True)
class PackedExample:
    """An example as it is stored; worker processes make these.

    Attributes:
        bins: what the bins cover.
        sequence, targets: compressed.
        sums: of each track, float64 [T].
        num_bounded: values that were too large for the type and became its largest one.
    """

    bins: Interval
    sequence: bytes
    targets: bytes
    sums: np.ndarray
    num_bounded: int


def pack_example(bins: Interval, codes: np.ndarray, targets: np.ndarray, dtype: str) -> PackedExample:
    """An example made ready for storage.

    Args:
        codes: uint8 [S].
        targets: float [T, N], finite.
        dtype: one of `DTYPES`; values that float16 cannot hold become its largest one.
    """
    largest = np.finfo(dtype).max
    num_bounded = int((np.abs(targets) > largest).sum())
    stored = np.clip(targets, -largest, largest).astype(dtype)
    return PackedExample(
        bins, deflate(codes, zlib.Z_HUFFMAN_ONLY), deflate(stored), stored.sum(axis=1, dtype=np.float64), num_bounded
    )


class ExpressionWriter:
    """Writes a shard under a temporary name; `finish` gives it its own.

    Args:
        transform: how coverage became targets, for who wants to undo it.
    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(
        self, path: str | Path, shape: WindowShape, tracks: Sequence[Track], *, dtype: str, transform: str, split: str
    ) -> None:
        self._tracks, self._sums = tracks, np.zeros(len(tracks))
        self._chroms: dict[str, int] = {}
        self._chrom, self._start = array("i"), array("q")
        how = {"dtype": dtype, "transform": transform, "split": split}
        self._shard = ShardWriter(path, {"format_version": FORMAT_VERSION, "kind": KIND} | vars(shape) | how)
        self._shard.add_windows("sequences", (shape.sequence_bp,), np.uint8)
        self._shard.add_windows("targets", (len(tracks), shape.num_bins), dtype)

    @property
    def path(self) -> Path:
        """Name of the file once it is finished."""
        return self._shard.path

    def __len__(self) -> int:
        return len(self._start)

    def append(self, example: PackedExample) -> None:
        """Adds an example, of the shape and type of the shard."""
        self._shard.append("sequences", [example.sequence])
        self._shard.append("targets", [example.targets])
        self._chrom.append(self._chroms.setdefault(example.bins.chrom, len(self._chroms)))
        self._start.append(example.bins.start)
        self._sums += example.sums

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        texts = {name: np.array([getattr(track, name).encode() for track in self._tracks], "S") for name in _TEXTS}
        numbers = {name: np.array([getattr(track, name) for track in self._tracks], "f8") for name in _NUMBERS}
        arrays: dict[str, np.ndarray] = {
            "chrom": np.array(self._chrom, np.int32),
            "start": np.array(self._start, np.int64),
            "chroms": np.array([chrom.encode() for chrom in self._chroms], "S"),
            "strand_pair": np.array([track.strand_pair for track in self._tracks], np.int32),
            "track_sums": self._sums,
        }
        self._shard.finish(arrays | texts | numbers)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        self._shard.discard()


class ExpressionShard:
    """A finished shard, read example by example, in any order.

    Attributes:
        shape, tracks, split, transform: of all examples.
        track_sums: of each track over all examples and bins, float64 [T].
    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = ShardFile(path, KIND, FORMAT_VERSION)
        self.shape, dtype = self._read_attributes()
        num, num_tracks = self._file.count("start"), self._file.count("strand_pair")
        self._sequences = self._file.windows("sequences", (num, self.shape.sequence_bp), "u1")
        self._targets = self._file.windows("targets", (num, num_tracks, self.shape.num_bins), dtype)
        self._chrom = self._file.array("chrom", (num,), "i4")
        self._start = self._file.array("start", (num,), "i8")
        self._chroms = self._file.array("chroms", (self._file.count("chroms"),), "S")
        self.track_sums = self._file.array("track_sums", (num_tracks,), "f8")
        self.tracks = self._read_tracks(num_tracks)
        if num and not 0 <= self._chrom.min() <= self._chrom.max() < len(self._chroms):
            raise DataError(f"{path}: has windows of contigs that it does not name; make it again")

    def _read_attributes(self) -> tuple[WindowShape, str]:
        """Shape and type of the targets."""
        with self._file.reading():
            attributes = self._file.attributes
            self.split, self.transform = str(attributes["split"]), str(attributes["transform"])
            shape = WindowShape(*(int(attributes[name]) for name in ("sequence_bp", "bin_bp", "num_bins")))
            if min(vars(shape).values()) < 1 or not shape.is_centred or attributes["dtype"] not in DTYPES:
                raise ValueError(f"attributes {attributes}")
        return shape, attributes["dtype"]

    def _read_tracks(self, num_tracks: int) -> list[Track]:
        pairs = self._file.array("strand_pair", (num_tracks,), "i4").tolist()
        if any(not 0 <= pair < num_tracks or pairs[pair] != place for place, pair in enumerate(pairs)):
            raise DataError(f"{self.path}: has strand pairs that are none; make it again")
        columns: dict[str, list[Any]] = {"strand_pair": pairs, "file": [""] * num_tracks}
        for name in _TEXTS:
            texts = self._file.array(name, (num_tracks,), "S")
            columns[name] = [text.decode("utf-8", "replace") for text in texts.tolist()]
        for name in _NUMBERS:
            numbers = self._file.array(name, (num_tracks,), "f8")
            columns[name] = [None if math.isnan(number) else number for number in numbers.tolist()]
        return [Track(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def __len__(self) -> int:
        return len(self._start)

    def __enter__(self) -> ExpressionShard:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()

    def bins(self, index: int) -> Interval:
        """What the bins of an example cover."""
        start = int(self._start[index])
        return Interval(self._chroms[self._chrom[index]].decode(), start, start + self.shape.target_bp)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequence, uint8 [S], and targets, float [T, N], of an example.

        Raises:
            DataError: a damaged example.
        """
        [codes], [targets] = self._sequences.read([index]), self._targets.read([index])
        if codes.max(initial=0) > N_CODE:
            raise DataError(f"{self.path}: window {index} has the letter code {codes.max()}; make it again")
        return codes, targets
