import numpy as np
import pytest

from genoformer.genome.edit_path import parse_cigar
from genoformer.genome.read_errors import DELETION, INSERTION, MAX_RUN, MISMATCH, ErrorCounts, count_errors, run_lengths


def runs(**lengths):
    """Counts by run written r3=2: two in runs of three; r0: in no run."""
    counts = [0] * (MAX_RUN + 1)
    for name, count in lengths.items():
        counts[int(name[1:])] = count
    return counts


def test_run_lengths():
    assert run_lengths(b"AACCCT").tolist() == [2, 2, 3, 3, 3, 1]
    assert run_lengths(b"N").tolist() == [1]
    assert run_lengths(b"").tolist() == []


@pytest.mark.parametrize(
    ("cigar", "truth", "read", "kind", "expected", "wrong"),
    [
        ("2=1X3=", b"AACCCT", b"AAGCCT", MISMATCH, runs(r3=1), [2]),
        ("2=1D3=", b"AACCCT", b"AACCT", DELETION, runs(r3=1), [2]),
        ("2=3D1=", b"AACCCT", b"AAT", DELETION, runs(r3=3), [2]),  # three bases, one event
        ("2=1I4=", b"AACCCT", b"AACCCCT", INSERTION, runs(r3=1), [2]),
        ("2=2I4=", b"AACCCT", b"AACACCCT", INSERTION, runs(r2=1, r3=1), [2, 3]),
        ("2=1I4=", b"AACCCT", b"AAGCCCT", INSERTION, runs(r0=1), [2]),
        ("1I6=", b"AACCCT", b"AAACCCT", INSERTION, runs(r2=1), [0]),
        ("6=1I", b"AACCCT", b"AACCCTT", INSERTION, runs(r1=1), [6]),
        ("5=1D", b"AACCCT", b"AACCC", DELETION, runs(r1=1), [4]),  # nothing after it: charged to the last base
        ("12=1D", b"A" * 13, b"A" * 12, DELETION, runs(r10=1), [11]),
    ],
)
def test_one_error(cigar, truth, read, kind, expected, wrong):
    counts, bases = count_errors(parse_cigar(cigar), truth, read)
    by_run = np.zeros((3, MAX_RUN + 1), int)
    by_run[kind] = expected
    assert counts.by_run.tolist() == by_run.tolist()
    assert np.flatnonzero(bases.is_wrong).tolist() == wrong
    assert bases.is_known.all()
    assert counts.errors == sum(expected)
    assert counts.matches == counts.columns - counts.errors


def test_the_example_of_the_docstring():
    counts, bases = count_errors(parse_cigar("4=1I1=1D"), b"AACCTG", b"AACCTT")
    assert [counts.of_kind(kind) for kind in range(3)] == [0, 1, 1]
    assert bases.is_wrong.tolist() == [False] * 4 + [True, True]
    assert counts.identity == 5 / 7


def test_truth_bases_by_run():
    counts, _ = count_errors(parse_cigar("6="), b"AACCCT", b"AACCCT")
    assert counts.truth_by_run.tolist() == runs(r1=1, r2=2, r3=3)


def test_an_n_of_the_truth_says_nothing():
    counts, bases = count_errors(parse_cigar("2=1X1D2="), b"AANNTT", b"AAGTT")
    assert (counts.matches, counts.errors) == (4, 0)
    assert bases.is_known.tolist() == [True, True, False, True, True]
    assert not bases.is_wrong.any()
    assert counts.truth_by_run.tolist() == runs(r2=4)


def test_counts_add_up():
    one, _ = count_errors(parse_cigar("2=1X"), b"ACG", b"ACT")
    two, _ = count_errors(parse_cigar("1D1="), b"AC", b"C")
    total = one + two + ErrorCounts.zero()
    assert (total.matches, total.errors, total.of_kind(MISMATCH), total.of_kind(DELETION)) == (3, 2, 1, 1)
    assert total.identity == 3 / 5
    assert ErrorCounts.zero().identity == 0


@pytest.mark.parametrize("cigar", ["3=", "5=", "4=1S", "2=2I"])
def test_a_cigar_that_does_not_fit(cigar):
    ops = parse_cigar(cigar) if "S" not in cigar else np.array([4 << 4 | 7, 1 << 4 | 4], np.uint32)
    with pytest.raises(ValueError, match="CIGAR does not fit a truth of 4 and a read of 4 bases"):
        count_errors(ops, b"ACGT", b"ACGT")
