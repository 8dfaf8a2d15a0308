"""Raw subread records turned into records aligned to their CCS reads, and the BAM file that holds them.

A record keeps its name, all its bases and every tag byte for byte: what is not aligned is clipped softly, so that
`pw` and `ip`, in the read's own orientation, still have a value a base, and `qs` and `qe` still say where the read
begins and ends. Qualities are left out, as actc does: those of subreads carry nothing.

Records are compressed where they are made, ZMW by ZMW in blocks of their own, so that a file does not depend on how
many processes wrote it, and files of shards can be put together block by block (`samtools cat`).

Source: SAM/BAM specification, sections 4.1 (BGZF), 4.2 (BAM), 5.3 (bins) and 4.2.2 (`CG` for long CIGARs).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from genoformer.genome.alphabet import BAM_LETTERS, reverse_complement
from genoformer.io.aligner import SubreadAlignment
from genoformer.io.bam import EOF_BLOCK, FLAG_REVERSE, FLAG_UNMAPPED, BamRecord, record_name
from genoformer.io.ccs_table import CcsTable
from genoformer.io.reads import PartialFile

MAX_CIGAR_OPS = 65_535
MAPPING_QUALITY = 60  # as actc gives all its alignments

_CORE = struct.Struct("<iiBBHHHiiii")  # refID pos l_read_name mapq bin n_cigar flag l_seq next_refID next_pos tlen
_SKIP, _SOFT_CLIP = 3, 4
_NO_QUALITY = b"\xff"
_NIBBLE = np.zeros(256, dtype=np.uint8)
_NIBBLE[list(BAM_LETTERS)] = np.arange(16)
_BIN_LEVELS = ((14, 4681), (17, 585), (20, 73), (23, 9), (26, 1))  # bits of a bin's bases, number of the first bin
_BLOCK_BYTES = 0xFF00  # content of a block: what zlib cannot compress still fits into 64 KiB
_BLOCK_START = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"


def encode_aligned(record: BamRecord, raw: bytes, ref_id: int, alignment: SubreadAlignment) -> bytes:
    """The aligned record of a subread, its length field included.

    Args:
        record, raw: its unaligned record, decoded and as stored.
        ref_id: number of its CCS read.
    Raises:
        AlignmentError: its tags are damaged.
    """
    record.has_tag("CG")  # walks through all tags: damaged ones must not be carried on
    local, size = alignment.local, record.length
    cigar = _with_clips(local.cigar, local.read_start, size - local.read_end)
    tags = _tags(raw, size)
    if len(cigar) > MAX_CIGAR_OPS:
        tags += b"CGBI" + struct.pack("<I", len(cigar)) + cigar.tobytes()
        cigar = np.array([size << 4 | _SOFT_CLIP, local.ref_end - local.ref_start << 4 | _SKIP], "<u4")
    name = record_name(raw) + b"\0"
    flag = record.flag & ~FLAG_UNMAPPED | (FLAG_REVERSE if alignment.is_reverse else 0)
    core = _CORE.pack(ref_id, local.ref_start, len(name), MAPPING_QUALITY, _bin(local.ref_start, local.ref_end),
                      len(cigar), flag, size, -1, -1, 0)  # fmt: skip
    bases = _pack_bases(reverse_complement(record.sequence)) if alignment.is_reverse else record.bases4.tobytes()
    body = b"".join([core, name, cigar.tobytes(), bases, _NO_QUALITY * size, tags])
    return struct.pack("<i", len(body)) + body


def _with_clips(cigar: np.ndarray, left: int, right: int) -> np.ndarray:
    clips = [np.array([size << 4 | _SOFT_CLIP] if size else [], "<u4") for size in (left, right)]
    return np.concatenate([clips[0], cigar, clips[1]]).astype("<u4")


def _tags(raw: bytes, num_bases: int) -> bytes:
    num_ops = int.from_bytes(raw[12:14], "little")
    return raw[_CORE.size + raw[8] + 4 * num_ops + (num_bases + 1) // 2 + num_bases :]


def _pack_bases(sequence: bytes) -> bytes:
    nibbles = _NIBBLE[np.frombuffer(sequence, np.uint8)]
    padded = np.append(nibbles, np.uint8(0)) if len(nibbles) % 2 else nibbles
    return (padded[0::2] << 4 | padded[1::2]).tobytes()


def _bin(start: int, end: int) -> int:
    """Number of the smallest bin of a UCSC index that holds [start, end); 0 holds all."""
    for bits, first in _BIN_LEVELS:
        if start >> bits == (end - 1) >> bits:
            return (first + (start >> bits)) & 0xFFFF
    return 0


def bgzf_blocks(data: bytes) -> bytes:
    """BGZF blocks that hold the data; none where there is none."""
    return b"".join(_block(data[at : at + _BLOCK_BYTES]) for at in range(0, len(data), _BLOCK_BYTES))


def _block(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    size = struct.pack("<H", len(_BLOCK_START) + 2 + len(body) + 8 - 1)
    return _BLOCK_START + size + body + struct.pack("<II", zlib.crc32(data), len(data))


class AlignedBam:
    """A BAM file of aligned subreads that has its name only once it is whole.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = PartialFile(path)

    def write_header(self, text: str, references: CcsTable) -> None:
        """Writes the header, in blocks of its own.

        Args:
            text: SAM header with @HD as its first line and without @SQ.
        """
        first, rest = text.encode().split(b"\n", maxsplit=1)
        sequence_lines = (b"@SQ\tSN:%s\tLN:%d\n" % reference for reference in references)
        num_text_bytes = len(first) + 1 + sum(map(len, sequence_lines)) + len(rest)
        pieces = _header_pieces(first, rest, num_text_bytes, references)
        for block in _joined(pieces):
            self._file.raw.write(bgzf_blocks(block))

    def write_blocks(self, blocks: bytes) -> None:
        """Appends compressed records."""
        self._file.raw.write(blocks)

    def finish(self) -> int:
        """Gives the file its name; returns its size in bytes."""
        self._file.raw.write(EOF_BLOCK)
        return self._file.finish()

    def discard(self) -> None:
        """Removes the unfinished file."""
        self._file.discard()


def _header_pieces(first: bytes, rest: bytes, num_text_bytes: int, references: CcsTable) -> Iterator[bytes]:
    yield b"BAM\1" + struct.pack("<i", num_text_bytes) + first + b"\n"
    for reference in references:
        yield b"@SQ\tSN:%s\tLN:%d\n" % reference
    yield rest + struct.pack("<i", len(references))
    for name, length in references:
        yield struct.pack("<i", len(name) + 1) + name + b"\0" + struct.pack("<i", length)


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces in parts of at least a block, except the last."""
    parts, size = [], 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _BLOCK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)
