"""Subreads and their CCS reads, streamed from two BAM files one molecule at a time.

A molecule is one CCS read and the subreads aligned to it. Subreads are grouped by movie and hole number (the first
two fields of a PacBio read name), so merged movies do not collide, and within a ZMW by the CCS read they align to,
so by-strand CCS reads (`movie/zmw/ccs/fwd`, `.../rev`) stay apart.

What happens with odd input:
    unmapped, secondary, supplementary subreads   left out and counted
    a subread without bases or alignment          left out and counted
    a subread aligned to another ZMW's CCS read   left out and counted
    a ZMW with no usable subread                  comes with zero subreads
    a CCS read in another order, or far away      found by name (one pass over the CCS file builds an index)
    a CCS read that is not there                  AlignmentError; with no usable subread the ZMW is left out
    a file of which no ZMW has a CCS read         AlignmentError
    a ZMW that comes back after others            AlignmentError: the file is not grouped by ZMW
    missing or wrong `pw`, `ip`, `sn`             AlignmentError when decoded, unless kinetics are not wanted
    `pw`/`ip` as frames (uint16)                  converted with PacBio's CodecV1
    a CCS read without qualities                  qualities 0
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from genoformer.errors import AlignmentError
from genoformer.genome.alphabet import pileup_codes
from genoformer.io.bam import (
    FLAG_SECONDARY,
    FLAG_SUPPLEMENTARY,
    FLAG_UNMAPPED,
    BamReader,
    BamRecord,
    record_flag,
    record_reference,
)
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.zmws import MAX_HOLE_NUMBER, SeenZmws, ZmwGroup, group_by_zmw, zmw_key

NUM_SN = 4
T = TypeVar("T")
_CONSUMES_READ = np.isin(np.arange(16), (0, 1, 4, 7, 8))  # CIGAR operations M, I, S, = and X
UNUSABLE = FLAG_UNMAPPED | FLAG_SECONDARY | FLAG_SUPPLEMENTARY


@dataclass(frozen=True)
class Subread:
    """One subread aligned to its CCS read; all arrays run along the CCS strand.

    `codes` uint8 [n] in pileup codes; `pw`, `ip` uint8 [n] CodecV1 codes; `cigar` uint32 [ops] as length << 4 | op;
    `start` is the first CCS position, 0-based; `sn` float32 [4].
    """

    name: str
    codes: np.ndarray
    cigar: np.ndarray
    start: int
    is_reverse: bool
    pw: np.ndarray
    ip: np.ndarray
    sn: np.ndarray


@dataclass(frozen=True)
class CcsRead:
    """One CCS read: `sequence` letters [n], `quals` uint8 [n], `window_lengths` the `wl` tag where there is one."""

    name: str
    sequence: bytes
    quals: np.ndarray
    num_passes: int | None = None
    effective_coverage: float | None = None
    read_group: str | None = None
    window_lengths: np.ndarray | None = None


@dataclass(frozen=True)
class RawMolecule:
    """Undecoded records of one CCS read and its subreads; picklable.

    `next_offset` is the virtual offset in the subreads file where the next ZMW starts, on the last molecule of a ZMW;
    None on those before it.
    """

    name: str
    zmw: int
    ccs: bytes
    subreads: list[bytes]
    num_unusable: int = 0
    next_offset: int | None = None


def iterate_zmws(reader: BamReader, start: int | None = None, end: int | None = None) -> Iterator[ZmwGroup]:
    """ZMWs of a subreads file that begin at virtual offsets in [start, end).

    Raises:
        AlignmentError: damaged input, names of another form, or a ZMW in two places.
    """
    seen = SeenZmws(reader.path)
    for group in group_by_zmw(reader, _take_aligned, start, end):
        seen.add(group.key)
        yield group


def _take_aligned(group: ZmwGroup, record: bytes) -> None:
    if record_flag(record) & UNUSABLE or record_reference(record) < 0:
        group.num_unusable += 1
    else:
        group.records.append(record)


def iterate_molecules(
    subreads: BamReader, ccs: CcsFinder, start: int | None = None, end: int | None = None
) -> Iterator[RawMolecule]:
    """Molecules of the ZMWs in [start, end) of the subreads file, in its order.

    A ZMW without a usable subread gives its `movie/hole/ccs` read with no subreads; where the CCS file has none, its
    subreads count as unusable with the next molecule.

    Raises:
        AlignmentError: as `iterate_zmws`, a CCS read that is not in its file, or a whole file without a molecule.
    """
    if subreads.header.num_references == 0:
        raise AlignmentError(
            f"{subreads.path}: its header has no @SQ line; expected subreads aligned to their CCS reads (actc)"
        )
    unusable = num_zmws = num_molecules = 0
    for group in iterate_zmws(subreads, start, end):
        num_zmws += 1
        by_name = _records_by_ccs(subreads, group)
        unusable += group.num_unusable + len(group.records) - sum(map(len, by_name.values()))
        molecules = []
        for name, records in (by_name or {group.key + b"/ccs": []}).items():
            found = ccs.find(name)
            if found is None and not records:
                continue
            if found is None:
                raise AlignmentError(
                    f"{subreads.path}: ZMW {group.key.decode()}: its CCS read '{name.decode()}' is not in {ccs.path}; "
                    "check that the two files belong together"
                )
            molecules.append(RawMolecule(name.decode("ascii", "replace"), group.zmw, found, records, unusable))
            unusable = 0
        num_molecules += len(molecules)
        if molecules:
            yield from molecules[:-1]
            yield replace(molecules[-1], next_offset=group.next_offset)
    if num_zmws and not num_molecules and start is None and end is None:
        raise AlignmentError(
            f"{subreads.path}: none of its {num_zmws} ZMWs has a CCS read in {ccs.path}; "
            "check that the two files belong together"
        )


def _records_by_ccs(reader: BamReader, group: ZmwGroup) -> dict[bytes, list[bytes]]:
    """Records of a ZMW by the CCS read that they align to, without those aligned to another ZMW's."""
    by_reference: dict[int, list[bytes]] = {}
    for record in group.records:
        by_reference.setdefault(record_reference(record), []).append(record)
    by_name = {_reference_name(reader, ref_id): records for ref_id, records in by_reference.items()}
    return {name: records for name, records in by_name.items() if zmw_key(name, reader.path) == group.key}


def _reference_name(reader: BamReader, ref_id: int) -> bytes:
    if ref_id >= reader.header.num_references:
        raise AlignmentError(
            f"{reader.path}: a record has reference {ref_id} of {reader.header.num_references}; the file is damaged"
        )
    return reader.header.reference_name(ref_id).encode()


def decode_subread(raw: bytes, source: str | Path, with_kinetics: bool = True) -> Subread | None:
    """A subread from its raw record; None where it has no bases or no CIGAR.

    Args:
        with_kinetics: False fills missing `pw`, `ip` and `sn` with 0 instead of raising.
    Raises:
        AlignmentError: a damaged record, or a tag that is missing or of the wrong length.
    """
    record = BamRecord(raw, source)
    cigar = record.cigar
    if record.length == 0 or len(cigar) == 0:
        return None
    query_length = int((cigar >> 4)[_CONSUMES_READ[cigar & 15]].sum(dtype=np.int64))
    if query_length != record.length or record.start < 0:
        raise AlignmentError(
            f"{source}: read {record.name}: CIGAR covers {query_length} bases from position {record.start}; "
            f"the read has {record.length}"
        )
    kinetics = [read_kinetics(record, tag, source, with_kinetics) for tag in ("pw", "ip")]
    pw, ip = (values[::-1] for values in kinetics) if record.is_reverse else kinetics
    codes = pileup_codes(record.sequence)
    sn = signal_to_noise(record, source, with_kinetics)
    return Subread(record.name, codes, cigar, record.start, record.is_reverse, pw, ip, sn)


def read_kinetics(record: BamRecord, tag: str, source: str | Path, required: bool) -> np.ndarray:
    """CodecV1 codes of the tag pw or ip, uint8 [length]; zeros where it may be missing and is.

    Raises:
        AlignmentError: a tag that is missing or of the wrong type or length.
    """
    if not required and not record.has_tag(tag):
        return np.zeros(record.length, dtype=np.uint8)
    values = record.array_tag(tag, "u1", "u2")
    if len(values) != record.length:
        raise AlignmentError(
            f"{source}: read {record.name}: tag {tag} has {len(values)} values for {record.length} bases; "
            "rerun the step that clipped the reads"
        )
    return values if values.dtype == np.uint8 else frames_to_codes(values)


def signal_to_noise(record: BamRecord, source: str | Path, required: bool) -> np.ndarray:
    """The tag sn, float32 [4]; zeros where it may be missing and is.

    Raises:
        AlignmentError: a tag that is missing, of the wrong type or length, or not finite.
    """
    if not required and not record.has_tag("sn"):
        return np.zeros(NUM_SN, dtype=np.float32)
    sn = record.array_tag("sn", "f4")
    if len(sn) != NUM_SN:
        raise AlignmentError(f"{source}: read {record.name}: tag sn has {len(sn)} values; expected {NUM_SN}")
    if not np.isfinite(sn).all():
        raise AlignmentError(f"{source}: read {record.name}: tag sn is {sn.tolist()}; expected finite numbers")
    return sn


def frames_to_codes(frames: np.ndarray) -> np.ndarray:
    """CodecV1 codes, uint8, of frame counts: the nearest of 256 points in steps of 1, 2, 4 and 8 frames.

    Source: PacBio BAM format specification, CodecV1; a count midway between two points takes the upper one.
    """
    points = np.concatenate([first + step * np.arange(64) for first, step in ((0, 1), (64, 2), (192, 4), (448, 8))])
    midpoints = (points[:-1] + points[1:] + 1) // 2
    return np.searchsorted(midpoints, frames, side="right").astype(np.uint8)


def decode_ccs(raw: bytes, source: str | Path) -> CcsRead:
    """A CCS read from its raw record.

    Raises:
        AlignmentError: a damaged record, or one without bases.
    """
    record = BamRecord(raw, source)
    if record.length == 0:
        raise AlignmentError(f"{source}: CCS read {record.name} has no bases")
    quals = record.quals
    if quals is None:
        quals = np.zeros(record.length, dtype=np.uint8)
    return CcsRead(
        record.name,
        record.sequence,
        quals,
        num_passes=_checked(record, "np", int, source),
        effective_coverage=_checked(record, "ec", float, source),
        read_group=_checked(record, "RG", str, source),
        window_lengths=_checked(record, "wl", np.ndarray, source),
    )


def _checked(record: BamRecord, tag: str, kind: type[T], source: str | Path) -> T | None:
    value = record.tag(tag)
    fits = isinstance(value, kind) and not (isinstance(value, int) and not 0 <= value <= MAX_HOLE_NUMBER)
    if value is not None and not fits:
        shown = "an array" if isinstance(value, np.ndarray) else repr(value)  # one line, however long the array
        raise AlignmentError(f"{source}: read {record.name}: tag {tag} is {shown}; expected {kind.__name__}")
    return value
