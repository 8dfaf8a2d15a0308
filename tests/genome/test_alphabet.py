import numpy as np
import pytest

from genoformer.genome.alphabet import (
    N_CODE,
    NO_CODE,
    genome_codes,
    one_hot,
    pileup_codes,
    pileup_letters,
    reverse_complement,
    reverse_complement_codes,
)


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


def test_genome_codes_in_either_case_and_of_every_byte():
    codes = genome_codes(b"ACGTNacgtnRYSWKMBDHVrywx*-U\n")
    assert codes.dtype == np.uint8
    assert codes.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, *[N_CODE] * 13, *[NO_CODE] * 5]
    assert (genome_codes(bytes(range(256))) < NO_CODE).sum() == 2 * len("ACGTNRYSWKMBDHV")


@pytest.mark.parametrize("letters", [b"", b"A", b"GATTACA", b"ACGTNNA"])
def test_the_other_strand_in_codes_is_that_in_letters(letters):
    codes = genome_codes(letters)
    np.testing.assert_array_equal(reverse_complement_codes(codes), genome_codes(reverse_complement(letters)))
    both = np.stack([codes, codes])
    np.testing.assert_array_equal(reverse_complement_codes(both)[1], reverse_complement_codes(codes))


def test_one_hot_in_the_order_a_c_g_t():
    rows = one_hot(genome_codes(b"TnCA"))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
