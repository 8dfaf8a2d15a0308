import numpy as np
import pytest

from genoformer.genome.alphabet import pileup_codes, pileup_letters, reverse_complement


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (b"", b""),
        (b"A", b"T"),
        (b"AACG", b"CGTT"),
        (b"GATTACA", b"TGTAATC"),
        (b"acGTn", b"nACgt"),
        (b"A-NC G", b"C GN-T"),
    ],
)
def test_reverse_complement(sequence, expected):
    assert reverse_complement(sequence) == expected
    assert reverse_complement(expected) == sequence


def test_pileup_codes_follow_deepconsensus():
    # SEQ_VOCAB = ' ATCG': A and T before C and G.
    codes = pileup_codes(b" ATCG-atcgNnRy=*\n\xff")
    assert codes.dtype == np.uint8
    assert codes.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]


def test_no_letters_no_codes():
    assert pileup_codes(b"").shape == (0,)
    assert pileup_letters(np.zeros(0, np.uint8)) == b""


def test_pileup_letters():
    assert pileup_letters(np.array([3, 0, 1, 2, 4, 0], np.uint8)) == b"C ATG "
    assert pileup_letters(np.array([[1, 2], [3, 4]], np.uint8)) == b"ATCG"
