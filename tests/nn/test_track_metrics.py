"""Moments of tracks, against two passes by numpy in float64 and against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from genoformer.errors import UsageError
from genoformer.nn.track_metrics import TrackMoments


def draw(num_windows, num_bins, num_tracks, *, seed=0, offset=0.0, spread=1.0):
    """Predictions and measurements, float64 [B, N, T], that have something in common."""
    rng = np.random.default_rng(seed)
    common, own, other = rng.standard_normal((3, num_windows, num_bins, num_tracks))
    return offset + spread * (common + own), offset + spread * (common + 0.5 * other)


def moments_of(predicted, measured, *, batch_size=2):
    moments = TrackMoments(predicted.shape[2])
    for start in range(0, len(predicted), batch_size):
        rows = slice(start, start + batch_size)
        moments.update_(predicted=torch.as_tensor(predicted[rows]), measured=torch.as_tensor(measured[rows]))
    return moments


def brute_force(predicted, measured):
    """Pearson and R2 of each track by the textbook, over bins and windows together."""
    predicted, measured = (np.asarray(v, np.float64).reshape(-1, v.shape[2]) for v in (predicted, measured))
    pearson = [np.corrcoef(predicted[:, t], measured[:, t])[0, 1] for t in range(predicted.shape[1])]
    residuals = ((predicted - measured) ** 2).sum(0)
    return np.array(pearson), 1 - residuals / ((measured - measured.mean(0)) ** 2).sum(0)


def exact_pearson(predicted, measured):
    """Of one track's values, its square computed in fractions: no rounding before the last root."""
    p, m = ([Fraction(float(value)) for value in values] for values in (predicted, measured))
    mean_p, mean_m = sum(p) / len(p), sum(m) / len(m)
    product = sum((a - mean_p) * (b - mean_m) for a, b in zip(p, m, strict=True))
    squares = sum((a - mean_p) ** 2 for a in p) * sum((b - mean_m) ** 2 for b in m)
    return float(product / abs(product)) * float(product**2 / squares) ** 0.5


@pytest.mark.parametrize(("num_windows", "num_bins"), [(1, 2), (5, 7), (11, 33)])
def test_they_are_those_of_two_passes_over_all_bins(num_windows, num_bins):
    predicted, measured = draw(num_windows, num_bins, 4)
    moments = moments_of(predicted, measured)
    pearson, r2 = brute_force(predicted, measured)
    np.testing.assert_allclose(moments.pearson(), pearson, rtol=1e-13)
    np.testing.assert_allclose(moments.r2(), r2, rtol=1e-12)


def test_worked_by_hand():
    """1, 2, 3 against 1, 2, 6: deviations -1, 0, 1 and -2, -1, 3; residuals 0, 0, 3."""
    moments = moments_of(np.array([[[1.0], [2.0], [3.0]]]), np.array([[[1.0], [2.0], [6.0]]]))
    assert moments.pearson().item() == pytest.approx(5 / (2 * 14) ** 0.5, rel=1e-15)
    assert moments.r2().item() == pytest.approx(1 - 9 / 14, rel=1e-15)
    assert moments.means().tolist() == [[2.0], [3.0]]
    assert moments.num_bins == 3


def test_other_programs_give_the_same_on_values_near_zero():
    """enformer-pytorch 0.8.12's MeanPearsonCorrCoefPerChannel and torchmetrics 1.9.0's R2Score, in float32."""
    moments = moments_of(*(values.astype(np.float32) for values in draw(6, 50, 3, seed=4)))
    assert moments.pearson().tolist() == pytest.approx([0.63068527, 0.61433828, 0.69954908], abs=3e-7)
    assert moments.r2().tolist() == pytest.approx([0.04563999, -0.07720363, 0.16152531], abs=3e-7)


def test_it_is_not_the_mean_of_correlations_within_windows():
    """Each window by itself falls as the other rises; both together rise."""
    predicted = np.array([[[0.0], [1.0]], [[10.0], [11.0]]])
    measured = np.array([[[1.0], [0.0]], [[11.0], [10.0]]])
    assert moments_of(predicted, measured).pearson().item() > 0.9


@pytest.mark.parametrize(("offset", "spread"), [(1e6, 1e-3), (1e8, 1.0), (-1e12, 1.0), (1e-12, 1e-20), (0.0, 1e30)])
def test_means_far_from_zero_take_no_digits(offset, spread):
    """The sums that are usually taken lose all digits here: a sum of squares about 0 holds the mean alone."""
    predicted, measured = draw(3, 9, 1, offset=offset, spread=spread)
    found = moments_of(predicted, measured).pearson().item()
    assert found == pytest.approx(exact_pearson(predicted.ravel(), measured.ravel()), rel=1e-12)


def test_sums_about_zero_would_fail_that_test():
    predicted, measured = (values.ravel() for values in draw(3, 9, 1, offset=1e8))
    n = len(predicted)
    covariance = (predicted * measured).sum() - predicted.sum() * measured.sum() / n
    deviations, measured_deviations = predicted - predicted.mean(), measured - measured.mean()
    assert abs(covariance - (deviations * measured_deviations).sum()) > 1


def test_a_peak_in_the_first_bin_takes_no_digits():
    predicted, measured = draw(3, 9, 1, offset=5.0)
    predicted[0, 0], measured[0, 0] = 1e10, 1e10
    found = moments_of(predicted, measured).pearson().item()
    assert found == pytest.approx(exact_pearson(predicted.ravel(), measured.ravel()), rel=1e-13)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e7 + 0.1])
def test_a_track_that_never_varies_has_no_correlation(value):
    predicted, measured = draw(6, 7, 3)
    predicted[..., 0] = value
    measured[..., 1] = value
    moments = moments_of(predicted, measured)
    assert moments.pearson().isnan().tolist() == [True, True, False]
    assert moments.r2().isnan().tolist() == [False, True, False]


def test_one_bin_or_none_has_no_correlation():
    moments = TrackMoments(2)
    moments.update_(predicted=torch.zeros(0, 4, 2), measured=torch.zeros(0, 4, 2))
    moments.update_(predicted=torch.zeros(1, 0, 2), measured=torch.zeros(1, 0, 2))
    assert moments.state.tolist() == TrackMoments(2).state.tolist()
    assert moments.pearson().isnan().all()
    moments.update_(predicted=torch.ones(1, 1, 2), measured=torch.zeros(1, 1, 2))
    assert moments.pearson().isnan().all()
    assert moments.r2().isnan().all()


def test_what_is_no_number_stays_in_its_track():
    predicted, measured = draw(3, 4, 3)
    predicted[1, 2, 0], measured[0, 0, 2] = np.nan, np.inf
    moments = moments_of(predicted, measured)
    assert moments.pearson().isnan().tolist() == [True, False, True]


def test_the_size_of_batches_does_not_matter():
    predicted, measured = draw(7, 6, 3)
    states = [moments_of(predicted, measured, batch_size=size).state for size in (1, 2, 7)]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_parts_merge_to_the_whole(offset):
    predicted, measured = draw(7, 6, 3, offset=offset)
    parts = [moments_of(predicted[rank::3], measured[rank::3]).state for rank in range(3)]
    whole = moments_of(predicted, measured)
    merged = TrackMoments.merged([TrackMoments(3).state, *parts, TrackMoments(3).state])
    np.testing.assert_allclose(merged.pearson(), whole.pearson(), rtol=1e-9 if offset else 1e-14)
    np.testing.assert_allclose(merged.r2(), whole.r2(), rtol=1e-9 if offset else 1e-13)
    assert merged.state[0].tolist() == [42.0] * 3


def test_a_perfect_prediction_is_1_and_its_opposite_minus_1():
    _, measured = draw(4, 50, 5)
    assert (moments_of(measured, measured).pearson() <= 1).all()
    np.testing.assert_allclose(moments_of(measured, measured).pearson(), 1, rtol=1e-15)
    np.testing.assert_allclose(moments_of(-measured, measured).pearson(), -1, rtol=1e-15)
    assert moments_of(measured, measured).r2().tolist() == [1.0] * 5


def test_half_precision_is_summed_in_float64():
    predicted, measured = (torch.as_tensor(values).bfloat16() for values in draw(4, 300, 2))
    pearson, _ = brute_force(predicted.double().numpy(), measured.double().numpy())
    np.testing.assert_allclose(moments_of(predicted, measured).pearson(), pearson, rtol=1e-13)


def test_shapes_that_do_not_fit_are_refused():
    moments = TrackMoments(3)
    with pytest.raises(UsageError, match=r"predictions are \[1, 4, 3\] and measurements \[1, 5, 3\]; expected"):
        moments.update_(predicted=torch.ones(1, 4, 3), measured=torch.ones(1, 5, 3))
    with pytest.raises(UsageError, match=r"expected \[B, N, 3\] both"):
        moments.update_(predicted=torch.ones(1, 4, 2), measured=torch.ones(1, 4, 2))
