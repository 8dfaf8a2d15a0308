import itertools

import numpy as np
import pytest

from genoformer.genome.gapped import GappedPair


def distance(pair):
    return sum(a != b for a, b in zip(pair.ref, pair.read, strict=True))


@pytest.mark.parametrize(
    ("ref", "read", "left_ref", "left_read"),
    [
        (b"GCCCTA", b"GCC-TA", b"GCCCTA", b"G-CCTA"),  # a short homopolymer
        (b"GCC-TA", b"GCCCTA", b"G-CCTA", b"GCCCTA"),  # a long one
        (b"AAAT", b"A-AT", b"AAAT", b"-AAT"),  # to the very start
        (b"GACACACT", b"GACAC--T", b"GACACACT", b"G--ACACT"),  # a repeat unit moves as a whole
        (b"GACACACT", b"GACA-ACT", b"GACACACT", b"GACA-ACT"),  # half a unit does not
        (b"GAAAAT", b"GA-A-T", b"GAAAAT", b"G--AAT"),  # two gaps that meet go on as one
        (b"GACACACT", b"GAC-C-CT", b"GACACACT", b"GAC-C-CT"),  # two that cannot
        (b"AC-GT", b"ACT-T", b"ACGT", b"ACTT"),  # an insertion beside a deletion is a mismatch
        (b"ACG-T", b"AC-GT", b"ACGT", b"ACGT"),  # or a match
        (b"ACGG--T", b"A---GGT", b"ACGGT", b"A-GGT"),  # what is left over stays on the left
        (b"ACC-G", b"A--TG", b"ACCG", b"A-TG"),
        (b"CCTG", b"CC-G", b"CCTG", b"CC-G"),
        (b"ACAG", b"AT-G", b"ACAG", b"AT-G"),  # a mismatch is no reason to move
        (b"", b"", b"", b""),
    ],
)
def test_left_align(ref, read, left_ref, left_read):
    assert GappedPair(ref, read).left_align() == GappedPair(left_ref, left_read)


def test_left_align_keeps_both_sequences_and_loses_no_match():
    """Every alignment of three columns over A and C in front of a fixed end."""
    columns = [(a, b) for a, b in itertools.product("AC-", repeat=2) if (a, b) != ("-", "-")]
    for chosen in itertools.product(columns, repeat=4):
        pair = GappedPair(*("".join(side).encode() + b"ACC" for side in zip(*chosen, strict=True)))
        left = pair.left_align()
        assert left.ref.replace(b"-", b"") == pair.ref.replace(b"-", b"")
        assert left.read.replace(b"-", b"") == pair.read.replace(b"-", b"")
        assert distance(left) <= distance(pair)
        assert left.left_align() == left
        assert (ord("-"), ord("-")) not in set(zip(left.ref, left.read, strict=True))


def test_cigar():
    #                 ===DDI=X
    pair = GappedPair(b"ACGTT-GA", b"ACG--CGC")
    letters = {7: "=", 8: "X", 1: "I", 2: "D"}
    cigar = pair.cigar()
    assert cigar.dtype == np.uint32
    assert "".join(f"{op >> 4}{letters[int(op & 15)]}" for op in cigar) == "3=2D1I1=1X"
    assert len(GappedPair(b"", b"").cigar()) == 0


def test_trim_counts_what_it_cuts_on_either_side():
    pair = GappedPair(b"-AC-GT---", b"T--CGTCCC")
    assert pair.trim() == (GappedPair(b"GT", b"GT"), 2, 2, 3)
    whole = GappedPair(b"A-C", b"AGC")
    assert whole.trim() == (whole, 0, 0, 0)


def test_reverse_complement_keeps_the_columns():
    assert GappedPair(b"AAC-", b"A-CG").reverse_complement() == GappedPair(b"-GTT", b"CG-T")
