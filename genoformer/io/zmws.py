"""Records of a BAM file by ZMW: the movie and hole number that PacBio read names begin with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader, record_name

MAX_HOLE_NUMBER = (1 << 31) - 1
_ZMW_NAME = re.compile(rb"([!-.0-~]+)/(\d{1,10})(?:/[!-~]*)?\Z")
_HOLES_A_PAGE = 1 << 12


@dataclass
class ZmwGroup:
    """Raw records of one ZMW, in file order."""

    key: bytes  # movie/hole
    records: list[bytes] = field(default_factory=list)
    num_unusable: int = 0
    next_offset: int = 0

    @property
    def zmw(self) -> int:
        """Hole number."""
        return int(self.key.rsplit(b"/", 1)[1])


def zmw_key(name: bytes, source: Path) -> bytes:
    """`movie/hole` of a PacBio read name.

    Raises:
        AlignmentError: the name has another form.
    """
    match = _ZMW_NAME.match(name)
    if match is None or int(match[2]) > MAX_HOLE_NUMBER:
        shown = name.decode("ascii", "replace")
        raise AlignmentError(f"{source}: read name {shown!r}; expected PacBio's movie/hole/... form")
    return match.group()[: match.end(2)]


class SeenZmws:
    """The ZMWs of a file that have been read: one bit a hole, in pages of 4,096, so that a whole cell fits in a few MB.

    Args:
        source: the file that messages name.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._pages: dict[tuple[bytes, int], bytearray] = {}

    def add(self, key: bytes) -> None:
        """Adds a `movie/hole`.

        Raises:
            AlignmentError: it was there before.
        """
        movie, hole_text = key.rsplit(b"/", 1)
        page_id, bit = divmod(int(hole_text), _HOLES_A_PAGE)
        page = self._pages.setdefault((movie, page_id), bytearray(_HOLES_A_PAGE >> 3))
        byte, mask = bit >> 3, 1 << (bit & 7)
        if page[byte] & mask:
            raise AlignmentError(
                f"{self._source}: subreads of ZMW {key.decode()} are in two places; expected them together: "
                "sort with 'samtools sort -n' or rerun the aligner"
            )
        page[byte] |= mask


def group_by_zmw(
    reader: BamReader, take: Callable[[ZmwGroup, bytes], None], start: int | None = None, end: int | None = None
) -> Iterator[ZmwGroup]:
    """Runs of records of one ZMW that begin at virtual offsets in [start, end).

    Args:
        take: puts a record into its group.
    Raises:
        AlignmentError: damaged input, names of another form, and what `take` refuses.
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
        take(group, record)
