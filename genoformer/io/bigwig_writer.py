"""bigWig files out, under a temporary name until they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyBigWig

from genoformer.errors import OutputError
from genoformer.io.reads import PartialFile, partial_path

_BYTES_PER_VALUE = 32  # at most: an entry and its share of index and zoom levels, not compressed
_BYTES_PER_CONTIG = 256


class BigWigWriter:
    """Writes a track's values in the order of the genome.

    Args:
        lengths: bases of each contig by name, in the order of the genome.
        max_values: no more will be written.
    Raises:
        OutputError: the file cannot be written, or the disk may be too small for it.
    """

    def __init__(self, path: str | Path, lengths: Mapping[str, int], max_values: int) -> None:
        self.path, self._partial = Path(path), partial_path(path)
        file = PartialFile(path)  # raises where pyBigWig would crash
        needed = _BYTES_PER_VALUE * max_values + _BYTES_PER_CONTIG * len(lengths)
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:  # on a disk that fills up, pyBigWig hangs
            file.discard()
            raise OutputError(f"{path}: may need {needed:,} bytes, {free:,} are free; make room")
        file.abandon()
        self._file = pyBigWig.open(str(self._partial), "w")
        self._file.addHeader(list(lengths.items()))

    def write(self, chrom: str, edges: np.ndarray, values: np.ndarray) -> None:
        """Adds values [n], float32, of the stretches between edges [n + 1], ascending, all after what was added."""
        widths = np.diff(edges)
        if (widths == widths[0]).all():
            width = int(widths[0])
            self._file.addEntries(chrom, int(edges[0]), values=values, span=width, step=width)
        else:
            self._file.addEntries(np.full(len(values), chrom), edges[:-1], ends=edges[1:], values=values)

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        self._file.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        self._file.close()
        self._partial.unlink(missing_ok=True)
