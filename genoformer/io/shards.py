"""Splits a subreads BAM file into shards of whole ZMWs by position, without reading what lies before.

Shard i of n starts at the first ZMW that begins after i/n of the compressed bytes. Each process finds its own range by
the same rule, so shards are disjoint, cover the file, and put together in order give the file's order. Finding a place
means finding the next BGZF block and in it the next record: a BAM file has no marks between records, so a candidate
must look like a PacBio record and be followed by another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader, BamRecord, record_name
from genoformer.io.zmws import zmw_key

_BLOCK = re.compile(rb"\x1f\x8b\x08\x04.{6}\x06\x00BC\x02\x00", re.DOTALL)
_MAX_BLOCK_BYTES = 1 << 16
_NAME = re.compile(rb"[!-.0-~]{1,253}/\d{1,10}/[!-~]{0,251}\0")  # with bounds: tags hold long runs of such bytes
_FIXED_BYTES = 36  # length field and fixed fields of a record, before its name
_LENGTH_BEFORE_NAME = 24  # from the name back to the field with its length


def shard_range(reader: BamReader, shard: tuple[int, int]) -> tuple[int, int | None]:
    """Virtual offsets [start, end) of the ZMWs of shard i of n (i from 1); end is None for the last one.

    Raises:
        AlignmentError: damaged input.
    """
    index, count = shard
    start = (
        reader.first_record if index == 1 else _first_zmw_after(reader, reader.file.size_bytes * (index - 1) // count)
    )
    end = None if index == count else _first_zmw_after(reader, reader.file.size_bytes * index // count)
    return start, end


def _first_zmw_after(reader: BamReader, position: int) -> int:
    """Virtual offset of the first ZMW that begins after a compressed position; the end of the file if none does."""
    offset = _first_record_after(reader, position)
    if offset is None:
        return reader.file.size_bytes << 16
    if offset == reader.first_record:
        return offset
    reader.seek(offset)
    reader.read_record()  # only a place to start from: the end of a tag may look like a record
    key = None
    while True:
        offset = reader.tell()
        record = reader.read_record()
        if record is None:
            return reader.file.size_bytes << 16
        found = zmw_key(record_name(record), reader.path)
        if key is not None and found != key:
            return offset
        key = found


def _first_record_after(reader: BamReader, position: int) -> int | None:
    if position << 16 <= reader.first_record:
        return reader.first_record
    block = _first_block_after(reader, position)
    while block is not None:
        found = _first_record_in(reader, block)
        if found is not None:
            return found
        block = _first_block_after(reader, block + 1)
    return None


def _first_block_after(reader: BamReader, position: int) -> int | None:
    """Compressed offset of the first BGZF block at or after a position that another block or the end follows."""
    size = reader.file.size_bytes
    while position < size:
        window = reader.file.read_compressed(position, 2 * _MAX_BLOCK_BYTES)
        for match in _BLOCK.finditer(window):
            start = position + match.start()
            length_at = match.end()
            block_size = int.from_bytes(window[length_at : length_at + 2], "little") + 1
            follower = reader.file.read_compressed(start + block_size, 16)
            if start + block_size == size or _BLOCK.match(follower):
                return start
        position += _MAX_BLOCK_BYTES
    return None


def _first_record_in(reader: BamReader, block: int) -> int | None:
    """Virtual offset of the first record that starts in a block; None where none does."""
    reader.seek(block << 16)
    data = reader.file.read(2 * _MAX_BLOCK_BYTES)  # a name may lie in the block after
    for start in _name_starts(data):
        if start - _FIXED_BYTES >= _MAX_BLOCK_BYTES:
            return None
        offset = block << 16 | start - _FIXED_BYTES
        if _is_record(reader, offset):
            return offset
    return None


def _name_starts(data: bytes) -> Iterator[int]:
    """Where in the data a PacBio read name begins whose length field, 24 bytes before it, fits."""
    for match in _NAME.finditer(data):
        for start in range(max(match.start(), _FIXED_BYTES), match.end()):
            if data[start - _LENGTH_BEFORE_NAME] == match.end() - start:
                yield start


def _is_record(reader: BamReader, offset: int) -> bool:
    """Whether a record starts at a virtual offset and another one, or the end of the file, follows."""
    try:
        reader.seek(offset)
        for _ in range(2):
            raw = reader.read_record()
            if raw is not None:
                zmw_key(record_name(raw), reader.path)
                BamRecord(raw, reader.path).has_tag("zm")  # walks all tags
    except AlignmentError:
        return False
    return True
