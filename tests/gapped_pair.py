"""Pairwise alignments written out with gaps, as aligners print them: moved left gap by gap, for tests to compare with.

ref    ACC-GT        CIGAR 2=1D1I2=
read   AC-TGT
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

GAP = ord("-")

_MIXED_GAPS = re.compile(rb"I+D[ID]*|D+I[ID]*")


@dataclass(frozen=True)
class GappedPair:
    """A reference and a read of one length, gaps as '-'; no column has two gaps."""

    ref: bytes
    read: bytes

    def left_align(self) -> GappedPair:
        """The alignment with each gap as far left as it goes without losing a match.

            ref   GCCCTA      ref   GCCCTA
            read  GCC-TA      read  G-CCTA

        An insertion that touches a deletion becomes an aligned base. Aligners place gaps so (minimap2, bcftools norm),
        and thus the reads of a pileup agree on where a homopolymer is short.
        """
        ref, read = bytearray(self.ref), bytearray(self.read)
        while True:
            before = GappedPair(bytes(ref), bytes(read))
            _shift_gaps(read, ref)
            _shift_gaps(ref, read)
            ref, read = _pair_up_gaps(ref, read)
            if ref == before.ref and read == before.read:
                return before


def _columns(side: bytes | bytearray) -> np.ndarray:
    return np.frombuffer(side, dtype=np.uint8)


def _shift_gaps(gapped: bytearray, full: bytearray) -> None:
    """Moves the gaps of `gapped` left, in place, while the letter that they jump over matches where it lands."""
    for run in re.finditer(rb"-+", bytes(gapped)):
        start, end = run.span()
        while start > 0:
            if gapped[start - 1] == GAP:  # caught up with the gap before it: the two go on as one
                start -= 1
            elif full[start - 1] != GAP and gapped[start - 1] == full[end - 1]:
                start, end = start - 1, end - 1
                gapped[start], gapped[end] = GAP, gapped[start]
            else:
                break


def _pair_up_gaps(ref: bytearray, read: bytearray) -> tuple[bytearray, bytearray]:
    """The rows with insertions and deletions that touch laid against one another; what is left over comes first."""
    kind = np.full(len(ref), ord("M"), dtype=np.uint8)
    kind[_columns(ref) == GAP] = ord("I")
    kind[_columns(read) == GAP] = ord("D")
    rows, copied = (bytearray(), bytearray()), 0
    for mixed in _MIXED_GAPS.finditer(kind.tobytes()):
        start, end = mixed.span()
        letters = [side[start:end].replace(b"-", b"") for side in (ref, read)]
        width = max(map(len, letters))
        for row, side, own in zip(rows, (ref, read), letters, strict=True):
            row += side[copied:start] + own.rjust(width, b"-")
        copied = end
    return rows[0] + ref[copied:], rows[1] + read[copied:]
