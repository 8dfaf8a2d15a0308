"""A writer of TensorFlow checkpoints for tests: plain, slow, and independent of the reader that it tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAGIC = bytes.fromhex("57fb808b247547db")
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
DTYPE_NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    """A varint or length-delimited field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + value.to_bytes(4, "little")


def block(pairs: Sequence[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    """The content of a LevelDB block with prefix-compressed keys."""
    out, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % restart_interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    for restart in restarts or [0]:
        out += restart.to_bytes(4, "little")
    return out + len(restarts or [0]).to_bytes(4, "little")


def snappy_literal(data: bytes) -> bytes:
    """Snappy's format with literals only."""
    out = varint(len(data))
    for start in range(0, len(data), 60):
        part = data[start : start + 60]
        out += bytes([len(part) - 1 << 2]) + part
    return out


def stored(content: bytes, compression: int = 0) -> bytes:
    """A block as it lies in the file, with its trailer."""
    body = (snappy_literal(content) if compression == 1 else content) + bytes([compression])
    return body + masked_crc(body).to_bytes(4, "little")


def table(pairs: Sequence[tuple[bytes, bytes]], per_block: int = 8, compression: int = 0) -> bytes:
    """A LevelDB table file of sorted pairs."""
    out, index = b"", []
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        data = stored(block(part), compression)
        index.append((part[-1][0] + b"\0", varint(len(out)) + varint(len(data) - 5)))
        out += data
    return out + ending(len(out), block(index), compression)


def ending(position: int, index: bytes, compression: int = 0) -> bytes:
    """Metaindex, index block and footer of a table whose data blocks take `position` bytes."""
    meta, data = stored(block([])), stored(index, compression)
    handles = varint(position) + varint(len(meta) - 5) + varint(position + len(meta)) + varint(len(data) - 5)
    return meta + data + handles.ljust(40, b"\0") + MAGIC


def header(num_shards: int = 1, *, big_endian: bool = False, min_consumer: int = 0) -> bytes:
    version = field(1, 1) + (field(2, min_consumer) if min_consumer else b"")
    return field(1, num_shards) + (field(2, 1) if big_endian else b"") + field(3, version)


def entry(
    dtype: int,
    shape: Sequence[int],
    *,
    shard: int = 0,
    offset: int = 0,
    size: int = 0,
    crc: int = 0,
    extra: bytes = b"",
) -> bytes:
    dims = b"".join(field(2, field(1, dim) if dim else b"") for dim in shape)
    return (
        field(1, dtype) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size) + fixed32(6, crc) + extra
    )


def write_bundle(
    prefix: Path, tensors: dict[str, np.ndarray], *, num_shards: int = 1, compression: int = 0, bfloat16: bool = False
) -> None:
    """A checkpoint of `tensors`, dealt to the shards in turn.

    bfloat16: float32 tensors are stored by their upper halves.
    """
    shards = [b""] * num_shards
    pairs = [(b"", header(num_shards))]
    for index, key in enumerate(sorted(tensors)):
        array, shard = tensors[key], index % num_shards
        number = DTYPE_NUMBERS[array.dtype.name]
        data = array.tobytes()
        if bfloat16 and number == 1:
            number, data = 14, (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        place = {"shard": shard, "offset": len(shards[shard]), "size": len(data), "crc": masked_crc(data)}
        pairs.append((key.encode(), entry(number, array.shape, **place)))
        shards[shard] += data
    for shard, data in enumerate(shards):
        Path(f"{prefix}.data-{shard:05d}-of-{num_shards:05d}").write_bytes(data)
    Path(f"{prefix}.index").write_bytes(table(pairs, compression=compression))
