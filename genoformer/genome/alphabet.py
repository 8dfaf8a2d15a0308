"""Letters of DNA and their codes.

The consensus pileup keeps DeepConsensus' order gap, A, T, C, G (`PILEUP_LETTERS`), so that its weights load;
genomes use A, C, G, T.
"""

from __future__ import annotations

import numpy as np

PILEUP_LETTERS = b" ATCG"  # code 0 is the gap
NUM_PILEUP_CODES = len(PILEUP_LETTERS)

# BAM stores a base in four bits as an index into this string (SAM specification, section 4.2.3).
BAM_LETTERS = b"=ACMGRSVTWYHKDBN"

_COMPLEMENT = bytes.maketrans(b"ACGTacgt", b"TGCAtgca")


def reverse_complement(sequence: bytes) -> bytes:
    """The reverse complement; A, C, G, T in either case, every other letter stays."""
    return sequence.translate(_COMPLEMENT)[::-1]


def pileup_codes(sequence: bytes) -> np.ndarray:
    """Pileup codes of letters, uint8 [len]: A=1, T=2, C=3, G=4 in either case, everything else 0."""
    return _CODE_OF_LETTER[np.frombuffer(sequence, dtype=np.uint8)]


def pileup_letters(codes: np.ndarray) -> bytes:
    """The letters of pileup codes; code 0 becomes a space."""
    return np.frombuffer(PILEUP_LETTERS, dtype=np.uint8)[codes].tobytes()


def _letter_table() -> np.ndarray:
    table = np.zeros(256, dtype=np.uint8)
    for code, letter in enumerate(PILEUP_LETTERS.decode()):
        if code:
            table[[ord(letter), ord(letter.lower())]] = code
    return table


_CODE_OF_LETTER = _letter_table()
