"""CCS records of a BAM file by name."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from pathlib import Path
from types import TracebackType

import numpy as np

from genoformer.io.bam import BamHeader, BamReader, record_name

_LOOK_AHEAD_BYTES = 16 << 20  # CCS records kept while the two files run in step


class CcsFinder:
    """CCS records by name: in step with the subreads while the orders agree, through an index where they do not."""

    def __init__(self, path: str | Path) -> None:
        self._reader = BamReader(path)
        self._ahead: OrderedDict[bytes, bytes] = OrderedDict()
        self._ahead_bytes = 0
        self._at_end = False
        self._index: _NameIndex | None = None

    def __enter__(self) -> CcsFinder:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._reader.__exit__(kind, value, trace)

    @property
    def header(self) -> BamHeader:
        """Header of the CCS file."""
        return self._reader.header

    @property
    def path(self) -> Path:
        """The CCS file."""
        return self._reader.path

    @property
    def is_indexed(self) -> bool:
        """Whether the files turned out to be in different orders."""
        return self._index is not None

    def find(self, name: bytes) -> bytes | None:
        """The record of a CCS read; None where the file has no read of that name."""
        if self._index is None:
            found = self._find_ahead(name)
            if found is not None:
                return found
            self._ahead.clear()
            self._index = _NameIndex.build(self._reader)
        return self._index.find(self._reader, name)

    def _find_ahead(self, name: bytes) -> bytes | None:
        while name not in self._ahead and self._ahead_bytes < _LOOK_AHEAD_BYTES and not self._at_end:
            record = self._reader.read_record()
            if record is None:
                self._at_end = True
            else:
                self._ahead.setdefault(record_name(record), record)  # of equal names the first, as in the index
                self._ahead_bytes += len(record)
        if name not in self._ahead:
            return None
        while True:  # reads before it have no subreads: the index still finds them should they come later
            passed, record = self._ahead.popitem(last=False)
            self._ahead_bytes -= len(record)
            if passed == name:
                return record


class _NameIndex:
    """Sorted name hashes and virtual offsets of a BAM file: 16 bytes a record."""

    def __init__(self, hashes: np.ndarray, offsets: np.ndarray) -> None:
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._offsets = hashes[order], offsets[order]

    @classmethod
    def build(cls, reader: BamReader) -> _NameIndex:
        reader.seek(reader.first_record)
        hashes, offsets = array("q"), array("q")
        while True:
            offset = reader.tell()
            record = reader.read_record()
            if record is None:
                return cls(np.frombuffer(hashes, np.int64), np.frombuffer(offsets, np.int64))
            hashes.append(hash(record_name(record)))
            offsets.append(offset)

    def find(self, reader: BamReader, name: bytes) -> bytes | None:
        target = hash(name)
        first = int(np.searchsorted(self._hashes, target, side="left"))
        while first < len(self._hashes) and self._hashes[first] == target:
            reader.seek(int(self._offsets[first]))
            record = reader.read_record()
            if record is not None and record_name(record) == name:
                return record
            first += 1
        return None
