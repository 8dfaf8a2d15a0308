"""Protocol-buffer messages taken apart into numbered fields, without their schema compiler.

Source: protobuf.dev, "Encoding": varints, wire types 0, 1, 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from genoformer.errors import DataError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """The unsigned 64-bit varint at `position`, and the position after it.

    Raises:
        DataError: the data end inside the varint, or it is longer than 64 bits. The message is the
            predicate of a sentence; who calls knows the file and puts its name in front.
    """
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise DataError(f"ends at byte {len(data)}, inside a number that starts at byte {position}")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80 and value < 1 << 64:
            return value, position + index + 1
    raise DataError(f"has a number of more than 64 bits at byte {position}")


def signed(value: int) -> int:
    """The two's complement reading of a 64-bit varint, as int32 and int64 fields use it."""
    return value - (1 << 64) if value >> 63 else value


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in file order, each as its number and value.

    Yields:
        An unsigned int for a varint; a view into `message` for a string, bytes, submessage or packed
        field, and for the 4 or 8 little-endian bytes of a fixed-width one.
    Raises:
        DataError: a field that runs past the end, or a group or unknown wire type; worded as in `read_varint`.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = read_varint(message, position)
        if tag & 7 == _VARINT:
            number, position = read_varint(message, position)
            yield tag >> 3, number
            continue
        size, position = _body_size(message, position, tag & 7)
        if size > len(message) - position:
            raise DataError(f"has a field of {size} bytes at byte {start}, but only {len(message) - position} follow")
        yield tag >> 3, message[position : position + size]
        position += size


def _body_size(message: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    """Size of the field body after a tag that is no varint's, and where the body starts."""
    if wire_type == _BYTES:
        return read_varint(message, position)
    if wire_type not in (_FIXED32, _FIXED64):
        raise DataError(f"has a field of wire type {wire_type} before byte {position}; expected 0, 1, 2 or 5")
    return (4 if wire_type == _FIXED32 else 8), position
