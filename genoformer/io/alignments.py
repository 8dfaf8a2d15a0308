"""Subreads aligned to their CCS reads, CCS reads, and FASTA: written whole or not at all.

The BAM files are like PacBio's: one reference a CCS read, full CIGARs with = and X, bases along the reference strand
but the kinetics tags `pw` and `ip` in the read's own orientation, no qualities on subreads. Equal content gives equal
bytes. While it is written, a file is called `NAME.partial`.

Source: PacBio BAM format specification 3.0.1 (headers, read group ids, tags); SAM specification, section 1.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from genoformer.errors import AlignmentError, OutputError
from genoformer.io.bam import FLAG_REVERSE, FLAG_UNMAPPED
from genoformer.io.reads import OutputRead, partial_path

SUBREAD, CCS = "SUBREAD", "CCS"

_FASTA_LINE = 60
_NO_MAPPING_QUALITY = 255
_READ_TYPE_FIELDS = {SUBREAD: ";Ipd:CodecV1=ip;PulseWidth:CodecV1=pw", CCS: ""}
# The Sequel I chemistry of the reads that the simulator's error model was measured on.
_CHEMISTRY = "BINDINGKIT=101-500-400;SEQUENCINGKIT=101-427-800;BASECALLERVERSION=5.0.0;FRAMERATEHZ=100.000000"

Tags = tuple[tuple[str, str, Any], ...]


@dataclass(frozen=True)
class AlignedRead:
    """A read on a CCS read: `sequence` along the reference strand, `cigar` uint32 [ops] as length << 4 | op.

    `tags` are (name, type, value) with types i, f, Z, or B for a numpy array of uint8 or float32.
    """

    name: str
    sequence: bytes
    cigar: np.ndarray
    ref_id: int
    start: int
    is_reverse: bool
    tags: Tags
    mapping_quality: int = 60


def read_group_id(movie: str, read_type: str) -> str:
    """Id of a read group: eight hexadecimal digits of the MD5 of `movie//TYPE`."""
    return hashlib.md5(f"{movie}//{read_type}".encode(), usedforsecurity=False).hexdigest()[:8]


def bam_header(movie: str, read_type: str, references: Iterable[tuple[str, int]], program: dict[str, str]) -> str:
    """Header of a PacBio-style BAM file.

    Args:
        read_type: SUBREAD or CCS.
        references: name and length of each CCS read, for aligned subreads; else empty.
        program: fields of the @PG line, in order; no paths, so that files compare equal between machines.
    """
    description = f"READTYPE={read_type}{_READ_TYPE_FIELDS[read_type]};{_CHEMISTRY}"
    lines = ["@HD\tVN:1.5\tSO:unknown\tpb:3.0.1"]
    lines += [f"@SQ\tSN:{name}\tLN:{length}" for name, length in references]
    group = {"ID": read_group_id(movie, read_type), "PL": "PACBIO", "DS": description, "PU": movie, "PM": "SEQUEL"}
    lines += ["\t".join([kind, *(f"{key}:{value}" for key, value in fields.items())])
              for kind, fields in (("@RG", group), ("@PG", program))]  # fmt: skip
    return "\n".join(lines) + "\n"


def write_aligned_subreads(path: str | Path, header: str, reads: Iterable[AlignedRead]) -> None:
    """Writes subreads aligned to CCS reads, in the order given.

    Raises:
        AlignmentError: a read whose CIGAR or kinetics do not fit its bases; nothing is written then.
        OutputError: the file cannot be written.
    """
    _write_bam(path, header, (_aligned_segment(read, path) for read in reads))


def write_ccs_reads(path: str | Path, header: str, reads: Iterable[OutputRead]) -> None:
    """Writes CCS reads as unmapped records; tags as in `AlignedRead`.

    Raises:
        OutputError: the file cannot be written.
    """
    _write_bam(path, header, (_unmapped_segment(read) for read in reads))


def write_fasta(path: str | Path, sequences: Iterable[tuple[str, bytes]]) -> None:
    """Writes sequences as (name and description, letters), 60 letters a line.

    Raises:
        OutputError: the file cannot be written.
    """
    with _whole_file(path) as partial, open(partial, "wb") as file:
        for name, letters in sequences:
            lines = [letters[at : at + _FASTA_LINE] for at in range(0, len(letters), _FASTA_LINE)]
            file.write(b"\n".join([b">" + name.encode(), *lines]) + b"\n")


@contextmanager
def _whole_file(path: str | Path) -> Iterator[Path]:
    """The temporary name of a file that gets its own once it is whole, and is removed if something goes wrong."""
    partial = partial_path(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):  # a folder that is not there; the error at hand says so
            partial.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def _write_bam(path: str | Path, header: str, segments: Iterable[pysam.AlignedSegment]) -> None:
    with _whole_file(path) as partial, pysam.AlignmentFile(str(partial), "wb", text=header) as file:
        for segment in segments:
            file.write(segment)


def _aligned_segment(read: AlignedRead, path: str | Path) -> pysam.AlignedSegment:
    op, length = read.cigar & 15, read.cigar >> 4
    num_bases = int(length[np.isin(op, (0, 1, 4, 7, 8))].sum(dtype=np.int64))
    if num_bases != len(read.sequence):
        raise AlignmentError(f"{path}: read {read.name}: CIGAR covers {num_bases} bases; it has {len(read.sequence)}")
    for tag, _, value in read.tags:
        if tag in ("pw", "ip") and len(value) != num_bases:
            raise AlignmentError(f"{path}: read {read.name}: tag {tag} has {len(value)} values for {num_bases} bases")
    segment = pysam.AlignedSegment()
    segment.query_name = read.name
    segment.flag = FLAG_REVERSE if read.is_reverse else 0
    segment.reference_id, segment.reference_start = read.ref_id, read.start
    segment.mapping_quality = read.mapping_quality
    segment.cigartuples = list(zip(op.tolist(), length.tolist(), strict=True))
    segment.query_sequence = read.sequence.decode()
    _set_tags(segment, read.tags)
    return segment


def _unmapped_segment(read: OutputRead) -> pysam.AlignedSegment:
    segment = pysam.AlignedSegment()
    segment.query_name, segment.flag = read.name, FLAG_UNMAPPED
    segment.reference_id = segment.reference_start = -1
    segment.mapping_quality = _NO_MAPPING_QUALITY
    segment.query_sequence = read.sequence.decode()
    segment.query_qualities = array("B", read.quals.astype(np.uint8).tobytes())
    _set_tags(segment, read.tags)
    return segment


def _set_tags(segment: pysam.AlignedSegment, tags: Tags) -> None:
    for tag, kind, value in tags:
        if kind == "B":
            segment.set_tag(tag, array(value.dtype.char, value.tobytes()))
        elif kind == "f":
            segment.set_tag(tag, value, "f")
        else:
            segment.set_tag(tag, value)  # text, or the narrowest integer type that holds the value
