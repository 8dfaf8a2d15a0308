"""Tensors of a TensorFlow checkpoint (the "tensor bundle" or V2 format), read without TensorFlow.

A checkpoint with the prefix `model` is `model.index`, a LevelDB table from key to where and what the tensor is, and
the shards `model.data-00000-of-00002`, ... with nothing but little-endian numbers. No code is loaded from either.

Source: TensorFlow's `tensor_bundle.proto`, `tensor_shape.proto`, `types.proto` and `tensor_bundle.h`.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from genoformer.errors import CheckpointError, DataError
from genoformer.io.crc32c import masked_crc32c
from genoformer.io.leveldb import MAX_TABLE_BYTES, read_table
from genoformer.io.protobuf import fields, signed

MAX_SHARDS = 100_000  # a shard number has five digits
MAX_DIMS = 32
MAX_ELEMENTS = 1 << 40

_HEADER_KEY = b""
_FORMAT_VERSION = 1  # kTensorBundleVersion
_BFLOAT16 = 14
_DTYPES: dict[int, np.dtype] = {  # by their numbers in types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    _BFLOAT16: np.dtype("<u2"),
    17: np.dtype("<u2"),
    19: np.dtype("<f2"),
    22: np.dtype("<u4"),
    23: np.dtype("<u8"),
}


@dataclass(frozen=True)
class _Entry:
    """BundleEntryProto: where a tensor lies and what it should be."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0  # bytes
    crc: int = 0  # masked
    is_sliced: bool = False


class TensorBundle:
    """The tensors of one checkpoint, by key.

    Args:
        path: the checkpoint's prefix (`.../model` for `.../model.index`), its `.index` file, or a directory that
            holds one checkpoint or a `checkpoint` file that names the latest of several.
    Raises:
        CheckpointError: no checkpoint there, or several; an index that is damaged or of an unknown version; a shard
            that is missing or shorter than the index says.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.prefix = find_prefix(Path(path))
        self.index_path = Path(f"{self.prefix}.index")
        self._files: dict[int, io.BufferedReader] = {}
        try:
            num_shards, self._entries = _read_index(self.index_path)
        except DataError as error:
            raise CheckpointError(f"{self.index_path}: {error}; copy the checkpoint again") from None
        self._shard_paths = self._find_shards(num_shards)

    def __enter__(self) -> TensorBundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the shards; reading again opens them again."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def keys(self) -> list[str]:
        """All keys in order, those of tensors that `read` refuses included."""
        return sorted(self._entries)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor; `()` for a scalar.

        Raises:
            CheckpointError: no such key.
        """
        return self._entry(key).shape

    def read(self, key: str) -> np.ndarray:
        """The tensor at `key`, its checksum verified.

        Returns:
            A new array of the stored shape and dtype; bfloat16 becomes float32, without loss.
        Raises:
            CheckpointError: no such key, a dtype without a numpy equivalent (strings), a partitioned tensor, a size
                that contradicts the shape, or damaged data.
        """
        entry = self._entry(key)
        dtype = self._checked_dtype(key, entry)
        array = self._read_data(key, entry, dtype).reshape(entry.shape)
        if entry.dtype == _BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array

    def _entry(self, key: str) -> _Entry:
        if key not in self._entries:
            raise CheckpointError(f"{self.index_path}: no tensor '{key}' among the {len(self._entries)} there")
        return self._entries[key]

    def _checked_dtype(self, key: str, entry: _Entry) -> np.dtype:
        """Storage dtype of an entry, once its claims agree with each other."""
        where = f"{self.index_path}: tensor '{key}'"
        if entry.is_sliced:
            raise CheckpointError(f"{where} is stored in slices; save the variable unpartitioned")
        if entry.dtype not in _DTYPES:
            raise CheckpointError(f"{where} has dtype number {entry.dtype}; expected one of {sorted(_DTYPES)}")
        dtype = _DTYPES[entry.dtype]
        expected = math.prod(entry.shape) * dtype.itemsize
        if entry.size != expected:
            raise CheckpointError(
                f"{where} has {entry.size} bytes, but shape {entry.shape} of {dtype.itemsize}-byte numbers "
                f"needs {expected}; copy the checkpoint again"
            )
        return dtype

    def _read_data(self, key: str, entry: _Entry, dtype: np.dtype) -> np.ndarray:
        """The numbers of an entry, flat, read straight into the array that is returned."""
        path = self._shard_paths[entry.shard]
        try:
            if entry.shard not in self._files:
                self._files[entry.shard] = path.open("rb")
            self._files[entry.shard].seek(entry.offset)
            array = np.empty(entry.size // dtype.itemsize, dtype=dtype)
            data = array.view(np.uint8).data
            num_read = self._files[entry.shard].readinto(data)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        except MemoryError:
            raise CheckpointError(f"{path}: tensor '{key}' needs {entry.size} bytes of memory") from None
        found = masked_crc32c(data)
        if num_read != entry.size or found != entry.crc:
            raise CheckpointError(
                f"{path}: tensor '{key}' at byte {entry.offset} is damaged: {num_read} of {entry.size} bytes with "
                f"checksum {found:08x}, expected {entry.crc:08x}; copy the checkpoint again"
            )
        return array

    def _find_shards(self, num_shards: int) -> dict[int, Path]:
        """The data file of each shard that an entry uses; every entry lies inside its file."""
        ends: dict[int, tuple[int, str]] = {}
        for key, entry in self._entries.items():
            if not 0 <= entry.shard < num_shards:
                raise CheckpointError(
                    f"{self.index_path}: tensor '{key}' lies in shard {entry.shard} of {num_shards}; "
                    "copy the checkpoint again"
                )
            ends[entry.shard] = max(ends.get(entry.shard, (0, "")), (entry.offset + entry.size, key))
        paths = {shard: Path(f"{self.prefix}.data-{shard:05d}-of-{num_shards:05d}") for shard in ends}
        for shard, (end, key) in ends.items():
            _check_shard(paths[shard], end, key)
        return paths


def find_prefix(path: Path) -> Path:
    """The prefix of the checkpoint that `path` names, as `TensorBundle` understands it.

    Raises:
        CheckpointError: no checkpoint there, or several and none named the latest.
    """
    if Path(f"{path}.index").is_file():
        return path
    if path.suffix == ".index" and path.is_file():
        return path.with_suffix("")
    if path.name == "checkpoint" and path.is_file():
        path = path.parent
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint; expected a directory, or a prefix with {path}.index")
    found = sorted(file.name.removesuffix(".index") for file in path.glob("*.index"))
    latest = _latest_name(path / "checkpoint")
    if latest is not None and latest in found:
        return path / latest
    if len(found) == 1 and latest is None:
        return path / found[0]
    raise CheckpointError(f"{path}: {_why_no_prefix(path, latest, found)}")


def _latest_name(state_path: Path) -> str | None:
    """Name of the latest checkpoint by the `checkpoint` file of its directory; None without such a file."""
    try:
        state = state_path.read_bytes()[:65536].decode("utf-8", "replace")
    except OSError:
        return None
    match = re.search(r'^\s*model_checkpoint_path:\s*"([^"\n]*)"', state, re.MULTILINE)
    return Path(match[1]).name if match else None


def _why_no_prefix(path: Path, latest: str | None, found: list[str]) -> str:
    names = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    if (path / "saved_model.pb").exists():
        return "holds a SavedModel; expected a checkpoint (.index and .data files)"
    if not found:
        return "holds no .index file; expected those of one checkpoint"
    if latest is not None:
        return f"its file 'checkpoint' names '{latest}', which is not there; give the prefix of one of: {names}"
    return f"holds {len(found)} checkpoints; give the prefix of one of: {names}"


def _read_index(path: Path) -> tuple[int, dict[str, _Entry]]:
    """Number of shards, and every entry by its key."""
    try:
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            raise DataError(f"has {size} bytes; an index has at most {MAX_TABLE_BYTES}")
        table = memoryview(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    num_shards: int | None = None
    entries: dict[str, _Entry] = {}
    for raw_key, value in read_table(table):
        key = raw_key.decode("utf-8", "backslashreplace")
        if key in entries:
            raise DataError(f"has two keys that read '{key[:80]}'")
        if raw_key == _HEADER_KEY:
            num_shards = _parse_header(value)
        else:
            entries[key] = _parse_entry(value)
    if num_shards is None:
        raise DataError("has no header entry, so it is no index of a checkpoint")
    return num_shards, entries


def _check_shard(path: Path, end: int, key: str) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; the index names this file") from None
    if size < end:
        raise CheckpointError(
            f"{path}: has {size} bytes, but tensor '{key}' ends at byte {end}; copy the checkpoint again"
        )


def _parse_header(message: memoryview) -> int:
    """Number of shards by a BundleHeaderProto."""
    num_shards, is_big_endian, min_consumer = 0, False, 0
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            num_shards = signed(value)
        elif number == 2 and isinstance(value, int):
            is_big_endian = value != 0
        elif number == 3 and isinstance(value, memoryview):
            min_consumer = _last_number(fields(value), 2)
    if is_big_endian:
        raise DataError("was written on a big-endian machine; expected little-endian numbers")
    if min_consumer > _FORMAT_VERSION:
        raise DataError(f"needs a reader of version {min_consumer}; this one knows version {_FORMAT_VERSION}")
    if not 1 <= num_shards <= MAX_SHARDS:
        raise DataError(f"claims {num_shards} shards; expected 1 to {MAX_SHARDS}")
    return num_shards


def _parse_entry(message: memoryview) -> _Entry:
    """The claims of a BundleEntryProto, those that need no other entry checked."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    crc, is_sliced = 0, False
    for number, value in fields(message):
        if number in numbers and isinstance(value, int):
            numbers[number] = signed(value)
        elif number == 2 and isinstance(value, memoryview):
            shape = _parse_shape(value)
        elif number == 6 and isinstance(value, memoryview):
            crc = int.from_bytes(value, "little")
        elif number == 7:
            is_sliced = True
    dtype, shard, offset, size = numbers.values()
    if offset < 0 or size < 0:
        raise DataError(f"claims a tensor of {size} bytes at byte {offset}")
    return _Entry(dtype, shape, shard, offset, size, crc, is_sliced)


def _parse_shape(message: memoryview) -> tuple[int, ...]:
    """Dimensions of a TensorShapeProto."""
    dims: list[int] = []
    for number, value in fields(message):
        if number == 2 and isinstance(value, memoryview):
            dims.append(_last_number(fields(value), 1))
        if len(dims) > MAX_DIMS or (number == 3 and value):
            raise DataError(f"claims a tensor of more than {MAX_DIMS} or an unknown number of dimensions")
    if min(dims, default=0) < 0 or math.prod(max(dim, 1) for dim in dims) > MAX_ELEMENTS:
        raise DataError(f"claims a tensor of shape {tuple(dims)}; a dimension is below 0 or all are too large")
    return tuple(dims)


def _last_number(message: Iterable[tuple[int, int | memoryview]], wanted: int) -> int:
    """Value of an integer field, 0 where it is absent."""
    last = 0
    for number, value in message:
        if number == wanted and isinstance(value, int):
            last = signed(value)
    return last
