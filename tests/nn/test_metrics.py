import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genoformer.errors import UsageError
from genoformer.nn.metrics import AlignmentCounts, BatchAlignment, align_batch, align_globally

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


def test_the_original_gives_the_same_metrics_of_the_batch(shared_data):
    golden = np.load(shared_data / "consensus" / "golden" / "alignment_loss.npz")
    found = align_batch(probs=torch.from_numpy(golden["pred"]), labels=torch.from_numpy(golden["labels"]).long())
    assert found.matches.tolist() == golden["metric_num_correct_matches"].tolist()
    assert (found.matches + found.mismatches).tolist() == golden["metric_num_matches"].tolist()
    assert found.insertions.tolist() == golden["metric_num_insertions"].tolist()
    assert found.deletions.tolist() == golden["metric_num_deletions"].tolist()
    assert found.lengths.tolist() == golden["metric_alignment_length"].tolist()
    assert found.identity.tolist() == golden["metric_pid"].tolist()
    assert found.per_example_accuracy == golden["per_example_accuracy"]
    columns = golden["metric_alignment_length"].sum()
    assert found.batch_identity == golden["metric_num_correct_matches"].sum() / columns


def called(*windows: str) -> torch.Tensor:
    """Predictions, [B, L, 5], that are certain of these letters."""
    return F.one_hot(
        torch.tensor([[PILEUP_LETTERS.index(letter) for letter in window] for window in windows]), 5
    ).float()


def labels_of(*windows: str) -> torch.Tensor:
    return torch.tensor([[PILEUP_LETTERS.index(letter) for letter in window] for window in windows])


def test_batch_metrics_worked_by_hand():
    """The same bases at other columns; one base missing; one wrong; all gaps on both sides."""
    probs = called("A CGT", "ACG  ", "ACGA ", "     ")
    found = align_batch(probs=probs, labels=labels_of("ACGT  ", "ACGT  ", "ACGT  ", "      "))
    assert found.matches.tolist() == [4, 3, 3, 0]
    assert found.mismatches.tolist() == [0, 0, 1, 0]
    assert found.insertions.tolist() == [0, 0, 0, 0]
    assert found.deletions.tolist() == [0, 1, 0, 0]
    assert found.identity.tolist() == [1.0, 0.75, 0.75, 1.0]
    assert found.correct.tolist() == [True, False, False, True]
    assert found.per_example_accuracy == 0.5
    assert found.batch_identity == 10 / 12


def test_a_batch_of_gaps_alone_is_identical_and_an_empty_one_has_no_accuracy():
    gaps = align_batch(probs=called("  "), labels=labels_of("   "))
    assert (gaps.batch_identity, gaps.per_example_accuracy) == (1.0, 1.0)
    empty = torch.zeros(0, dtype=torch.int64)
    nothing = BatchAlignment(empty, empty, empty, empty, empty.bool())
    assert nothing.batch_identity == 1.0
    assert nothing.per_example_accuracy != nothing.per_example_accuracy  # NaN


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"probs are \[2, 3, 5\] and labels \[3, 3\]; expected"):
        align_batch(probs=torch.ones(2, 3, 5), labels=torch.ones(3, 3, dtype=torch.long))
