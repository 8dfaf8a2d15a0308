"""Reads aligned to their truth, to count errors: end to end to the molecule itself, or to a genome.

The packages come with the extra `align`.

Source: Sosic and Sikic, Bioinformatics 33:1394 (2017); Li, Bioinformatics 34:3094 (2018), preset map-hifi, whose
scores are those of pbmm2's HIFI preset.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import DataError
from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.edit_path import align_gaps_left, parse_cigar

_PRESET = "map-hifi"
_EXTENDED_CIGAR = 0x4000000  # minimap2's --eqx
_DIFFERENCE_PERCENT = (6, 40)  # of the longer sequence, tried in turn; unrelated sequences of 1,000 bases: 47


@dataclass(frozen=True)
class TruthAlignment:
    """A stretch of a read on its truth: `truth` letters along the read, `cigar` uint32 [ops] with =, X, I, D.

    Gaps stand as far left as they go along the read.
    """

    truth: bytes
    read_start: int
    read_end: int
    cigar: np.ndarray


def align_to_molecule(read: bytes, truth: bytes) -> TruthAlignment | None:
    """The alignment of least edit distance, end to end, on the better strand; None where over 40 % differ."""
    import edlib

    turned = reverse_complement(truth)
    for percent in _DIFFERENCE_PERCENT:
        most, best, oriented = max(len(read), len(truth)) * percent // 100, None, truth
        for letters in (truth, turned):
            if read and most >= 0 and (found := edlib.align(read, letters, "NW", "path", most))["editDistance"] >= 0:
                most, best, oriented = found["editDistance"] - 1, found, letters
        if best is not None:
            cigar = align_gaps_left(parse_cigar(best["cigar"]), oriented, read)
            return TruthAlignment(oriented, 0, len(read), cigar)
    return None


class GenomeAligner:
    """Aligns reads to a genome; several threads may share one.

    Args:
        names: those of the sequences in the file; guards against a file that minimap2 reads only in part.
    Raises:
        DataError: minimap2 cannot index the file whole.
    """

    def __init__(self, path: str | Path, names: set[str]) -> None:
        import mappy

        self._index = mappy.Aligner(str(path), preset=_PRESET, extra_flags=_EXTENDED_CIGAR)
        found = set(self._index.seq_names) if self._index else set()
        if found != names:
            raise DataError(
                f"{path}: minimap2 indexed {len(found)} of {len(names)} sequences; expected all in one index, which "
                "takes up to 4 billion bases; is the file damaged, or the genome larger?"
            )
        self._threads = threading.local()

    def align(self, read: bytes) -> TruthAlignment | None:
        """The primary alignment; None where there is none of at least half of the read: a repeat is not its truth."""
        import mappy

        if not hasattr(self._threads, "buffer"):
            self._threads.buffer = mappy.ThreadBuffer()
        hit = next(self._index.map(read.decode(), buf=self._threads.buffer), None) if read else None
        if hit is None or 2 * (hit.q_en - hit.q_st) < len(read):
            return None
        truth = self._index.seq(hit.ctg, hit.r_st, hit.r_en).encode()
        cigar = np.array([length << 4 | op for length, op in hit.cigar], dtype=np.uint32)
        if hit.strand < 0:
            truth, cigar = reverse_complement(truth), cigar[::-1]
        cigar = align_gaps_left(cigar, truth, read[hit.q_st : hit.q_en])
        return TruthAlignment(truth, hit.q_st, hit.q_en, cigar)
