"""Raw subreads, as the instrument writes them: unaligned, in the order and sense of sequencing, ZMW by ZMW."""

from __future__ import annotations

from collections.abc import Iterator

from genoformer.errors import AlignmentError
from genoformer.io.bam import FLAG_UNMAPPED, BamReader, record_flag, record_name
from genoformer.io.subreads import ZmwGroup, zmw_key

_CCS_FIELD = b"/ccs"


def iterate_raw_zmws(reader: BamReader, start: int | None = None, end: int | None = None) -> Iterator[ZmwGroup]:
    """ZMWs of a raw subreads file that begin at virtual offsets in [start, end), with all their records.

    Whether a ZMW comes back after others is not checked here: it takes memory for every ZMW.

    Raises:
        AlignmentError: damaged input, names of another form, reads that are aligned, or CCS reads.
    """
    reader.seek(reader.first_record if start is None else start)
    group: ZmwGroup | None = None
    while True:
        offset = reader.tell()
        record = reader.read_record()
        key = b"" if record is None else zmw_key(record_name(record), reader.path)
        if group is None or key != group.key:
            if group is not None:
                group.next_offset = offset
                yield group
            if record is None or (end is not None and offset >= end):
                return
            group = ZmwGroup(key)
        assert record is not None
        _check_raw(reader, record, key)
        group.records.append(record)


def _check_raw(reader: BamReader, record: bytes, key: bytes) -> None:
    name = record_name(record)
    shown = name.decode("ascii", "replace")
    if name[len(key) :].startswith(_CCS_FIELD):
        raise AlignmentError(
            f"{reader.path}: read '{shown}' is a CCS read; expected raw subreads; is the order of files right?"
        )
    if not record_flag(record) & FLAG_UNMAPPED:
        raise AlignmentError(
            f"{reader.path}: read {shown} is aligned already; expected raw subreads; if it is aligned to its CCS read, "
            "go on with 'genoformer consensus correct'"
        )
