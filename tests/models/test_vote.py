import math

import numpy as np
import pytest

from genoformer.genome.alphabet import pileup_codes, pileup_letters
from genoformer.models.vote import vote

EVERYWHERE = (0, 100)


def call(passes, ccs, quals=None, spans=None):
    """Letters and error probabilities of a vote over passes and a CCS read written as letters, '-' for a gap."""
    codes = np.array([pileup_codes(letters.encode()) for letters in passes], np.uint8).reshape(len(passes), len(ccs))
    span = np.array(spans or [EVERYWHERE] * len(passes), np.int64).reshape(len(passes), 2)
    quals = [-1 if letter == "-" else 30 for letter in ccs] if quals is None else quals
    called, prob = vote(codes, span, pileup_codes(ccs.encode()), np.array(quals, np.int16))
    assert called.dtype == np.uint8
    assert prob.dtype == np.float32
    return pileup_letters(called).decode().replace(" ", "-"), prob


def test_the_majority_wins_over_the_ccs():
    assert call(["ACGT-", "ACGTA", "AC-TA"], "TTTT-")[0] == "ACGTA"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("A-", "-"),  # a tie with the gap is a gap
        ("GCTA", "A"),  # among bases: A, T, C, G
        ("GCT", "T"),
        ("GC", "C"),
        ("CCGG-", "C"),
        ("G", "G"),
        ("-", "-"),
        ("aAt", "A"),  # lower case
        ("NN-A", "-"),  # an ambiguous base votes for the gap
    ],
)
def test_ties(column, expected):
    assert call(list(column), "T")[0] == expected


def test_a_pass_votes_only_where_it_is():
    passes = ["AAAA", "CCCC", "CCCC"]
    assert call(passes, "TTTT", spans=[(0, 4), (0, 2), (1, 2)])[0] == "ACAA"


def test_columns_that_no_pass_covers_keep_the_ccs():
    called, prob = call(["AAAA"], "GC-T", quals=[20, 40, -1, 0], spans=[(1, 2)])
    assert called == "GA-T"
    np.testing.assert_allclose(prob[[0, 2, 3]], [0.01, 1.0, 1.0], rtol=1e-6)


def test_a_pass_of_no_columns_and_no_passes_at_all():
    assert call(["AA"], "GC", spans=[(1, 1)])[0] == "GC"
    called, prob = call([], "GC", quals=[10, 20])
    assert called == "GC"
    np.testing.assert_allclose(prob, [0.1, 0.01], rtol=1e-6)


def test_error_probabilities_by_hand():
    # The winner leads by 3, 1 and 0 votes among 3, 3 and 2: 1 / (1 + e^(1 + 1.5 lead)) + 0.02 / (votes + 1).
    passes, spans = ["AAA", "AAC", "AC-"], [(0, 3), (0, 3), (0, 2)]
    _, prob = call(passes, "AAA", spans=spans)
    expected = [1 / (1 + math.exp(5.5)) + 0.005, 1 / (1 + math.exp(2.5)) + 0.005, 1 / (1 + math.e) + 0.02 / 3]
    np.testing.assert_allclose(prob, expected, rtol=1e-6)


def test_more_agreement_is_more_certain():
    probs = [call(["A"] * n, "A")[1][0] for n in range(1, 30)]
    assert probs == sorted(probs, reverse=True)
    assert len(set(probs)) == 29


def test_no_columns():
    called, prob = call(["", ""], "")
    assert called == ""
    assert prob.shape == (0,)
