"""BAM files as validated raw records: small, picklable, decoded by numpy where and when they are needed.

pysam decodes a record field by field into Python objects, which cannot be sent to another process and take 2.5 times
as long as reading alone (benchmarks/results/pileup.csv). Here the reader only cuts the stream into records; a worker
process decodes their fields with numpy. Compression is Biopython's `Bio.bgzf`, checksums included.

Source: SAM/BAM specification, sections 4.1 (BGZF) and 4.2 (BAM); the `CG` tag for long CIGARs, section 4.2.2.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from Bio import bgzf

from genoformer.errors import AlignmentError
from genoformer.genome.alphabet import BAM_LETTERS

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
MAX_RECORD_BYTES = 1 << 28  # a 256 MB record would be a subread of 40 Mb: hostile or broken
MAX_HEADER_BYTES = 1 << 31
MAX_REFERENCES = 1 << 26  # a cell has at most 25 million ZMWs, each with a CCS read or two
MAX_NAME_BYTES = 1 << 16
LENGTH_FIELD_BYTES = 4  # before each record

FLAG_UNMAPPED, FLAG_REVERSE, FLAG_SECONDARY, FLAG_SUPPLEMENTARY = 0x4, 0x10, 0x100, 0x800

_CORE = struct.Struct("<iiBBHHHiiii")  # refID pos l_read_name mapq bin n_cigar flag l_seq next_refID next_pos tlen
_TAG_SIZES = {"A": 1, "c": 1, "C": 1, "s": 2, "S": 2, "i": 4, "I": 4, "f": 4}
_TAG_DTYPES = {"c": "i1", "C": "u1", "s": "<i2", "S": "<u2", "i": "<i4", "I": "<u4", "f": "<f4"}
_LETTERS = np.frombuffer(BAM_LETTERS, dtype=np.uint8)
_LETTER_PAIRS = np.stack([_LETTERS[np.arange(256) >> 4], _LETTERS[np.arange(256) & 15]], axis=1)  # [256, 2]
_NOT_A_BASE, _MAX_READ_NAME_BYTES = 255, 254
_NIBBLE = np.full(256, _NOT_A_BASE, dtype=np.uint8)
_NIBBLE[_LETTERS] = _NIBBLE[np.frombuffer(BAM_LETTERS.lower(), dtype=np.uint8)] = np.arange(16)
_UNPRINTABLE = re.compile(rb"[^!-~\0]")
_READ_BYTES = 1 << 16
_BGZF_MAGIC = b"\x1f\x8b\x08\x04"  # gzip with an extra field
_BGZF_ERRORS = (ValueError, RuntimeError, struct.error, zlib.error, OSError, IndexError)


class _BoundedFile(io.BufferedReader):
    """A file that refuses `read(-1)`: a hostile BGZF block size must not load the rest of the file."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise ValueError("a BGZF block claims a negative size")
        return super().read(size)


class BgzfFile:
    """Decompressed bytes of a BGZF file, with virtual offsets and errors that name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._raw = _BoundedFile(io.FileIO(path, "rb"), buffer_size=1 << 18)
        except OSError as error:
            raise AlignmentError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            self._check_whole()
            self._reader = bgzf.BgzfReader(mode="rb", fileobj=self._raw, max_cache=1)
        except _BGZF_ERRORS as error:
            self._raw.close()
            raise AlignmentError(f"{path}: not a BGZF file, or damaged at its start: {error}") from None
        except AlignmentError:
            self._raw.close()
            raise

    def _check_whole(self) -> None:
        size = self.size_bytes
        if not stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode):
            raise AlignmentError(f"{self.path}: is not a regular file; expected a BAM file on disk")
        if size == 0:
            raise AlignmentError(f"{self.path}: the file is empty; expected a BAM file")
        self._raw.seek(0)
        magic = self._raw.read(len(_BGZF_MAGIC))
        if magic != _BGZF_MAGIC:
            raise AlignmentError(f"{self.path}: starts with {magic!r}, not with the BGZF magic; expected a BAM file")
        self._raw.seek(max(0, size - len(EOF_BLOCK)))
        if self._raw.read(len(EOF_BLOCK)) != EOF_BLOCK:
            raise AlignmentError(
                f"{self.path}: has no end-of-file block, so it is truncated; copy it again or rerun what wrote it"
            )
        self._raw.seek(0)

    @property
    def size_bytes(self) -> int:
        """Compressed size of the file."""
        return os.fstat(self._raw.fileno()).st_size

    def read(self, size: int) -> bytes:
        """Up to `size` decompressed bytes; fewer only at the end of the file."""
        parts = []
        try:  # in pieces: Bio appends block to block, which is quadratic in the size
            while size > 0 and (part := self._reader.read(min(size, _READ_BYTES))):
                parts.append(part)
                size -= len(part)
        except _BGZF_ERRORS as error:
            raise AlignmentError(f"{self.path}: damaged near compressed byte {self._raw.tell()}: {error}") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def tell(self) -> int:
        """Virtual offset of the next byte."""
        return self._reader.tell()

    def seek(self, virtual_offset: int) -> None:
        """Moves to a virtual offset."""
        try:
            self._reader.seek(virtual_offset)
        except _BGZF_ERRORS as error:
            raise AlignmentError(f"{self.path}: cannot seek to {virtual_offset}: {error}") from None

    def read_compressed(self, start: int, size: int) -> bytes:
        """Raw bytes of the file, for finding blocks; moves the stream, so `seek` afterwards."""
        self._raw.seek(start)
        return self._raw.read(size)

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


@dataclass(frozen=True)
class BamHeader:
    """Header of a BAM file. Reference names stay packed: a cell's file has millions of them."""

    text: str
    names: bytes  # all reference names, NUL-terminated, one after the other
    name_ends: np.ndarray  # [num_references + 1] int64, offsets into `names`

    @property
    def num_references(self) -> int:
        """Number of reference sequences."""
        return len(self.name_ends) - 1

    def reference_name(self, ref_id: int) -> str:
        """Name of a reference sequence."""
        start, end = self.name_ends[ref_id], self.name_ends[ref_id + 1]
        return self.names[start : end - 1].decode("ascii", "replace")


class BamReader:
    """Records of a BAM file in order, as raw bytes.

    Raises:
        AlignmentError: empty, truncated (no end-of-file block), damaged or not a BAM file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = BgzfFile(self.path)
        try:
            self.header = self._read_header()
        except AlignmentError:
            self._file.close()
            raise
        self.first_record = self._file.tell()

    def __enter__(self) -> BamReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def file(self) -> BgzfFile:
        """The compressed file below."""
        return self._file

    def _exactly(self, size: int, what: str) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise AlignmentError(f"{self.path}: ends inside {what}: {len(data)} of {size} bytes; the file is truncated")
        return data

    def _count(self, what: str, limit: int) -> int:
        (number,) = struct.unpack("<i", self._exactly(4, what))
        if not 0 <= number <= limit:
            raise AlignmentError(f"{self.path}: {what} is {number}; expected 0 to {limit}; the file is damaged")
        return int(number)

    def _read_header(self) -> BamHeader:
        magic = self._exactly(4, "the magic")
        if magic != b"BAM\1":
            raise AlignmentError(f"{self.path}: starts with {magic!r}; expected a BAM file")
        text = self._exactly(self._count("the header's length", MAX_HEADER_BYTES), "the header")
        num_references = self._count("the number of references", MAX_REFERENCES)
        names, ends = bytearray(), array("q", [0])
        for _ in range(num_references):
            names += self._exactly(self._count("a reference name's length", MAX_NAME_BYTES) + 4, "a reference")[:-4]
            ends.append(len(names))
        self._check_names(names, np.frombuffer(ends, np.int64))
        self._header_bytes = 12 + len(text) + len(names) + 8 * num_references
        return BamHeader(text.rstrip(b"\0").decode("utf-8", "replace"), bytes(names), np.array(ends, dtype=np.int64))

    def binary_header(self) -> bytes:
        """The whole header, magic and references included, as it is in the file; `seek` afterwards."""
        self._file.seek(0)
        return self._file.read(self._header_bytes)

    def _check_names(self, names: bytearray, ends: np.ndarray) -> None:
        letters = np.frombuffer(names, np.uint8)
        is_terminated = (np.diff(ends) > 1).all() and (letters[ends[1:] - 1] == 0).all()
        if not is_terminated or names.count(0) != len(ends) - 1 or _UNPRINTABLE.search(names):
            raise AlignmentError(f"{self.path}: a reference name is empty or not printable; the file is damaged")

    def tell(self) -> int:
        """Virtual offset of the next record."""
        return self._file.tell()

    def seek(self, virtual_offset: int) -> None:
        """Moves to the record at a virtual offset that `tell` gave."""
        self._file.seek(virtual_offset)

    def read_record(self) -> bytes | None:
        """The next record without its length field; None at the end of the file."""
        prefix = self._file.read(4)
        if not prefix:
            return None
        if len(prefix) < 4:
            raise AlignmentError(f"{self.path}: ends inside a record's length; the file is truncated")
        (size,) = struct.unpack("<i", prefix)
        if not _CORE.size < size <= MAX_RECORD_BYTES:
            raise AlignmentError(
                f"{self.path}: a record claims {size} bytes; expected {_CORE.size + 1} to {MAX_RECORD_BYTES}"
            )
        return self._exactly(size, "a record")

    def __iter__(self) -> Iterator[bytes]:
        while (record := self.read_record()) is not None:
            yield record


def record_name(record: bytes) -> bytes:
    """Query name of a raw record; empty where the record is malformed."""
    length = record[8]
    return record[32 : 32 + length - 1] if length and len(record) >= 32 + length else b""


def record_flag(record: bytes) -> int:
    """Flags of a raw record."""
    return int.from_bytes(record[14:16], "little")


def record_reference(record: bytes) -> int:
    """Reference id of a raw record, -1 where it has none."""
    return int.from_bytes(record[0:4], "little", signed=True)


class BamRecord:
    """Decoded fields of one raw record; each is bounds-checked when it is asked for.

    Raises:
        AlignmentError: a field reaches beyond the record; the message names `source` and the read.
    """

    def __init__(self, raw: bytes, source: str | Path) -> None:
        self._raw = raw
        self._source = source
        if len(raw) < _CORE.size:
            raise AlignmentError(f"{source}: a record of {len(raw)} bytes; expected at least {_CORE.size}")
        self.ref_id, self.start, name_length, _, _, num_ops, self.flag, self.length, _, _, _ = _CORE.unpack_from(raw)
        self._ops_at = _CORE.size + name_length
        self._bases_at = self._ops_at + 4 * num_ops
        self._quals_at = self._bases_at + (self.length + 1) // 2
        self._tags_at = self._quals_at + self.length
        self._num_ops = num_ops
        if name_length < 1 or self.length < 0 or self._tags_at > len(raw):
            raise AlignmentError(f"{source}: record {self.name!r} is shorter than its own fields; the file is damaged")
        if not self.name.isprintable():
            raise AlignmentError(f"{source}: record {self.name!r}: its name is not printable; the file is damaged")

    @property
    def name(self) -> str:
        """Query name."""
        return record_name(self._raw).decode("ascii", "replace")

    @property
    def is_reverse(self) -> bool:
        """Whether the read aligns to the reverse strand."""
        return bool(self.flag & FLAG_REVERSE)

    @property
    def bases4(self) -> np.ndarray:
        """Packed bases, two a byte, uint8 [(length + 1) // 2]."""
        return np.frombuffer(self._raw, np.uint8, self._quals_at - self._bases_at, self._bases_at)

    @property
    def sequence(self) -> bytes:
        """Letters, [length]."""
        return _LETTER_PAIRS[self.bases4].reshape(-1)[: self.length].tobytes()

    @property
    def quals(self) -> np.ndarray | None:
        """Phred qualities, uint8 [length]; None where the record has none (first byte 255)."""
        quals = np.frombuffer(self._raw, np.uint8, self.length, self._quals_at)
        return None if self.length and quals[0] == 255 else quals

    @property
    def cigar(self) -> np.ndarray:
        """CIGAR as uint32 [ops] of length << 4 | op, from the `CG` tag where there are more than 65,535."""
        ops = np.frombuffer(self._raw, "<u4", self._num_ops, self._ops_at)
        placeholder = self._num_ops == 2 and ops[0] == (self.length << 4 | 4) and ops[1] & 15 == 3
        if placeholder and "CG" in self._tags:
            return self.array_tag("CG", "u4")
        return ops

    @cached_property
    def _tags(self) -> dict[str, tuple[str, int, int]]:
        """Tag -> (type, offset of its values, number of values)."""
        raw, at, tags = self._raw, self._tags_at, {}
        try:
            while at < len(raw):
                name, kind = raw[at : at + 2].decode("latin-1"), chr(raw[at + 2])
                at += 3
                if kind in _TAG_SIZES:
                    count, size = 1, _TAG_SIZES[kind]
                elif kind in "ZH":
                    count = size = raw.index(0, at) - at
                    size += 1
                elif kind == "B":
                    kind, count = chr(raw[at]), struct.unpack_from("<I", raw, at + 1)[0]
                    at += 5
                    size, kind = count * np.dtype(_TAG_DTYPES[kind]).itemsize, "B" + kind
                else:
                    raise ValueError
                tags[name] = (kind, at, count)
                at += size
            if at > len(raw):
                raise ValueError
        except (ValueError, KeyError, IndexError, struct.error):
            raise AlignmentError(
                f"{self._source}: read {self.name}: its tags are damaged before byte {at} of {len(raw)}; "
                "copy the file again or rerun what wrote it"
            ) from None
        return tags

    def has_tag(self, tag: str) -> bool:
        """Whether the record has the tag."""
        return tag in self._tags

    def tag(self, tag: str) -> Any:
        """Value of a tag: int, float, str or an array; None where it is absent."""
        if tag not in self._tags:
            return None
        kind, at, count = self._tags[tag]
        if kind[0] == "B":
            return np.frombuffer(self._raw, _TAG_DTYPES[kind[1]], count, at)
        if kind in "AZH":
            return self._raw[at : at + count].decode("latin-1")
        return np.frombuffer(self._raw, _TAG_DTYPES[kind], 1, at)[0].item()

    def array_tag(self, tag: str, *dtypes: str) -> np.ndarray:
        """Array of a B tag whose element type is one of `dtypes` ('u1', 'u2', 'u4', 'f4').

        Raises:
            AlignmentError: the tag is missing or of another type.
        """
        value = self.tag(tag)
        if not isinstance(value, np.ndarray) or value.dtype.str[1:] not in dtypes:
            found = "is missing" if value is None else f"has type {self._tags[tag][0]}"
            raise AlignmentError(f"{self._source}: read {self.name}: tag {tag} {found}; expected an array {dtypes}")
        return value


def encode_unmapped(name: str, sequence: bytes, quals: np.ndarray, tags: list[tuple[str, str, Any]]) -> bytes:
    """One unmapped BAM record, its length field included.

    Args:
        sequence: letters, [n].
        quals: Phred qualities, uint8 [n].
        tags: (name, type, value) with type i, f or Z, or B for a numpy array of uint8, uint32 or float32.
    Raises:
        AlignmentError: a name of more than 254 bytes, or a letter that BAM does not know.
    Source: SAM specification, section 4.2: flag 4, no position, bin 4680.
    """
    encoded = name.encode() + b"\0"
    nibbles = _NIBBLE[np.frombuffer(sequence, np.uint8)]
    if len(encoded) > _MAX_READ_NAME_BYTES + 1:
        raise AlignmentError(f"read {name}: its name has {len(encoded) - 1} bytes; BAM takes {_MAX_READ_NAME_BYTES}")
    if (nibbles == _NOT_A_BASE).any():
        at = int(np.argmax(nibbles == _NOT_A_BASE))
        raise AlignmentError(f"read {name}: position {at} holds {chr(sequence[at])!r}; expected A, C, G, T or IUPAC")
    padded = np.append(nibbles, np.uint8(0)) if len(nibbles) % 2 else nibbles
    core = _CORE.pack(-1, -1, len(encoded), 255, 4680, 0, FLAG_UNMAPPED, len(sequence), -1, -1, 0)
    body = [core, encoded, (padded[0::2] << 4 | padded[1::2]).tobytes(), quals.astype(np.uint8).tobytes()]
    for tag, kind, value in tags:
        body.append(tag.encode() + kind.encode() + _pack_tag(kind, value))
    record = b"".join(body)
    return struct.pack("<i", len(record)) + record


def _pack_tag(kind: str, value: Any) -> bytes:
    if kind == "B":
        code = next(code for code, dtype in _TAG_DTYPES.items() if np.dtype(dtype) == value.dtype)
        return code.encode() + struct.pack("<I", len(value)) + bytes(value.tobytes())
    return value.encode() + b"\0" if kind == "Z" else struct.pack("<" + kind, value)


def encode_header(text: str) -> bytes:
    """BAM magic and header of a file without reference sequences."""
    encoded = text.encode()
    return b"BAM\1" + struct.pack("<i", len(encoded)) + encoded + struct.pack("<i", 0)
