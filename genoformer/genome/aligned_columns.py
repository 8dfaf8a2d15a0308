"""A read against its template, column by column, in the sense in which the read was sequenced.

template  A C C - G T        codes  0 1 1 4 2 3
read      A C - T G T               0 1 4 3 2 3

Gaps stand as far left as they go: a homopolymer that was read too long has its extra base in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.cigar import CIGAR_DELETION, CIGAR_INSERTION
from genoformer.genome.edit_path import align_gaps_left

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
GAP_CODE = 4
OTHER_CODE = 5  # N and whatever else is no base
NO_KINETICS = -1

_CODE_OF_LETTER = np.full(256, OTHER_CODE, dtype=np.uint8)
_CODE_OF_LETTER[LETTERS] = np.arange(4)


def base_codes(letters: bytes) -> np.ndarray:
    """Codes of upper-case letters, uint8: A, C, G, T are 0 to 3, all others 5."""
    return _CODE_OF_LETTER[np.frombuffer(letters, dtype=np.uint8)]


@dataclass(frozen=True)
class AlignedColumns:
    """Codes uint8 [C] of template and read; `kinetics` int16 [2, C] are PW and IP, -1 at gaps or where unknown."""

    template: np.ndarray
    read: np.ndarray
    kinetics: np.ndarray

    @classmethod
    def of_alignment(
        cls, cigar: np.ndarray, template: bytes, read: bytes, kinetics: np.ndarray | None
    ) -> AlignedColumns:
        """Columns of an alignment whose gaps are to the left.

        Args:
            cigar: uint32 [ops], =, X, I, D, of all of `read` against all of `template`.
            kinetics: PW and IP of the read's bases, [2, bases].
        """
        op = np.repeat(cigar & 15, cigar >> 4)
        codes = np.full((2, len(op)), GAP_CODE, dtype=np.uint8)
        values = np.full((2, len(op)), NO_KINETICS, dtype=np.int16)
        is_read = op != CIGAR_DELETION
        codes[0, op != CIGAR_INSERTION] = base_codes(template)
        codes[1, is_read] = base_codes(read)
        if kinetics is not None:
            values[:, is_read] = kinetics
        return cls(codes[0], codes[1], values)

    @classmethod
    def of_reverse(cls, cigar: np.ndarray, template: bytes, read: bytes, kinetics: np.ndarray | None) -> AlignedColumns:
        """The same of a read that was sequenced along the other strand than all arguments run."""
        template, read = reverse_complement(template), reverse_complement(read)
        kinetics = None if kinetics is None else kinetics[:, ::-1]
        return cls.of_alignment(align_gaps_left(cigar[::-1], template, read), template, read, kinetics)

    @property
    def sequence(self) -> bytes:
        """Letters of the read."""
        return LETTERS[self.read[self.read != GAP_CODE]].tobytes()

    @property
    def base_kinetics(self) -> np.ndarray:
        """PW and IP of the read's bases, [2, bases]."""
        return self.kinetics[:, self.read != GAP_CODE]
