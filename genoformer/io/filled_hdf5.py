"""An HDF5 file whose large arrays are laid out before they are computed and then filled in where they lie.

So a run that was killed can fill in what is missing, and equal numbers make equal bytes in whatever order they come.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from genoformer.errors import OutputError
from genoformer.io.hdf5_shards import ShardFile, writing
from genoformer.io.reads import partial_path

_ITEM_BYTES = 4


class FilledFile:
    """Fills in float32 arrays of a file under a temporary name; `finish` gives it its own.

    Args:
        shapes: of the arrays, by name.
        describe: puts everything else into a new file, whose arrays are there.
        resume: keep the arrays of a temporary file; what is in them is not looked at.
    Raises:
        OutputError: the file cannot be written, the disk is too small, or the temporary file to resume has no such
            arrays.
    """

    def __init__(
        self,
        path: str | Path,
        shapes: Mapping[str, tuple[int, ...]],
        describe: Callable[[h5py.File], None],
        *,
        resume: bool = False,
    ) -> None:
        self.path, self._partial = Path(path), partial_path(path)
        if not resume:
            self._lay_out(shapes, describe)
        with writing(self._partial), h5py.File(self._partial, "r") as file:
            if any(name not in file or file[name].shape != shape for name, shape in shapes.items()):
                raise OutputError(f"{self._partial}: is of another run; start without --resume")
            self._offsets = {name: file[name].id.get_offset() or 0 for name in shapes}
        with writing(self._partial):
            self._file = os.open(self._partial, os.O_RDWR)

    def _lay_out(self, shapes: Mapping[str, tuple[int, ...]], describe: Callable[[h5py.File], None]) -> None:
        needed = _ITEM_BYTES * sum(map(math.prod, shapes.values()))
        with writing(self._partial):
            free = shutil.disk_usage(self._partial.parent).free
            if free < needed:
                raise OutputError(
                    f"{self._partial}: needs {needed:,} bytes, {free:,} are free; make room, or choose fewer --tracks "
                    "or regions"
                )
            with h5py.File(self._partial, "w", libver="latest") as file:
                for name, shape in shapes.items():
                    _lay_out_array(file, name, shape)
                describe(file)

    def fill(self, name: str, first: int, values: np.ndarray) -> None:
        """Fills in values of an array from the `first` on, counted row by row through all of its axes."""
        data = values.astype("<f4").tobytes()
        place = self._offsets[name] + _ITEM_BYTES * first
        with writing(self._partial):
            while data:
                written = os.pwrite(self._file, data, place)
                data, place = data[written:], place + written

    def commit(self) -> None:
        """Makes what was written durable."""
        with writing(self._partial):
            os.fsync(self._file)

    def abandon(self) -> None:
        """Closes the temporary file and leaves it."""
        os.close(self._file)

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        self.commit()
        self.abandon()
        with writing(self._partial):
            self._partial.replace(self.path)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        self.abandon()
        self._partial.unlink(missing_ok=True)


class LaidOutFile:
    """A finished file that a `FilledFile` made, open until its context ends.

    Raises:
        DataError: no such file.
    """

    def __init__(self, path: str | Path, kind: str, format_version: int) -> None:
        self.path, self._file = Path(path), ShardFile(path, kind, format_version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()


def _lay_out_array(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """An array that has its place in the file, and no values."""
    stored = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    stored.set_obj_track_times(False)  # equal values, equal bytes
    stored.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    stored.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), dcpl=stored)
