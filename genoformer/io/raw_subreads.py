"""Raw subreads, as the instrument writes them: unaligned, in the order and sense of sequencing, ZMW by ZMW."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import AlignmentError
from genoformer.io.aligned_bam import bgzf_blocks
from genoformer.io.bam import EOF_BLOCK, FLAG_UNMAPPED, BamReader, BamRecord, encode_header, record_flag, record_name
from genoformer.io.read_groups import SUBREAD, read_group_id
from genoformer.io.reads import PartialFile
from genoformer.io.subreads import read_kinetics, signal_to_noise
from genoformer.io.zmws import ZmwGroup, group_by_zmw

_CCS_FIELD = b"/ccs"
_ADAPTERS = 1 | 2  # bits of the tag cx: one before, one behind
# Kinetics, and the Sequel I chemistry of the reads that the simulator's error model was measured on.
_DESCRIPTION = (
    f"READTYPE={SUBREAD};Ipd:CodecV1=ip;PulseWidth:CodecV1=pw;"
    "BINDINGKIT=101-500-400;SEQUENCINGKIT=101-427-800;BASECALLERVERSION=5.0.0;FRAMERATEHZ=100.000000"
)


@dataclass(frozen=True)
class RawSubread:
    """A subread as sequenced: letters, CodecV1 codes `pw` and `ip` uint8 [n], `sn` float32 [4] (A, C, G, T).

    `is_full`: it runs from adapter to adapter. Kinetics or signal-to-noise ratios that it does not have are zeros.
    """

    sequence: bytes
    pw: np.ndarray
    ip: np.ndarray
    sn: np.ndarray
    is_full: bool


def iterate_raw_zmws(reader: BamReader, start: int | None = None, end: int | None = None) -> Iterator[ZmwGroup]:
    """ZMWs of a raw subreads file that begin at virtual offsets in [start, end), with all their records.

    Whether a ZMW comes back after others is not checked here: it takes memory for every ZMW.

    Raises:
        AlignmentError: damaged input, names of another form, reads that are aligned, or CCS reads.
    """

    def take(group: ZmwGroup, record: bytes) -> None:
        _check_raw(reader, record, group.key)
        group.records.append(record)

    return group_by_zmw(reader, take, start, end)


def decode_raw_subread(raw: bytes, source: str | Path) -> RawSubread:
    """A subread from its raw record.

    Raises:
        AlignmentError: a damaged record, no tag cx, or other tags of a wrong length.
    """
    record = BamRecord(raw, source)
    context = record.tag("cx")
    if not isinstance(context, int):
        raise AlignmentError(
            f"{source}: read {record.name}: has no tag cx, which says whether it is a full pass; expected subreads as "
            "the instrument writes them"
        )
    pw, ip = (read_kinetics(record, tag, source, required=False) for tag in ("pw", "ip"))
    sn = signal_to_noise(record, source, required=False)
    return RawSubread(record.sequence, pw, ip, sn, context & _ADAPTERS == _ADAPTERS)


def _check_raw(reader: BamReader, record: bytes, key: bytes) -> None:
    name = record_name(record)
    shown = name.decode("ascii", "replace")
    if name[len(key) :].startswith(_CCS_FIELD):
        raise AlignmentError(f"{reader.path}: read '{shown}' is a CCS read; expected raw subreads")
    if not record_flag(record) & FLAG_UNMAPPED:
        raise AlignmentError(
            f"{reader.path}: read {shown} is aligned already; expected raw subreads; if it is aligned to its CCS read, "
            "go on with 'genoformer consensus correct'"
        )


def subreads_header(movie: str, program: dict[str, str]) -> str:
    """Header of a file of raw subreads.

    Args:
        program: fields of the @PG line, in order; no paths, so that files compare equal between machines.
    """
    group = {"ID": read_group_id(movie, SUBREAD), "PL": "PACBIO", "DS": _DESCRIPTION, "PU": movie, "PM": "SEQUEL"}
    lines = ["@HD\tVN:1.5\tSO:unknown\tpb:3.0.1"]
    for kind, fields in (("@RG", group), ("@PG", program)):
        lines.append("\t".join([kind, *(f"{key}:{value}" for key, value in fields.items())]))
    return "\n".join(lines) + "\n"


def write_raw_subreads(path: str | Path, header: str, blocks: Iterable[bytes]) -> None:
    """Writes a BAM file of compressed records; it has its name only once it is whole.

    Raises:
        OutputError: the file cannot be written.
        Whatever taking a block raises; no file stays then.
    """
    file = PartialFile(path)
    try:
        file.raw.write(bgzf_blocks(encode_header(header)))
        file.raw.writelines(blocks)
        file.raw.write(EOF_BLOCK)
        file.finish()
    except BaseException:
        file.discard()
        raise
