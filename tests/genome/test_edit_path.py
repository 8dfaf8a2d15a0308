import random

import numpy as np
import pytest

from genoformer.genome.edit_path import LocalAlignment, align_gaps_left, parse_cigar, refine_alignment
from tests.gapped_pair import GappedPair

OPS = "MIDNSHP=X"


def text(cigar):
    return "".join(f"{op >> 4}{OPS[op & 15]}" for op in cigar.tolist())


def written_out(cigar, ref, read):
    """The alignment with '-' for gaps."""
    rows, ref_at, read_at = ("", ""), 0, 0
    for entry in cigar.tolist():
        length, op = entry >> 4, OPS[entry & 15]
        top = "-" * length if op == "I" else ref[ref_at : ref_at + length]
        bottom = "-" * length if op == "D" else read[read_at : read_at + length]
        rows = rows[0] + top, rows[1] + bottom
        ref_at, read_at = ref_at + length * (op != "I"), read_at + length * (op != "D")
    assert (ref_at, read_at) == (len(ref), len(read))
    return GappedPair(rows[0].encode(), rows[1].encode())


def edit_path(ref, read, choice):
    """A path of least edit distance by the textbook's table; `choice` picks among equal ones. Returns CIGAR text."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(read) + 1)] for i in range(len(ref) + 1)]
    for i in range(1, len(ref) + 1):
        for j in range(1, len(read) + 1):
            differ = ref[i - 1] != read[j - 1]
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + differ)
    i, j, ops = len(ref), len(read), ""
    while i or j:
        steps = []
        if i and j and table[i][j] == table[i - 1][j - 1] + (ref[i - 1] != read[j - 1]):
            steps.append(("=" if ref[i - 1] == read[j - 1] else "X", 1, 1))
        if i and table[i][j] == table[i - 1][j] + 1:
            steps.append(("D", 1, 0))
        if j and table[i][j] == table[i][j - 1] + 1:
            steps.append(("I", 0, 1))
        op, down, right = choice.choice(steps)
        ops, i, j = op + ops, i - down, j - right
    return "".join(f"1{op}" for op in ops), table[-1][-1]


@pytest.mark.parametrize(
    ("cigar", "expected"),
    [("", []), ("7=", [7 << 4 | 7]), ("1X120=3I10D", [1 << 4 | 8, 120 << 4 | 7, 3 << 4 | 1, 10 << 4 | 2])],
)
def test_a_cigar_is_parsed(cigar, expected):
    assert parse_cigar(cigar).tolist() == expected
    assert parse_cigar(cigar).dtype == np.uint32


@pytest.mark.parametrize("cigar", ["5M", "=", "0=", "3", "3=4", "1 =", "-1=", "1000000000="])
def test_what_is_not_such_a_cigar_is_refused(cigar):
    with pytest.raises(ValueError, match="expected lengths, each with one of =, X, I, D"):
        parse_cigar(cigar)


@pytest.mark.parametrize(
    ("ref", "read", "cigar", "expected"),
    [
        ("GCCCTA", "GCCTA", "3=1D2=", "1=1D4="),  # homopolymer
        ("GCCTA", "GCCCTA", "3=1I2=", "1=1I4="),
        ("GATATATC", "GATATC", "5=2D1=", "1=2D5="),  # a repeat of two
        ("GATATC", "GATATATC", "5=2I1=", "1=2I5="),
        ("GCCCCTA", "GCCTA", "2=1D1=1D2=", "1=2D4="),  # two gaps meet and are one
        ("GCCTA", "GCCCCTA", "2=1I1=1I2=", "1=2I4="),
        ("GCCCT", "GCT", "2=1D1D1=", "1=2D2="),  # the second gets room only from the first
        ("GCACATCG", "GCATCG", "3=1D1D3=", "1=2D5="),  # neither moves, both together do
        ("CCCT", "CCT", "2=1D1=", "1D3="),  # to the start
        ("GACCA", "GACA", "2=1D2=", "2=1D2="),  # cannot move
        ("GCAT", "GCGT", "2=1I1D1=", "2=1I1D1="),  # not of least edit distance: stay apart
        ("GCCCTTTA", "GCCTTA", "3=1D2=1D1=", "1=1D2=1D3="),  # each in its own run
        ("ACGT", "ACGT", "4=", "4="),
        ("ACGT", "AGGT", "1=1X2=", "1=1X2="),
        ("ACGT", "", "4D", "4D"),
        ("", "", "", ""),
    ],
)
def test_gaps_go_left(ref, read, cigar, expected):
    assert text(align_gaps_left(parse_cigar(cigar), ref.encode(), read.encode())) == expected


def random_pair(choice):
    """A reference of short runs of letters and a read of it with errors."""
    ref = "".join(choice.choice("ACG") * choice.randint(1, 4) for _ in range(choice.randint(0, 14)))
    letters = list(ref)
    for _ in range(choice.randint(0, 8) if ref else 0):
        at = choice.randrange(len(letters))
        letters[at] = choice.choice(["", "", letters[at] * 2, letters[at] + "A", "C"])
    return ref, "".join(letters)


def test_equals_the_alignment_that_goes_gap_by_gap():
    num_moved = 0
    for seed in range(400):
        choice = random.Random(seed)
        ref, read = random_pair(choice)
        cigar, distance = edit_path(ref, read, choice)
        moved = align_gaps_left(parse_cigar(cigar), ref.encode(), read.encode())
        before = written_out(parse_cigar(cigar), ref, read)
        assert written_out(moved, ref, read) == before.left_align(), (ref, read, cigar)
        assert int((moved >> 4)[(moved & 15) != 7].sum()) == distance
        num_moved += before != before.left_align()
    assert num_moved > 200


def test_a_cigar_of_other_lengths_is_refused():
    with pytest.raises(ValueError, match=r"covers \(3, 4\) bases of reference and read; they have \(3, 3\)"):
        align_gaps_left(parse_cigar("3=1I"), b"ACG", b"ACG")


def refined(ref, read, cigar):
    found = refine_alignment(parse_cigar(cigar), ref.encode(), read.encode())
    return found and (found.ref_start, found.ref_end, found.read_start, found.read_end, text(found.cigar))


@pytest.mark.parametrize(
    ("ref", "read", "cigar", "expected"),
    [
        ("ACGT", "ACGT", "4=", (0, 4, 0, 4, "4=")),
        ("ACGT", "TCGT", "1X3=", (1, 4, 1, 4, "3=")),  # an error at an end is clipped
        ("ACGT", "TTACGT", "2I4=", (0, 4, 2, 6, "4=")),
        ("ACGTA", "CGTA", "1D4=", (1, 5, 0, 4, "4=")),
        ("AACGT", "AGCGT", "1=1X3=", (2, 5, 2, 5, "3=")),  # +2 -3 +6: better without the first two
        ("AAACGTCG", "AAGCGTCG", "2=1X5=", (0, 8, 0, 8, "2=1X5=")),  # +4 -3 +10
        ("CCCT", "CCT", "2=1D1=", (1, 4, 0, 3, "3=")),  # to the start, and off
        ("AAAA", "CCCC", "4X", None),
        ("", "", "", None),
    ],
)
def test_ends_without_noise(ref, read, cigar, expected):
    assert refined(ref, read, cigar) == expected


@pytest.mark.parametrize(("num_matches", "spans"), [(15, False), (16, True)])
def test_a_long_gap_counts_as_ten_errors(num_matches, spans):
    # 30 points: 15 matches are not worth it, 16 are.
    left, inserted, right = "ACGT" * 5, "T" * 40 + "G", "CATG" * 4
    right = right[:num_matches]
    found = refined(left + right, left + inserted + right, f"20=41I{num_matches}=")
    assert found == ((0, 36, 0, 77, "20=41I16=") if spans else (0, 20, 0, 20, "20="))


def test_an_alignment_moves():
    cigar = parse_cigar("2=")
    assert LocalAlignment(1, 3, 5, 7, cigar).moved(10, 100) == LocalAlignment(11, 13, 105, 107, cigar)


def test_places_of_the_reference_in_the_read():
    local = LocalAlignment(1, 5, 2, 6, parse_cigar("2=1I1=1D"))
    assert local.places(6, 7).tolist() == [1, 2, 3, 4, 6, 6, 7]
    assert local.places(9, 7).tolist() == [1, 2, 3, 4, 6, 6, 7, 7, 7, 7]
    assert LocalAlignment(3, 4, 1, 2, parse_cigar("1=")).places(4, 2).tolist() == [0, 0, 0, 1, 2]
