"""What the HDF5 shards of both tasks have in common: arrays of windows, one gzip chunk each, beside small arrays.

A window is compressed by whoever made it and read back without HDF5's own path: in any order at the speed of a scan.
The small arrays lie in the file as they are and are read when it is opened, so that a file cannot make more be
allocated than it has bytes.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from genoformer.errors import DataError, OutputError
from genoformer.genome.track import Track, named_track
from genoformer.io.reads import partial_path

_GZIP_LEVEL = 4
_UNMARKED_KIND = "consensus"  # its shards have no attribute "kind"
_EXAMPLES = "examples"
# By kind: what a shard holds, and the command that makes it.
_CONTENTS = {
    "consensus": (_EXAMPLES, "consensus examples"),
    "expression": (_EXAMPLES, "expression examples"),
    "predictions": ("predictions", "expression predict"),
    "saturation mutagenesis": ("saturation mutagenesis", "variants ism"),
}


def deflate(values: np.ndarray, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """Values as HDF5's gzip filter would store them; `strategy` as in zlib."""
    deflater = zlib.compressobj(_GZIP_LEVEL, strategy=strategy)
    return deflater.compress(np.ascontiguousarray(values).data) + deflater.flush()


def shard_kind(path: str | Path) -> str:
    """What an HDF5 file holds: "consensus" or "expression" examples, "predictions", or what else it says.

    Raises:
        DataError: no whole HDF5 file.
    """
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("kind", _UNMARKED_KIND))
    except OSError as error:
        raise DataError(f"{path}: is not a whole HDF5 file ({error}); make it again") from None


def encoded(texts: Iterable[str]) -> np.ndarray:
    """Texts as HDF5 keeps them, bytes [n]."""
    return np.array([text.encode() for text in texts], "S")


def named_tracks(indices: np.ndarray, identifiers: np.ndarray, descriptions: np.ndarray) -> dict[int, Track]:
    """Tracks of which a file has the names alone, bytes [T] each, by their index in the model's head, int [T].

    Raises:
        ValueError: arrays of several lengths, or names that are no UTF-8.
    """
    columns = (array.tolist() for array in (indices, identifiers, descriptions))
    return {
        index: named_track(identifier.decode(), description.decode(), index)
        for index, identifier, description in zip(*columns, strict=True)
    }


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What h5py and the system raise inside becomes an error with the name of the file that is written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py's word for a full disk
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written: {reason}") from None


class ShardWriter:
    """Writes a shard under a temporary name; `finish` gives it its own.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, attributes: dict[str, Any]) -> None:
        self.path = Path(path)
        self._partial = partial_path(path)
        with writing(self._partial):
            self._file = h5py.File(self._partial, "w", libver="latest")
            self._file.attrs.update(attributes)

    def add_windows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Makes an array of windows of one shape, still without a window."""
        with writing(self._partial):
            self._file.create_dataset(
                name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape),
                compression="gzip", compression_opts=_GZIP_LEVEL,
            )  # fmt: skip

    def append(self, name: str, deflated: Sequence[bytes]) -> None:
        """Adds windows, each as `deflate` gave it."""
        windows = self._file[name]
        start = len(windows)
        with writing(self._partial):
            windows.resize(start + len(deflated), axis=0)
            for index, window in enumerate(deflated, start):
                windows.id.write_direct_chunk((index, *[0] * (windows.ndim - 1)), window)

    def finish(self, arrays: dict[str, np.ndarray]) -> None:
        """Adds the small arrays, completes the file and gives it its name."""
        with writing(self._partial):
            for name, values in arrays.items():
                self._file.create_dataset(name, data=values)
            self._file.close()
            self._partial.replace(self.path)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        with contextlib.suppress(OSError, RuntimeError):  # what a full disk did not take is not wanted any more
            self._file.close()
        self._partial.unlink(missing_ok=True)


class ShardFile:
    """A finished shard, whose arrays are checked before they are read.

    Args:
        kind: "consensus" or "expression", of examples, "predictions" or "saturation mutagenesis".
        format_version: the one that can be read.
    Attributes:
        attributes: of the file.
    Raises:
        DataError: no HDF5 file of this format.
    """

    def __init__(self, path: str | Path, kind: str, format_version: int) -> None:
        self.path = Path(path)
        self._contents, command = _CONTENTS[kind]
        with self.reading():
            self._file = h5py.File(self.path, "r")
            self.attributes: dict[str, Any] = dict(self._file.attrs)
            found = self.attributes["format_version"]
        found_kind = self.attributes.get("kind", _UNMARKED_KIND)
        if found_kind != kind:
            contents = _CONTENTS.get(found_kind, (found_kind,))[0]
            of = f"{found_kind} {contents}" if contents == _EXAMPLES else contents
            raise DataError(f"{path}: is a shard of {of}; expected one of 'genoformer {command}'")
        if found != format_version:
            raise DataError(
                f"{path}: has format version {found}; this genoformer reads version {format_version}; "
                f"make the {self._contents} again"
            )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What h5py raises inside becomes an error with the file's name."""
        try:
            yield
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.path}: is not a whole shard of {self._contents} ({error}); make it again") from None

    def count(self, name: str) -> int:
        """Entries of an array."""
        with self.reading():
            return len(self._file[name])

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """A small array, read; `dtype` may be a kind of numbers, such as "S" for bytes of any length.

        Raises:
            DataError: another shape or type, or an array that is not stored as it is.
        """
        return self.stored(name, shape, dtype)[:]

    def arrays(self, kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Small arrays of one axis, of whichever length, by name.

        Args:
            kinds: dtype or kind of numbers of each, as for `array`.
        Raises:
            DataError: as `array`.
        """
        return {name: self.array(name, (self.count(name),), kind) for name, kind in kinds.items()}

    def stored(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> h5py.Dataset:
        """A large array, not yet read.

        Raises:
            DataError: as `array`.
        """
        dataset = self._check(name, shape, dtype)
        if dataset.nbytes and dataset.id.get_offset() is None:
            raise DataError(f"{self.path}: dataset {name} is not contiguous; make it again")
        return dataset

    def windows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Windows:
        """An array of windows.

        Raises:
            DataError: another shape or type, or windows that are not one gzip chunk each.
        """
        dataset = self._check(name, shape, dtype)
        if dataset.chunks != (1, *shape[1:]) or dataset.compression != "gzip":
            raise DataError(f"{self.path}: dataset {name} is not stored as one gzip chunk a window; make it again")
        return Windows(self.path, dataset)

    def _check(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> h5py.Dataset:
        """A dataset of the file, not yet read."""
        with self.reading():
            dataset = self._file[name]
            found = dataset.shape, dataset.dtype
        if found[0] != shape or not np.issubdtype(found[1], np.dtype(dtype).type):
            raise DataError(
                f"{self.path}: dataset {name} is {found[1]} {found[0]}; expected {np.dtype(dtype)} {shape}; "
                "make it again"
            )
        return dataset


class Windows:
    """An array of windows in a shard."""

    def __init__(self, path: Path, dataset: h5py.Dataset) -> None:
        self._path, self._dataset = path, dataset
        self._num_bytes = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        self._chunk_origin = (0,) * (dataset.ndim - 1)

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The windows at `indices`, in their order, [n, ...].

        Raises:
            DataError: a damaged window.
        """
        inflated = b"".join(self._window(index) for index in indices)
        return np.frombuffer(inflated, self._dataset.dtype).reshape(len(indices), *self._dataset.shape[1:])

    def _window(self, index: int) -> bytes:
        """A window's bytes: read and inflated here, which takes a third of the time of HDF5's own path."""
        try:
            _, chunk = self._dataset.id.read_direct_chunk((index, *self._chunk_origin))
            inflater = zlib.decompressobj()
            window = inflater.decompress(chunk, self._num_bytes + 1)  # one more, so that it goes on to the checksum
        except (OSError, RuntimeError, MemoryError, zlib.error) as error:  # MemoryError: it was never written
            raise DataError(f"{self._path}: window {index} cannot be read ({error}); make it again") from None
        if len(window) != self._num_bytes or not inflater.eof:
            raise DataError(
                f"{self._path}: window {index} has not the {self._num_bytes} bytes that it should; make it again"
            )
        return window
