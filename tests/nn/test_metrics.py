import numpy as np
import pytest

from genoformer.nn.metrics import AlignmentCounts, align_globally

PILEUP_LETTERS = " ATCG"


@pytest.mark.parametrize(
    ("called", "truth", "matches", "mismatches", "insertions", "deletions"),
    [
        ("ACGT", "ACGT", 4, 0, 0, 0),
        ("ACGA", "ACGT", 3, 1, 0, 0),
        ("ACGGT", "ACGT", 4, 0, 1, 0),  # an extra G
        ("ACT", "ACGT", 3, 0, 0, 1),
        ("ACGTTTTT", "ACGT", 4, 0, 4, 0),  # at the end
        ("GT", "ACGT", 2, 0, 0, 2),  # at the start
        ("acgn", "ACGT", 3, 1, 0, 0),  # lower case is as upper case
        ("ACGT", "acgt", 4, 0, 0, 0),
        ("A", "", 0, 0, 1, 0),
        ("", "ACG", 0, 0, 0, 3),
        ("", "", 0, 0, 0, 0),
        # One gap of two bases costs 9 + 4; two substitutions and no gap would lose two matches as well.
        ("AACCGGTT", "AACCTTGGTT", 8, 0, 0, 2),
        # Two mismatches cost 10 and two matches; an insertion and a deletion instead cost 18: no gap is opened.
        ("AACAGTT", "AAGCGTT", 5, 2, 0, 0),
    ],
)
def test_counts_worked_by_hand(called, truth, matches, mismatches, insertions, deletions):
    counts = align_globally(called=called, truth=truth)
    assert counts == AlignmentCounts(matches, mismatches, insertions, deletions)


def test_totals_follow_from_the_columns():
    counts = AlignmentCounts(matches=90, mismatches=3, insertions=2, deletions=5)
    assert (counts.length, counts.errors, counts.identity) == (100, 10, 0.9)


def test_two_empty_sequences_are_identical():
    assert AlignmentCounts(0, 0, 0, 0).identity == 1.0


def test_the_original_gives_the_same_counts(shared_data):
    golden = np.load(shared_data / "consensus" / "golden" / "alignment_loss.npz")
    labels, called = golden["labels"].astype(int), golden["pred"].argmax(-1)
    for index in range(len(labels)):
        truth, call = ("".join(PILEUP_LETTERS[code] for code in row if code) for row in (labels[index], called[index]))
        counts = align_globally(called=call, truth=truth)
        assert counts.matches == golden["metric_num_correct_matches"][index]
        assert counts.matches + counts.mismatches == golden["metric_num_matches"][index]
        assert counts.insertions == golden["metric_num_insertions"][index]
        assert counts.deletions == golden["metric_num_deletions"][index]
        assert counts.length == golden["metric_alignment_length"][index]
        assert counts.identity == pytest.approx(golden["metric_pid"][index], abs=1e-6)
