"""Small PacBio-like BAM files: through pysam where it can write them, as raw bytes where it must not.

`pysam_molecules` is the reference of our reader, in tests and benchmarks: what pysam makes of two BAM files.
"""

import array
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from genoformer.io.subreads import CcsRead, Subread

MOVIE = "m64011_190228_190319"
UNMAPPED, REVERSE, SECONDARY, SUPPLEMENTARY = 0x4, 0x10, 0x100, 0x800

# SAM specification, section 4.1.2.
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

SN = (6.5, 10.0, 5.25, 9.0)


@dataclass(frozen=True)
class Read:
    """One record; `cigar` None has no alignment, `quals` None has no qualities."""

    name: str
    sequence: str
    cigar: str | None = None
    reference: str | None = None
    start: int = 0
    flag: int = 0
    quals: list[int] | None = None
    tags: dict[str, Any] = field(default_factory=dict)


def ccs_name(zmw: int, movie: str = MOVIE, suffix: str = "ccs") -> str:
    return f"{movie}/{zmw}/{suffix}"


def ccs_read(
    zmw: int, sequence: str, quals: list[int] | None = None, movie: str = MOVIE, suffix: str = "ccs", **tags: Any
) -> Read:
    """An unmapped CCS read; without `quals`, base i has quality 20 + i % 40."""
    quals = [20 + i % 40 for i in range(len(sequence))] if quals is None else quals
    return Read(ccs_name(zmw, movie, suffix), sequence, flag=UNMAPPED, quals=quals, tags=tags)


def subread(
    zmw: int,
    sequence: str,
    cigar: str,
    start: int = 0,
    flag: int = 0,
    *,
    movie: str = MOVIE,
    suffix: str = "ccs",
    **tags: Any,
) -> Read:
    """A subread aligned to its CCS read; without tags, base i has PW 1 + i % 200 and IP 2 + i % 200 as sequenced.

    A tag given as None is left out.
    """
    length = len(sequence)
    kinetics = {
        "pw": array.array("B", [1 + i % 200 for i in range(length)]),
        "ip": array.array("B", [2 + i % 200 for i in range(length)]),
        "sn": array.array("f", SN),
    }
    tags = {tag: value for tag, value in {**kinetics, **tags}.items() if value is not None}
    name = f"{movie}/{zmw}/{start}_{start + length}"
    return Read(name, sequence, cigar, ccs_name(zmw, movie, suffix), start, flag, tags=tags)


def write_bam(path: Path, reads: Iterable[Read], references: Iterable[str] = ()) -> Path:
    """A BAM file in the given order; references are `references`, then those of the reads as they come."""
    reads = list(reads)
    names = list(dict.fromkeys([*references, *(read.reference for read in reads if read.reference)]))
    header = {"HD": {"VN": "1.6", "SO": "unknown"}, "SQ": [{"SN": name, "LN": 1 << 20} for name in names]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for read in reads:
            file.write(_segment(read, file.header))
    return path


def _segment(read: Read, header: pysam.AlignmentHeader) -> pysam.AlignedSegment:
    segment = pysam.AlignedSegment(header)
    segment.query_name, segment.flag = read.name, read.flag
    segment.query_sequence = read.sequence
    if read.reference is not None:
        segment.reference_name, segment.reference_start = read.reference, read.start
    if read.cigar is not None:
        segment.cigarstring = read.cigar
    if read.quals is not None:
        segment.query_qualities = array.array("B", read.quals)
    for tag, value in read.tags.items():
        segment.set_tag(tag, *value) if isinstance(value, tuple) else segment.set_tag(tag, value)
    return segment


def bgzf_block(data: bytes) -> bytes:
    """One BGZF block. Source: SAM specification, section 4.1."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    head = struct.pack("<4BI2BH2B2H", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
    return head + body + struct.pack("<II", zlib.crc32(data), len(data))


def bgzf(data: bytes, block_bytes: int = 0xFF00) -> bytes:
    """A whole BGZF file with its end-of-file block."""
    blocks = [bgzf_block(data[at : at + block_bytes]) for at in range(0, len(data), block_bytes)]
    return b"".join(blocks) + EOF_BLOCK


def raw_header(references: Iterable[tuple[bytes, int]] = ((b"m/1/ccs", 100),), text: bytes = b"@HD\tVN:1.6\n") -> bytes:
    """Magic, header text and references, uncompressed. Source: SAM specification, section 4.2."""
    references = list(references)
    packed = [struct.pack("<i", len(name) + 1) + name + b"\0" + struct.pack("<i", n) for name, n in references]
    return b"BAM\1" + struct.pack("<i", len(text)) + text + struct.pack("<i", len(references)) + b"".join(packed)


@dataclass(frozen=True)
class RawRecord:
    """Fields of a record as they stand in the file, whether or not they agree with each other."""

    name: bytes = b"m/1/0_4\0"
    reference: int = 0
    start: int = 0
    flag: int = 0
    ops: tuple[int, ...] = (4 << 4 | 7,)
    length: int = 4
    bases: bytes = b"\x12\x48"  # A C G T
    quals: bytes = b"\xff\xff\xff\xff"
    tags: bytes = b"pwBC\4\0\0\0\1\2\3\4" + b"ipBC\4\0\0\0\5\6\7\x08" + b"snBf\4\0\0\0" + struct.pack("<4f", *SN)
    num_ops: int | None = None
    name_length: int | None = None
    size: int | None = None

    def pack(self) -> bytes:
        """The record with its length field."""
        num_ops = len(self.ops) if self.num_ops is None else self.num_ops
        name_length = len(self.name) if self.name_length is None else self.name_length
        core = struct.pack("<iiBBHHHiiii", self.reference, self.start, name_length, 60, 4680, num_ops, self.flag,
                           self.length, -1, -1, 0)  # fmt: skip
        body = core + self.name + struct.pack(f"<{len(self.ops)}I", *self.ops) + self.bases + self.quals + self.tags
        return struct.pack("<i", len(body) if self.size is None else self.size) + body


def pysam_molecules(subreads_path: Path, ccs_path: Path) -> Iterator[tuple[CcsRead, list[Subread]]]:
    """CCS reads and subreads decoded by pysam; the files are in the same order and every subread is aligned."""
    with (
        pysam.AlignmentFile(str(subreads_path), check_sq=False) as subreads,
        pysam.AlignmentFile(str(ccs_path), check_sq=False) as ccs_reads,
    ):
        for name, segments in itertools.groupby(subreads.fetch(until_eof=True), lambda read: read.reference_name):
            ccs = next(read for read in ccs_reads.fetch(until_eof=True) if read.query_name == name)
            quals = np.array(ccs.query_qualities, np.uint8)
            yield CcsRead(name, ccs.query_sequence.encode(), quals), [_pysam_subread(segment) for segment in segments]


_CODES = np.array([max(" ATCG".find(chr(letter)), 0) for letter in range(256)], np.uint8)


def _pysam_subread(segment: pysam.AlignedSegment) -> Subread:
    codes = _CODES[np.frombuffer(segment.query_sequence.encode(), np.uint8)]
    ops = np.array(segment.cigartuples, np.uint32)
    pw, ip = np.array(segment.get_tag("pw"), np.uint8), np.array(segment.get_tag("ip"), np.uint8)
    if segment.is_reverse:
        pw, ip = pw[::-1], ip[::-1]
    return Subread(
        segment.query_name,
        codes,
        ops[:, 1] << 4 | ops[:, 0],
        segment.reference_start,
        segment.is_reverse,
        pw,
        ip,
        np.array(segment.get_tag("sn"), np.float32),
    )
