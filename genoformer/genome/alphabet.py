"""Letters of DNA and their codes.

The consensus pileup keeps DeepConsensus' order gap, A, T, C, G (`PILEUP_LETTERS`), so that its weights load;
genomes use A, C, G, T (`GENOME_LETTERS`), and one code for N.
"""

from __future__ import annotations

import numpy as np

PILEUP_LETTERS = b" ATCG"  # code 0 is the gap
NUM_PILEUP_CODES = len(PILEUP_LETTERS)

GENOME_LETTERS = b"ACGT"
N_CODE = len(GENOME_LETTERS)  # N, every other IUPAC ambiguity letter, and what lies beyond a contig's ends
NO_CODE = 255  # of a byte that is no IUPAC letter of DNA

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


def genome_codes(sequence: bytes) -> np.ndarray:
    """Genome codes of letters, uint8 [len]: A=0, C=1, G=2, T=3 in either case, `N_CODE` for IUPAC ambiguity letters.

    Every other byte gets `NO_CODE`: who knows the contig and the position reports it.
    """
    return _GENOME_CODE_OF_LETTER[np.frombuffer(sequence, dtype=np.uint8)]


def genome_letters(codes: np.ndarray) -> bytes:
    """The letters of genome codes [len]: A, C, G, T and N."""
    return np.frombuffer(GENOME_LETTERS + b"N", dtype=np.uint8)[codes].tobytes()


def reverse_complement_codes(codes: np.ndarray) -> np.ndarray:
    """Genome codes of the other strand, [..., L]; N stays N."""
    return _COMPLEMENT_OF_CODE[codes[..., ::-1]]


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Genome codes [..., L] as float32 [..., L, 4] in the order A, C, G, T; N is a row of zeros."""
    return _ONE_HOT_OF_CODE[codes]


def _code_table(codes: dict[int, int], otherwise: int) -> np.ndarray:
    """Codes of all bytes, uint8 [256]: those of the letters given, in either case, and one for everything else."""
    table = np.full(256, otherwise, dtype=np.uint8)
    for letter, code in codes.items():
        table[[letter, ord(chr(letter).lower())]] = code
    return table


_CODE_OF_LETTER = _code_table({letter: code for code, letter in enumerate(PILEUP_LETTERS) if code}, otherwise=0)
_GENOME_CODE_OF_LETTER = _code_table(
    {letter: code for code, letter in enumerate(GENOME_LETTERS)} | dict.fromkeys(b"NRYSWKMBDHV", N_CODE),
    otherwise=NO_CODE,
)
_COMPLEMENT_OF_CODE = np.array([3, 2, 1, 0, N_CODE], dtype=np.uint8)
_ONE_HOT_OF_CODE = np.eye(N_CODE + 1, N_CODE, dtype=np.float32)
