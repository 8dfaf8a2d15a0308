import numpy as np
import pytest

from genoformer.genome.calibration import QualityCounts
from genoformer.genome.read_errors import MAX_RUN, ErrorCounts
from genoformer.workflows.assess_totals import FileTotals, QualityTotals, empirical_phred
from genoformer.workflows.score_reads import Placement, QualityScore, ReadScore


def read_score(matches, mismatches, predicted=30.0, counts=None, num_clipped=0, placement=Placement.ALIGNED):
    by_run = np.zeros((3, MAX_RUN + 1), np.int64)
    by_run[0, 1] = mismatches
    errors = ErrorCounts(matches, by_run, np.zeros(MAX_RUN + 1, np.int64))
    qualities = None if predicted is None else QualityScore(predicted, counts or QualityCounts.zero())
    return ReadScore("m/1/ccs", matches + mismatches, placement, num_clipped, errors, qualities, None, True)


@pytest.mark.parametrize(
    ("matches", "mismatches", "reached"),
    [
        (99, 1, [20]),
        (989, 11, []),
        (999, 1, [20, 30]),
        (9999, 1, [20, 30, 40]),
        (9998, 2, [20, 30]),
        (50, 0, [20, 30, 40]),
    ],
)
def test_yield(matches, mismatches, reached):
    totals = FileTotals(min_quality=20)
    totals.add_(read_score(matches, mismatches))
    assert [threshold for threshold, reads in totals.yield_reads.items() if reads] == reached
    assert [threshold for threshold, bases in totals.yield_bases.items() if bases == matches + mismatches] == reached


def test_reads_below_the_predicted_quality_yield_nothing():
    totals = FileTotals(min_quality=20)
    totals.add_(read_score(100, 0, predicted=19.999))
    totals.add_(read_score(100, 0, predicted=19.999_999_9))  # 20 to five decimals, as `filter` rounds
    totals.add_(read_score(100, 0, predicted=None))  # nothing is predicted
    assert (totals.below_min_quality, totals.yield_reads[30]) == (1, 2)
    assert totals.without_qualities == 1


def test_reads_that_do_not_align_count_as_such_alone():
    totals = FileTotals(min_quality=0)
    totals.add_(read_score(100, 10, num_clipped=5))
    totals.add_(read_score(100, 0, placement=Placement.UNALIGNED))
    totals.add_(read_score(100, 0, placement=Placement.NO_TRUTH))
    found = totals.summary()
    assert (found["reads"], found["aligned"], found["unaligned"], found["no_truth"]) == (3, 1, 1, 1)
    assert (found["bases"], found["matches"], found["errors"], found["mismatches"]) == (310, 100, 10, 10)
    assert (found["clipped_reads"], found["clipped_bases"]) == (1, 5)
    assert found["empirical_phred"] == pytest.approx(10 * np.log10(11), abs=1e-3)


def test_empirical_phred():
    assert empirical_phred(1, 1000) == 30
    assert empirical_phred(0, 1000) is None
    assert empirical_phred(0, 0) is None


def test_predicted_against_empirical():
    counts = QualityCounts.zero()
    counts.bases[0, [5, 20, 30]] = 1000, 20_000, 1000  # 316, 200 and 1 errors expected
    counts.errors[0, [5, 20, 30]] = 10, 400, 1
    counts.bases[1, 93], counts.errors[1, 93] = 1000, 1
    totals = QualityTotals()
    totals.add_(QualityScore(25.9, counts), read_score(990, 10).errors)
    found = totals.summary()
    assert found["bases"] == [
        {"source": "predicted", "quality": 5, "bases": 1000, "errors": 10, "empirical": 20.0},
        {"source": "predicted", "quality": 20, "bases": 20_000, "errors": 400, "empirical": 16.99},
        {"source": "predicted", "quality": 30, "bases": 1000, "errors": 1, "empirical": 30.0},
        {"source": "copied", "quality": 93, "bases": 1000, "errors": 1, "empirical": 30.0},
    ]
    assert found["reads"] == [{"quality": 25, "reads": 1, "columns": 1000, "errors": 10, "empirical": 20.0}]
    assert found["largest_deviation"] == {"predicted": 3.01, "copied": None}  # Q5 is too low, Q30 has too few bases
