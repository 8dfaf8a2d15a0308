"""TFRecord files of `tf.train.Example` messages, as DeepConsensus and Basenji write them, read without TensorFlow.

A record is its length (8 bytes), a checksum of the length, the message, and a checksum of the message. The whole file
may be compressed with gzip or zlib; the first bytes tell which.

Source: TensorFlow's `record_writer.cc` and `example.proto`, `feature.proto`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from genoformer.errors import DataError
from genoformer.io.crc32c import masked_crc32c
from genoformer.io.protobuf import fields, signed

MAX_RECORD_BYTES = 1 << 26  # where the caller does not know how large a record may be

_CHUNK_BYTES = 1 << 16
_LENGTH_BYTES, _CRC_BYTES = 8, 4
_ANY_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS

Example = dict[str, list[bytes] | np.ndarray]


def read_examples(path: str | os.PathLike[str], max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Example]:
    """The examples of a TFRecord file in file order, one at a time.

    Yields:
        Features by name: a list of bytes, or an array [n] of int64 or float32; a feature without values is [].
    Raises:
        DataError: as `read_records`, or a record that is no `tf.train.Example`.
    """
    for index, record in enumerate(read_records(path, max_record_bytes)):
        try:
            yield parse_example(record)
        except DataError as error:
            raise DataError(f"{path} record {index}: {error}; expected a tf.train.Example") from None


def read_records(path: str | os.PathLike[str], max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[memoryview]:
    """The records of a TFRecord file in file order, their checksums verified; only one is in memory.

    Raises:
        DataError: a file that cannot be opened, is damaged, ends inside a record, or has a record that is too large.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            yield from _read_stream(path, file, max_record_bytes)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except zlib.error as error:
        raise DataError(f"{path}: damaged compressed data ({error}); copy the file again") from None


def parse_example(message: memoryview) -> Example:
    """The features of a serialised `tf.train.Example`; where a name is repeated, the last one counts.

    Raises:
        DataError: the bytes are no such message. The text is the predicate of a sentence.
    """
    example: Example = {}
    for features in _submessages(message, 1):
        for item in _submessages(features, 1):
            name, feature = b"", memoryview(b"")
            for number, value in fields(item):
                if number == 1 and isinstance(value, memoryview):
                    name = bytes(value)
                elif number == 2 and isinstance(value, memoryview):
                    feature = value
            example[name.decode("utf-8", "backslashreplace")] = _parse_feature(feature)
    return example


class _Stream:
    """Bytes of a plain, gzip or zlib file in order; never more in memory than are asked for and one chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_compressed = _looks_compressed(file)
        self._start_member()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the data."""
        if not self._is_compressed:
            return self._file.read(size)
        parts = []
        while size > 0 and (part := self._unpack(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _unpack(self, size: int) -> bytes:
        """One to `size` unpacked bytes; none at the end of the data."""
        while True:
            packed = self._inflater.unconsumed_tail or self._inflater.unused_data or self._file.read(_CHUNK_BYTES)
            if self._inflater.eof and packed:
                self._start_member()
            unpacked = self._inflater.decompress(packed, size)
            if unpacked:
                return unpacked
            if not packed and self._inflater.eof:
                return b""
            if not packed:
                raise zlib.error("the end is missing")

    def _start_member(self) -> None:
        self._inflater = zlib.decompressobj(_ANY_ZLIB_OR_GZIP)


def _looks_compressed(file: BinaryIO) -> bool:
    """Whether a file starts as gzip or zlib does; its position does not change.

    A plain file starts with the low bytes of a length and can look alike by chance, so the checksum of that length
    is asked first.
    """
    head = file.read(_LENGTH_BYTES + _CRC_BYTES)
    file.seek(0)
    if masked_crc32c(head[:_LENGTH_BYTES]) == int.from_bytes(head[_LENGTH_BYTES:], "little"):
        return False
    is_zlib = len(head) > 1 and head[0] & 0x0F == 8 and head[0] >> 4 < 8 and (head[0] << 8 | head[1]) % 31 == 0
    return head[:2] == b"\x1f\x8b" or is_zlib


def _read_stream(path: Path, file: BinaryIO, max_record_bytes: int) -> Iterator[memoryview]:
    stream, index, position = _Stream(file), 0, 0
    while head := stream.read(_LENGTH_BYTES + _CRC_BYTES):
        where = f"{path} record {index} at byte {position}"
        _check_crc(head[:_LENGTH_BYTES], head[_LENGTH_BYTES:], f"{where}: its length")
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if length > max_record_bytes:
            raise DataError(f"{where}: has {length} bytes; expected at most {max_record_bytes}")
        body = memoryview(stream.read(length + _CRC_BYTES))
        _check_crc(body[:length], body[length:], where)
        yield body[:length]
        index += 1
        position += len(head) + len(body)


def _check_crc(data: bytes | memoryview, stored: bytes | memoryview, where: str) -> None:
    if len(stored) != _CRC_BYTES:
        raise DataError(f"{where} is cut off at the end of the file, or this is no TFRecord file; copy it again")
    found, expected = masked_crc32c(data), int.from_bytes(stored, "little")
    if found != expected:
        raise DataError(
            f"{where} has checksum {found:08x}, expected {expected:08x}: damaged or no TFRecord file; copy it again"
        )


def _parse_feature(message: memoryview) -> list[bytes] | np.ndarray:
    """The one list that a Feature holds: bytes (field 1), floats (2) or integers (3)."""
    parsed: list[bytes] | np.ndarray = []
    for number, value in fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            parsed = [bytes(item) for item in _submessages(value, 1)]
        elif number == 2:
            parsed = _parse_floats(value)
        elif number == 3:
            parsed = _parse_integers(value)
    return parsed


def _parse_floats(message: memoryview) -> np.ndarray:
    """Values of a FloatList, packed or one field each: in both, 4 bytes a number."""
    packed = b"".join(_submessages(message, 1))
    if len(packed) % 4:
        raise DataError(f"has a list of floats of {len(packed)} bytes")
    return np.frombuffer(packed, dtype="<f4")


def _parse_integers(message: memoryview) -> np.ndarray:
    """Values of an Int64List, packed or one field each."""
    parts = []
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            parts.append(np.array([signed(value)], dtype=np.int64))
        elif number == 1 and isinstance(value, memoryview):
            parts.append(_unpack_varints(np.frombuffer(value, dtype=np.uint8)))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _unpack_varints(packed: np.ndarray) -> np.ndarray:
    """The int64 values of varints that follow each other: 7 bits a byte, the last byte below 128."""
    ends = np.flatnonzero(packed < 0x80) + 1
    starts = np.concatenate([[0], ends])[:-1]
    lengths = ends - starts
    if len(packed) != lengths.sum() or lengths.max(initial=0) > 10:
        raise DataError(f"has a list of integers of {len(packed)} bytes that is cut off, or has one over 64 bits")
    place = np.arange(len(packed)) - np.repeat(starts, lengths)
    bits = (packed & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(bits, starts).view(np.int64) if len(packed) else bits.view(np.int64)


def _submessages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Every length-delimited or fixed-width value of one field."""
    for number, value in fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value
