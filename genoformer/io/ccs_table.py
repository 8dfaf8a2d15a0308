"""The CCS reads of a BAM file by ZMW: names and lengths for a header at once, records when they are asked for.

One pass over the file builds the table: a name, a length, an offset and a hash a read, about 80 bytes. Records are
then read in step with the subreads where the two files are in one order, and by seeking where they are not.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from genoformer.errors import AlignmentError
from genoformer.io.bam import FLAG_UNMAPPED, BamReader, BamRecord, record_flag, record_name
from genoformer.io.zmws import zmw_key

_CCS_SUFFIX = re.compile(rb"/ccs(?:/fwd|/rev)?\Z")


class CcsTable:
    """All CCS reads of a file, numbered in its order from 0.

    Raises:
        AlignmentError: a damaged file, no reads, or a read that is not an unaligned CCS read with a name of its own.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._reader = BamReader(self.path)
        try:
            self._read_all()
        except BaseException:
            self._reader.file.close()
            raise

    def __enter__(self) -> CcsTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._reader.file.close()

    def __len__(self) -> int:
        return len(self._lengths)

    def _read_all(self) -> None:
        names, name_ends, lengths, offsets, hashes = bytearray(), array("q", [0]), array("i"), array("q"), array("q")
        while True:
            offset = self._reader.tell()
            raw = self._reader.read_record()
            if raw is None:
                break
            name, key = self._checked_name(raw)
            names += name
            name_ends.append(len(names))
            lengths.append(BamRecord(raw, self.path).length)
            offsets.append(offset)
            hashes.append(hash(key))
        if not lengths:
            raise AlignmentError(f"{self.path}: holds no reads; expected CCS reads")
        self._names, self._name_ends, self._lengths, self._offsets = names, name_ends, lengths, offsets
        unordered = np.frombuffer(hashes, np.int64)
        self._order = np.argsort(unordered, kind="stable")
        self._hashes = unordered[self._order]
        self._check_names_differ()

    def _checked_name(self, raw: bytes) -> tuple[bytes, bytes]:
        name = record_name(raw)
        key = zmw_key(name, self.path)
        shown = name.decode("ascii", "replace")
        if not _CCS_SUFFIX.fullmatch(name[len(key) :]):
            raise AlignmentError(
                f"{self.path}: read name '{shown}'; expected a CCS read, movie/hole/ccs; is the order of files right?"
            )
        if not record_flag(raw) & FLAG_UNMAPPED:
            raise AlignmentError(f"{self.path}: CCS read {shown} is aligned; expected CCS reads as 'ccs' writes them")
        if BamRecord(raw, self.path).length == 0:
            raise AlignmentError(f"{self.path}: CCS read {shown} has no bases")
        return name, key

    def _check_names_differ(self) -> None:
        same_hash = np.flatnonzero(np.diff(self._hashes) == 0)
        for index in self._order[same_hash].tolist():
            name = self._name(index)
            twins = self.find(zmw_key(name, self.path))
            if sum(self._name(twin) == name for twin in twins) > 1:
                raise AlignmentError(f"{self.path}: CCS read {name.decode()} is there twice; expected each read once")

    def _name(self, index: int) -> bytes:
        return bytes(self._names[self._name_ends[index] : self._name_ends[index + 1]])

    def name(self, index: int) -> str:
        """Name of a CCS read."""
        return self._name(index).decode()

    def find(self, key: bytes) -> list[int]:
        """Numbers of the CCS reads of a `movie/hole`, in file order: none, one, or one a strand."""
        first, end = (np.searchsorted(self._hashes, hash(key), side=side) for side in ("left", "right"))
        indices = self._order[first:end].tolist()
        return [index for index in indices if zmw_key(self._name(index), self.path) == key]

    def record(self, index: int) -> bytes:
        """The raw record of a CCS read."""
        if self._reader.tell() != self._offsets[index]:
            self._reader.seek(self._offsets[index])
        record = self._reader.read_record()
        if record is None or record_name(record) != self._name(index):
            raise AlignmentError(f"{self.path}: changed while it was read")
        return record

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Name and length of each CCS read."""
        return ((self._name(index), length) for index, length in enumerate(self._lengths))
