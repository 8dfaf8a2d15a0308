import math
from functools import cache

import numpy as np
import pytest

from genoformer.genome.edit_scores import NUM_EDITS, Stretches, edit_scores

A, T, C, G = range(1, 5)
MOST = 8.0


def likelihood(template, read, substitution, insertion, deletion):
    """Sum over all walks, straight from its definition."""

    @cache
    def rest(i, j):
        if i == len(read) and j == len(template):
            return 1.0
        total = 0.0
        if i < len(read) and j < len(template):
            total += (1.0 if read[i] == template[j] else substitution[i]) * rest(i + 1, j + 1)
        if i < len(read):
            total += insertion[i] * rest(i + 1, j)
        if j < len(template):
            total += deletion[template[j]] * rest(i, j + 1)
        return total

    return rest(0, 0)


def edited(template, base, edit):
    if edit == 0:
        return template[:base] + template[base + 1 :]
    if edit <= 4:
        return [*template[:base], edit, *template[base + 1 :]]
    return [*template[:base], edit - 4, *template[base:]]


def stretches_of(pairs, rng):
    """Stretches of (template, read) pairs with random odds, padded to the longest."""
    width, height = (max(len(pair[side]) for pair in pairs) for side in (0, 1))
    count = len(pairs)
    made = Stretches(
        np.zeros((width, count), np.uint8), np.zeros((height, count), np.uint8),
        np.array([len(template) for template, _ in pairs]), np.array([len(read) for _, read in pairs]),
        np.zeros((height, count), np.float32), np.zeros((height, count), np.float32),
        rng.uniform(0.01, 0.1, (5, count)).astype(np.float32),
    )  # fmt: skip
    for index, (template, read) in enumerate(pairs):
        made.template[: len(template), index] = template
        made.read[: len(read), index] = read
        made.substitution[: len(read), index] = rng.uniform(0.001, 0.1, len(read))
        made.insertion[: len(read), index] = rng.uniform(0.001, 0.2, len(read))
    return made


def expected_scores(stretches, index, first, count):
    template, read = (
        values[:length, index].tolist()
        for values, length in (
            (stretches.template, stretches.template_length[index]),
            (stretches.read, stretches.read_length[index]),
        )
    )
    odds = [values[:, index].tolist() for values in (stretches.substitution, stretches.insertion, stretches.deletion)]
    base = likelihood(template, read, *odds)
    scores = np.zeros((NUM_EDITS, count))
    for at in range(first, min(first + count, len(template))):
        for edit in range(NUM_EDITS):
            change = math.log(likelihood(edited(template, at, edit), read, *odds) / base)
            scores[edit, at - first] = min(max(change, -MOST), MOST)
    return scores


@pytest.mark.parametrize(
    "pairs",
    [
        [([A, T, C], [A, T, C])],
        [([A], [A]), ([A], [G]), ([A], [A, A]), ([A, C], [A])],
        [([A, A, A, T, C], [A, A, T, C]), ([A, C, T], [A, G, G, G, C, T]), ([G, G, C, A, T, T], [C, A, T])],
        [([A, T, C, G], [A, 0, C, G]), ([T, T], [A, C, G, A])],
    ],
    ids=["one", "single bases", "ragged", "N in the read"],
)
def test_every_edit_is_scored_as_if_summed_anew(pairs):
    stretches = stretches_of(pairs, np.random.default_rng(1))
    for first, count in ((0, 6), (1, 2)):
        scores = edit_scores(stretches, first, count)
        assert scores.shape[0] == NUM_EDITS
        for index in range(len(pairs)):
            expected = expected_scores(stretches, index, first, scores.shape[1])
            np.testing.assert_allclose(scores[:, :, index], expected, rtol=2e-4, atol=2e-4)


def test_random_stretches():
    rng = np.random.default_rng(2)
    pairs = [(rng.integers(1, 5, rng.integers(1, 9)).tolist(), rng.integers(0, 5, rng.integers(1, 11)).tolist())
             for _ in range(12)]  # fmt: skip
    stretches = stretches_of(pairs, rng)
    scores = edit_scores(stretches, 0, 8)
    for index in range(len(pairs)):
        expected = expected_scores(stretches, index, 0, scores.shape[1])
        np.testing.assert_allclose(scores[:, :, index], expected, rtol=1e-3, atol=1e-3)


def test_a_pass_that_has_nothing_to_do_with_the_template_says_nothing():
    stretches = stretches_of([([A] * 60, [C] * 60), ([A, T, C] * 20, [A, T, C] * 20)], np.random.default_rng(3))
    for odds in (stretches.substitution, stretches.insertion, stretches.deletion):
        odds[:, 0] = 1e-4
    scores = edit_scores(stretches, 0, 60)
    assert (scores[:, :, 0] == 0).all()
    assert (scores[0, :, 1] < 0).all()


def test_a_change_is_bounded():
    stretches = stretches_of([([A, C], [A, G])], np.random.default_rng(4))
    stretches.substitution[:] = stretches.insertion[:] = stretches.deletion[:] = 1e-6
    scores = edit_scores(stretches, 0, 2)
    assert scores[G, 1, 0] == pytest.approx(MOST)
    assert scores[T, 0, 0] == pytest.approx(-MOST, abs=0.01)
