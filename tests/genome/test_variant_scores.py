"""Scores worked by hand on three bins, and what holds for all of them."""

import math

import numpy as np
import pytest

from genoformer.errors import UsageError
from genoformer.genome.variant_scores import SCORES, centre_bins, full_names, score_alleles

# Three bins of two tracks.
REF = np.array([[1.0, 0.0], [3.0, 2.0], [4.0, 2.0]], dtype=np.float32)
ALT = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=np.float32)
CENTRE = slice(1, 2)

EXPECTED = {
    "sad_sum": [-4, -1],
    "sad_mean": [-4 / 3, -1 / 3],
    "logsad_sum": [math.log2(4 * 1 * 2) - math.log2(2 * 4 * 5), math.log2(3 * 2) - math.log2(3 * 3)],
    "sar_sum": [math.log2(5) - math.log2(9), math.log2(4) - math.log2(5)],
    "d1_sum": [8, 1],
    "d2_sum": [math.sqrt(22), 1],
    "max": [-3, -1],
    "sad_sum_centre": [-3, 0],
    "sad_mean_centre": [-3, 0],
    "d1_sum_centre": [3, 0],
    "max_centre": [-3, 0],
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_by_hand(name, expected):
    found = score_alleles(REF, ALT, [name], CENTRE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-7)


def test_jensen_shannon_by_hand():
    ref, alt = np.array([[1.0], [1.0]]), np.array([[1.0], [0.0]])
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4)
    expected = (0.5 * math.log2(2 / 3) + 0.5 * math.log2(2) + math.log2(4 / 3)) / 2
    np.testing.assert_allclose(score_alleles(ref, alt, ["js"], CENTRE), [[expected]], rtol=1e-6)
    nothing_shared = score_alleles(np.array([[1.0], [0.0]]), np.array([[0.0], [5.0]]), ["js"], CENTRE)
    assert nothing_shared == 1  # bit
    assert score_alleles(np.zeros((3, 1)), np.zeros((3, 1)), ["js"], CENTRE) == 0


def test_the_other_way_round():
    rng = np.random.default_rng(0)
    ref, alt = rng.gamma(0.5, 2, (2, 50, 7)).astype(np.float32)
    names = [*SCORES, *(f"{name}_centre" for name in SCORES)]
    there, back = score_alleles(ref, alt, names, slice(20, 30)), score_alleles(alt, ref, names, slice(20, 30))
    for name, one, other in zip(names, there, back, strict=True):
        is_signed = not name.startswith(("d1", "d2", "js"))
        np.testing.assert_array_equal(one, -other if is_signed else other)
        assert np.any(one != 0)


def test_small_effects_and_large_sums_keep_their_digits():
    ref = np.full((896, 1), 1e3, np.float32)
    alt = ref.copy()
    alt[5] += 1e-3
    np.testing.assert_allclose(score_alleles(ref, alt, ["sad_sum"], CENTRE), alt[5, 0] - ref[5, 0], rtol=1e-6)
    assert score_alleles(np.zeros((1, 1)), np.full((1, 1), 1e-8), ["sad_sum"], CENTRE) > 0  # 0 in float16


@pytest.mark.parametrize(
    ("bin_of_variant", "width", "expected"),
    [(447, 1, (447, 448)), (447, 3, (446, 449)), (447, 4, (445, 449)), (0, 3, (0, 3)), (895, 3, (893, 896)),
     (-5, 3, (0, 3)), (2000, 3, (893, 896)), (447, 896, (0, 896))],
)  # fmt: skip
def test_bins_around_the_variant(bin_of_variant, width, expected):
    assert centre_bins(896, bin_of_variant, width) == slice(*expected)


def test_names():
    assert full_names(["SAD", "sar", "js", "max", "d2_centre", "sad_mean"]) == (
        "sad_sum", "sar_sum", "js", "max", "d2_sum_centre", "sad_mean",
    )  # fmt: skip
    assert full_names(SCORES) == tuple(SCORES)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["sax"], "score 'sax': expected sad, logsad, sar, d1, d2, sad_mean, js, max, each also with '_centre'"),
        (["sad", "sad_sum"], "score 'sad_sum' is there twice"),
        ([], "no scores; expected at least one"),
    ],
)
def test_names_that_cannot_be(names, message):
    with pytest.raises(UsageError, match=message):
        full_names(names)
