"""bigWig files in: coverage base by base.

Source: Kent et al. 2010, "BigWig and BigBed", supplement: header, zoom headers and total summary.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np
import pyBigWig

from genoformer.errors import DataError
from genoformer.genome.interval import Interval

_BYTE_ORDERS = {struct.pack(order + "I", 0x888FFC26): order for order in "<>"}  # by a file's first bytes
_HEADER = "IHHQQQHHQQIQ"
_NUM_ZOOMS, _OFFSETS = 2, slice(3, 6)  # in the header; the offsets are of contigs, data and index
_ZOOM = "IIQQ"  # bases of a bin, none, offsets of data and index
_SUMMARY_OFFSET = 9
_SUMMARY = "Qdddd"  # bases covered, least, most, sum, sum of squares


class BigWig:
    """A track's coverage, open for reading in one thread of one process.

    Attributes:
        path: the file.
        lengths: bases of each contig by name; contigs without coverage may not be among them.
    Raises:
        DataError: no bigWig file, or one that is cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._may_hold_nan = not math.isfinite(_sum_of_values(self.path))
        try:
            self._file = pyBigWig.open(str(path))
            self.lengths: dict[str, int] = self._file.chroms()
        except RuntimeError as error:
            raise DataError(f"{path}: cannot be read as bigWig ({error}); copy the file again") from None

    def __enter__(self) -> BigWig:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()

    def values(self, interval: Interval) -> np.ndarray:
        """Values of an interval within its contig, float32 [length]; NaN where the file has none.

        Raises:
            DataError: a damaged file, or a value in it that is NaN or infinite.
        """
        nothing = np.full(interval.length, np.nan, np.float32)
        if interval.chrom not in self.lengths:
            return nothing
        where = interval.chrom, interval.start, interval.end
        try:
            if self._may_hold_nan:
                self._check_finite(interval, self._file.intervals(*where) or ())
            values = self._file.values(*where, numpy=True)
        except RuntimeError as error:
            raise DataError(f"{self.path}: {interval} cannot be read ({error}); the file is damaged") from None
        return values if len(values) else nothing  # without any data, pyBigWig has no array

    def _check_finite(self, interval: Interval, found: tuple[tuple[int, int, float], ...]) -> None:
        for start, _, value in found:
            if not math.isfinite(value):
                at = max(start, interval.start) + 1
                raise DataError(
                    f"{self.path}: has the value {value} at {interval.chrom}:{at}; expected numbers; make the track "
                    "anew without it"
                )


def _sum_of_values(path: Path) -> float:
    """The sum that a file keeps of all its values; NaN where it keeps none.

    It is read here since pyBigWig crashes on a sum that is no number.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(struct.calcsize("<" + _HEADER))
            order = _BYTE_ORDERS.get(head[:4])
            if order is None:
                raise DataError(f"{path}: starts with {head[:8]!r}; expected a bigWig file")
            header = struct.unpack(order + _HEADER, head)
            zooms = file.read(header[_NUM_ZOOMS] * struct.calcsize("<" + _ZOOM))
            offsets = [offset for zoom in struct.iter_unpack(order + _ZOOM, zooms) for offset in zoom[2:]]
            if max(*header[_OFFSETS], *offsets) >= size:
                raise struct.error
            if not header[_SUMMARY_OFFSET]:
                return math.nan
            file.seek(header[_SUMMARY_OFFSET])
            return struct.unpack(order + _SUMMARY, file.read(struct.calcsize("<" + _SUMMARY)))[3]
    except struct.error:
        raise DataError(f"{path}: is cut off after {size} bytes; copy the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
