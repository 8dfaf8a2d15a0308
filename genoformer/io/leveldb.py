"""Sorted tables of LevelDB: the container of TensorFlow's checkpoint index.

Source: LevelDB's `doc/table_format.md`; snappy's `format_description.txt`. Filter blocks are not used.
Everything that a table claims is checked against the bytes at hand before memory is taken for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genoformer.errors import DataError
from genoformer.io.crc32c import masked_crc32c
from genoformer.io.protobuf import read_varint

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # compression type, masked CRC-32C
MAX_TABLE_BYTES = 1 << 26  # unpacked blocks, and keys written out: a checkpoint of 100,000 tensors needs 20 MB
MAX_ENTRIES = 1 << 20

_NO_COMPRESSION, _SNAPPY = 0, 1


@dataclass
class _Budget:
    """What the rest of a table may still unpack to."""

    num_bytes: int = MAX_TABLE_BYTES
    num_entries: int = MAX_ENTRIES

    def spend(self, num_bytes: int, num_entries: int = 0) -> None:
        self.num_bytes -= num_bytes
        self.num_entries -= num_entries
        if self.num_bytes < 0 or self.num_entries < 0:
            raise DataError(f"unpacks to more than {MAX_TABLE_BYTES} bytes or {MAX_ENTRIES} entries")


def read_table(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The (key, value) pairs of a whole table file, keys strictly increasing.

    Raises:
        DataError: no table, damaged (a checksum, offset or key order is wrong) or too large. The message is the
            predicate of a sentence; who calls knows the file and puts its name in front.
    """
    if len(table) < FOOTER_BYTES or table[-len(MAGIC) :] != MAGIC:
        found = bytes(table[-len(MAGIC) :]).hex() or "nothing"
        raise DataError(f"ends with {found}, not with the magic number {MAGIC.hex()} of a LevelDB table")
    budget = _Budget()
    footer = table[-FOOTER_BYTES:]
    _, position = _read_handle(footer, 0)  # of the metaindex, which names filters
    index, _ = _read_handle(footer, position)
    last_key = None
    for _, handle in _entries(_read_block(table, *index, budget), budget):
        block, _ = _read_handle(handle, 0)
        for key, value in _entries(_read_block(table, *block, budget), budget):
            if last_key is not None and key <= last_key:
                raise DataError(f"has key {key[:80]!r} after {last_key[:80]!r}; expected increasing keys")
            last_key = key
            yield key, value


def _read_handle(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block as varints at `position`, and the position after them."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _read_block(table: memoryview, offset: int, size: int, budget: _Budget) -> memoryview:
    """The unpacked content of a block, its checksum verified."""
    end = offset + size + TRAILER_BYTES
    if end > len(table) - FOOTER_BYTES:
        raise DataError(f"has a block at bytes {offset} to {end}, but its blocks end at {len(table) - FOOTER_BYTES}")
    stored = int.from_bytes(table[end - 4 : end], "little")
    found = masked_crc32c(table[offset : end - 4])
    if found != stored:
        raise DataError(f"is damaged: the block at byte {offset} has checksum {found:08x}, not {stored:08x}")
    content, compression = table[offset : offset + size], table[offset + size]
    if compression == _SNAPPY:
        content = memoryview(_unpack_snappy(content, budget))
    elif compression != _NO_COMPRESSION:
        raise DataError(f"has compression type {compression} in the block at byte {offset}; expected 0 or 1 (snappy)")
    budget.spend(len(content))
    return content


def _entries(block: memoryview, budget: _Budget) -> Iterator[tuple[bytes, memoryview]]:
    """The (key, value) pairs of an unpacked block; a key repeats a prefix of the one before it."""
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * num_restarts
    if len(block) < 4 or end < 0:
        raise DataError(f"has a block of {len(block)} bytes with {num_restarts} restart points")
    block, position = block[:end], 0
    key = b""
    while position < end:
        num_shared, position = read_varint(block, position)
        num_new, position = read_varint(block, position)
        num_value, position = read_varint(block, position)
        if num_shared > len(key) or num_new + num_value > end - position:
            raise DataError(
                f"has an entry of {num_shared} shared, {num_new} new and {num_value} value bytes "
                f"after a key of {len(key)} bytes, {end - position} bytes before the end of its block"
            )
        budget.spend(num_shared + num_new, num_entries=1)
        key = key[:num_shared] + bytes(block[position : position + num_new])
        position += num_new
        yield key, block[position : position + num_value]
        position += num_value


def _unpack_snappy(packed: memoryview, budget: _Budget) -> bytearray:
    """The content of a snappy block: literals, and copies of what is unpacked already."""
    size, position = read_varint(packed, 0)
    if size > budget.num_bytes:
        raise DataError(f"has a snappy block of {size} bytes; {budget.num_bytes} are left for the table")
    unpacked = bytearray()
    while position < len(packed) and len(unpacked) <= size:
        length, distance, position = _snappy_element(packed, position)
        if distance is None:
            literal = bytes(packed[position : position + length])
            position += length
        elif 0 < distance <= len(unpacked):
            literal = _repeat(unpacked, distance, length)
        else:
            raise DataError(f"has a snappy copy from {distance} bytes back after {len(unpacked)} bytes")
        unpacked += literal
    if len(unpacked) != size or position != len(packed):
        raise DataError(f"has a snappy block of {len(unpacked)} bytes that claims {size}")
    return unpacked


def _snappy_element(packed: memoryview, position: int) -> tuple[int, int | None, int]:
    """Length and distance (None: a literal) of the element at `position`, and where its data or successor starts."""
    tag, position = packed[position], position + 1
    kind, upper = tag & 3, tag >> 2
    if kind == 0 and upper < 60:
        return upper + 1, None, position
    num_extra = (upper - 59, 1, 2, 4)[kind]
    if num_extra > len(packed) - position:
        raise DataError(f"has a snappy block that ends inside the element before byte {position}")
    extra = int.from_bytes(packed[position : position + num_extra], "little")
    position += num_extra
    if kind == 0:
        return extra + 1, None, position
    if kind == 1:
        return 4 + (upper & 7), (upper >> 3) << 8 | extra, position
    return upper + 1, extra, position


def _repeat(unpacked: bytearray, distance: int, length: int) -> bytes:
    """The `length` bytes that follow when the last `distance` bytes are repeated."""
    start = len(unpacked) - distance
    period = bytes(unpacked[start : start + length])
    return (period * (length // len(period) + 1))[:length]
