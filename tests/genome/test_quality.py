import math

import numpy as np
import pytest

from genoformer.errors import UsageError
from genoformer.genome.quality import Calibration, error_prob, mean_error_phred, phred


def test_phred_and_its_inverse():
    # Ewing and Green 1998: Q = -10 log10 p.
    np.testing.assert_allclose(error_prob(np.array([0, 10, 20, 30, 93])), [1, 0.1, 0.01, 0.001, 10**-9.3], rtol=1e-14)
    np.testing.assert_allclose(phred(np.array([1, 0.5, 0.1, 0.001])), [0, 3.0102999566, 10, 30], rtol=1e-10)


def test_phred_of_no_error_is_infinite():
    assert phred(np.array([0.0, 0.01])).tolist() == [math.inf, 20.0]


def test_error_prob_of_bytes_is_float64():
    assert error_prob(np.array([40], np.uint8)).dtype == np.float64


@pytest.mark.parametrize(
    ("quals", "expected"),
    [
        ([20], 20.0),
        ([10, 10, 10], 10.0),
        ([10, 20], -10 * math.log10(0.055)),  # mean of 0.1 and 0.01, not of 10 and 20
        ([-1, 30, -1], 30.0),  # gaps do not count
        ([0, 40], -10 * math.log10(0.50005)),
        ([], 0.0),
        ([-1, -1], 0.0),
        ([0, 0, -1], 0.0),
    ],
)
def test_mean_error_phred(quals, expected):
    assert mean_error_phred(np.array(quals, np.int16)) == pytest.approx(expected, rel=1e-12)


def test_calibration_of_everything():
    # The v0.3 default: q * 1.197654 - 0.99781.
    calibration = Calibration.parse("0,1.197654,-0.99781")
    assert calibration == Calibration(0.0, 1.197654, -0.99781)
    np.testing.assert_allclose(calibration.apply(np.array([0.0, 10.0, 40.0])), [-0.99781, 10.97873, 46.90835])


def test_calibration_above_a_threshold():
    calibrated = Calibration.parse("20,0.5,3").apply(np.array([0.0, 20.0, 20.5, 40.0]))
    np.testing.assert_allclose(calibrated, [0.0, 20.0, 13.25, 23.0])


@pytest.mark.parametrize("text", [None, "skip"])
def test_no_calibration(text):
    assert Calibration.parse(text) is None


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c", "0,nan,1", "0,1,inf", "Skip", "0;1;2"])
def test_bad_calibrations_are_shown(text):
    with pytest.raises(UsageError) as error:
        Calibration.parse(text)
    assert str(error.value) == f"calibration is '{text}'; expected three numbers 'threshold,w,b', or 'skip'"
