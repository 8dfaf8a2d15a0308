"""Data sets of Basenji and Baskerville: a folder of TFRecord files and what describes them, read without TensorFlow.

    statistics.json    sizes
    targets.txt        tracks
    sequences.bed      where each example lies, in the order of the examples of a split; column 4 is the split
    tfrecords/         SPLIT-i.tfr, or SPLIT-g-i.tfr

An example holds `sequence` and `target`. Of `sequence` there are two generations: one-hot, four bytes a base, and
genome codes, one byte a base. `target` is float16, bin by bin. A row of sequences.bed is the whole sequence or, in
newer data sets, what the bins cover.

Source: Basenji, `basenji_data.py` and `basenji_data_write.py`; Baskerville, `hound_data.py` and `hound_data_write.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.alphabet import N_CODE
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.expression_examples import WindowShape
from genoformer.io.regions import Region, read_bed
from genoformer.io.targets import read_targets
from genoformer.io.tfrecord import Example, read_examples

TARGET_DTYPE = "float16"

_FILE_NAME = re.compile(r"(.+?)-((?:\d+-)*)(\d+)\.tfr")
_OTHER_FEATURES_BYTES = 1 << 20  # names, and which bins are mappable
_MAX_RECORD_BYTES = 1 << 30


@dataclass(frozen=True)
class BasenjiFolder:
    """A data set whose parts fit together.

    Attributes:
        rows: of sequences.bed, by split.
        files: TFRecord files by split, in the order of their examples.
    """

    path: Path
    shape: WindowShape
    tracks: list[Track]
    rows: dict[str, list[Region]]
    files: dict[str, list[Path]]

    def bins(self, row: Region) -> Interval:
        """What the bins of a row's example cover."""
        return row.interval.resized(self.shape.target_bp)


def open_basenji(path: str | Path) -> BasenjiFolder:
    """The data set in a folder; its TFRecord files are not yet read.

    Raises:
        DataError: a part is missing, damaged or does not fit the others.
    """
    folder = Path(path)
    tracks = read_targets(folder / "targets.txt")
    shape = _shape(folder / "statistics.json", len(tracks))
    bed = folder / "sequences.bed"
    rows: dict[str, list[Region]] = {}
    for region in read_bed(bed):
        length = region.interval.length
        if region.name is None or length not in (shape.sequence_bp, shape.target_bp):
            raise DataError(
                f"{bed} line {region.line}: {length} bp, split {region.name}; expected {shape.sequence_bp} or "
                f"{shape.target_bp} bp, as statistics.json has them, and a split in column 4"
            )
        rows.setdefault(region.name, []).append(region)
    files = {split: _files(folder / "tfrecords", split) for split in rows}
    return BasenjiFolder(folder, shape, tracks, rows, files)


def read_arrays(folder: BasenjiFolder, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Genome codes, uint8 [S], and targets, float16 [T, N], of each example of a file.

    Raises:
        DataError: a damaged file, an example of another size, or a value that is no finite number.
    """
    shape, tracks = folder.shape, folder.tracks
    num_values = shape.num_bins * len(tracks)
    limit = min(4 * shape.sequence_bp + 2 * num_values + _OTHER_FEATURES_BYTES, _MAX_RECORD_BYTES)
    for index, example in enumerate(read_examples(path, limit)):
        try:
            codes = _codes(_bytes(example, "sequence"), shape.sequence_bp)
            yield codes, _targets(_bytes(example, "target"), shape.num_bins, tracks)
        except DataError as error:
            raise DataError(f"{path} record {index}: {error}") from None


def _shape(path: Path, num_tracks: int) -> WindowShape:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        shape = WindowShape(*(values[name] for name in ("seq_length", "pool_width", "target_length")))
        crop, num_targets = values.get("crop_bp", shape.flank_bp), values.get("num_targets", num_tracks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else repr(error)
        raise DataError(f"{path}: cannot be read as the sizes of a data set: {what}") from None
    are_counts = all(isinstance(size, int) and size > 0 for size in vars(shape).values())
    if not are_counts or not shape.is_centred or crop != shape.flank_bp:
        raise DataError(f"{path}: the sizes {shape} with {crop} bp cropped on either side do not add up")
    if num_targets != num_tracks:
        raise DataError(f"{path}: num_targets is {num_targets}, but targets.txt has {num_tracks} tracks")
    return shape


def _files(folder: Path, split: str) -> list[Path]:
    """Files of a split in the order of their numbers, which must go from 0 on without a gap."""
    found = []
    for path in folder.glob("*.tfr"):
        match = _FILE_NAME.fullmatch(path.name)
        if match and match[1] == split:
            found.append((match[2], int(match[3]), path))
    found.sort()
    if len({group for group, _, _ in found}) > 1 or [number for _, number, _ in found] != list(range(len(found))):
        names = ", ".join(path.name for _, _, path in found)
        raise DataError(f"{folder}: the files of split {split} are {names}; expected all of {split}-0.tfr, -1.tfr, ...")
    if not found:
        raise DataError(f"{folder}: has no files {split}-*.tfr of split {split} in sequences.bed")
    return [path for _, _, path in found]


def _bytes(example: Example, feature: str) -> bytes:
    values = example.get(feature, [])
    if isinstance(values, np.ndarray) or len(values) != 1:
        raise DataError(f"has no feature {feature} of bytes; expected an example of Basenji")
    return values[0]


def _codes(sequence: bytes, length: int) -> np.ndarray:
    """Genome codes from either generation."""
    values = np.frombuffer(sequence, np.uint8)
    if len(values) == 4 * length:
        rows = values.reshape(length, 4)
        if values.max() > 1 or (rows.sum(axis=1) > 1).any():
            raise DataError("has a one-hot sequence with a row of other than one 1")
        return np.where(rows.any(axis=1), rows.argmax(axis=1), N_CODE).astype(np.uint8)
    if len(values) != length:
        raise DataError(f"has a sequence of {len(values)} bytes; expected {length}, or 4 times as many")
    if values.max() > N_CODE:
        raise DataError(f"has the letter code {values.max()} in its sequence; expected 0 to {N_CODE}")
    return values


def _targets(target: bytes, num_bins: int, tracks: list[Track]) -> np.ndarray:
    if len(target) != 2 * num_bins * len(tracks):
        raise DataError(
            f"has targets of {len(target)} bytes; expected {num_bins} bins of {len(tracks)} tracks in {TARGET_DTYPE}"
        )
    values = np.frombuffer(target, "<f2").reshape(num_bins, len(tracks)).T  # [T, N]
    if not np.isfinite(values).all():
        place, at = np.argwhere(~np.isfinite(values))[0].tolist()
        raise DataError(f"has the value {values[place, at]} in bin {at} of track '{tracks[place].identifier}'")
    return values
