import numpy as np
import pytest

from genoformer.genome.calibration import (
    COPIED,
    NUM_QUALITIES,
    PREDICTED,
    CalibrationTables,
    QualityCounts,
    copied_mask,
    copied_runs,
    fit_calibration,
    isotonic,
)


def brute_force_isotonic(values, weights):
    """The min-max formula: at i, the largest over starts of the least over ends of the mean of what holds i."""
    num = len(values)
    return [
        max(
            min(np.average(values[start : end + 1], weights=weights[start : end + 1]) for end in range(i, num))
            for start in range(i + 1)
        )
        for i in range(num)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_isotonic_is_the_min_max_formula(seed):
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(0, 6, 12).astype(float), rng.integers(1, 9, 12).astype(float)
    assert isotonic(values, weights) == pytest.approx(brute_force_isotonic(values, weights))


def test_isotonic_by_hand():
    assert isotonic(np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 1.0, 3.0, 1.0])).tolist() == [1, 2.25, 2.25, 4]
    assert isotonic(np.array([3.0, 2.0, 1.0]), np.ones(3)).tolist() == [2, 2, 2]
    assert isotonic(np.zeros(0), np.zeros(0)).tolist() == []


def counts_of(predicted=(), copied=()):
    """Counts from (quality, bases, errors)."""
    counts = QualityCounts.zero()
    for source, rows in ((PREDICTED, predicted), (COPIED, copied)):
        for quality, bases, errors in rows:
            counts.bases[source, quality], counts.errors[source, quality] = bases, errors
    return counts


def test_many_bases_get_what_was_observed():
    tables = fit_calibration(counts_of([(20, 100_000, 10_000), (40, 1_000_000, 1_000)], [(93, 1_000_000, 631)]))
    assert tables.phred[PREDICTED, [20, 30, 40]] == pytest.approx([10, 20, 30], abs=0.01)
    assert tables.phred[PREDICTED, 60] == tables.phred[PREDICTED, 40]  # nothing was seen that could say more
    assert tables.phred[PREDICTED, 5] == 5
    assert tables.phred[PREDICTED, 15] == pytest.approx(10, abs=0.01)
    assert tables.phred[COPIED, 93] == pytest.approx(32, abs=0.01)


def test_bins_out_of_order_are_pooled():
    tables = fit_calibration(counts_of([(30, 1000, 10), (31, 1000, 30)]))
    assert tables.phred[PREDICTED, [30, 31]] == pytest.approx(-10 * np.log10(40.5 / 2001))


def test_no_error_is_worth_no_more_than_its_bases():
    tables = fit_calibration(counts_of([(20, 10_000, 100), (90, 999, 0)]))
    assert tables.phred[PREDICTED, 90] == pytest.approx(-10 * np.log10(0.5 / 1000))
    few = fit_calibration(counts_of([(20, 10_000, 100), (90, 3, 0)]))  # half an error in four bases is less than Q20
    assert few.phred[PREDICTED, 90] == pytest.approx(-10 * np.log10(101 / 10_005))


def test_a_source_without_bases_keeps_its_qualities():
    tables = fit_calibration(counts_of([(20, 100, 1)]))
    assert tables.phred[COPIED].tolist() == list(range(NUM_QUALITIES))


@pytest.mark.parametrize("seed", range(5))
def test_tables_never_decrease(seed):
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 50, (2, NUM_QUALITIES)) * rng.integers(0, 2, (2, NUM_QUALITIES))
    tables = fit_calibration(QualityCounts(bases, rng.binomial(bases, 0.1)))
    assert (np.diff(tables.phred) >= 0).all()
    assert tables.phred.min() >= 0
    assert tables.phred.max() <= 93


def test_apply_rounds_and_tells_sources_apart():
    rows = np.tile(np.arange(NUM_QUALITIES, dtype=float), (2, 1))
    rows[PREDICTED, 40:], rows[COPIED, 40:] = 40.6, 41.4
    tables = CalibrationTables(rows)
    quals, is_copied = np.array([10, 50, 50, 254], np.uint8), np.array([False, False, True, True])
    assert tables.apply(quals, is_copied).tolist() == [10, 41, 41, 41]
    assert tables.rounded(30)[:, 93].tolist() == [30, 30]


def test_quality_counts():
    quals = np.array([5, 5, 93, 200], np.uint8)
    counts = QualityCounts.of(quals, np.array([0, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool))
    assert np.argwhere(counts.bases).tolist() == [[PREDICTED, 5], [PREDICTED, 93], [COPIED, 5]]
    assert counts.bases[PREDICTED, 93] == 2
    assert np.argwhere(counts.errors).tolist() == [[PREDICTED, 5], [PREDICTED, 93]]
    assert (counts + counts).bases.sum() == 8


@pytest.mark.parametrize(
    ("letters", "runs"),
    [("ppppcccppp", [4, 3, 3]), ("ccp", [0, 2, 1]), ("pp", [2]), ("c", [0, 1]), ("", [])],
)
def test_copied_runs(letters, runs):
    mask = np.array([letter == "c" for letter in letters], dtype=bool)
    assert copied_runs(mask).tolist() == runs
    assert copied_mask(copied_runs(mask)).tolist() == mask.tolist()
