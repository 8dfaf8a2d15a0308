"""Which bins a change of bases changes: by the arithmetic of the receptive field, and by trying every base."""

import numpy as np
import pytest
import torch

from genoformer.config import ExpressionConfig
from genoformer.models.tower_reuse import Slice, changed_slice, substitution_bins, widened
from tests.variant_cases import SMALL, small_model

ENFORMER = ExpressionConfig()
MIDDLE = range(2048, 2176)  # every residue of a bin


def changed_at(config, *places, length=None):
    known = np.zeros(length or config.window_bp, np.uint8)
    codes = known.copy()
    codes[list(places)] = 1
    return changed_slice(config, codes, known)


@pytest.mark.parametrize(
    ("residue", "first", "end"),
    [(0, -3, 3), (2, -3, 3), (3, -2, 3), (64, -2, 3), (124, -2, 3), (125, -2, 4), (127, -2, 4)],
)
def test_bins_of_one_base_in_enformer(residue, first, end):
    found = changed_at(ENFORMER, 128 * 768 + residue)
    assert (found.first_changed, found.end_changed) == (768 + first, 768 + end)
    assert (found.start, found.end) == (768 + first - 3, 768 + end + 3)  # 11 or 12 bins: 1,408 or 1,536 bp


def test_a_slice_for_every_residue():
    assert substitution_bins(ENFORMER) == 12
    for residue in range(128):
        found = changed_at(ENFORMER, 128 * 768 + residue)
        assert 11 <= found.end - found.start <= 12
        wide = widened(found, 12, 1536)
        assert wide.end - wide.start == 12
        assert wide.start <= found.start
        assert wide.end >= found.end


def test_at_the_ends_of_the_window():
    assert changed_at(ENFORMER, 0) == Slice(0, 6, 0, 3)
    assert changed_at(ENFORMER, ENFORMER.window_bp - 1) == Slice(1530, 1536, 1533, 1536)
    assert widened(changed_at(ENFORMER, 0), 12, 1536) == Slice(0, 12, 0, 3)
    assert widened(changed_at(ENFORMER, ENFORMER.window_bp - 1), 12, 1536) == Slice(1524, 1536, 1533, 1536)


def test_several_changes_and_none():
    assert changed_at(ENFORMER, 128 * 700 + 64, 128 * 800 + 64) == Slice(695, 806, 698, 803)
    assert changed_at(ENFORMER) is None


@pytest.fixture(scope="module")
def model():
    return small_model().double()


def bins_of(model, codes):
    with torch.no_grad():
        return model.bins(torch.eye(4)[torch.from_numpy(codes.astype(np.int64))][None])[0]


@pytest.mark.parametrize("place", [*MIDDLE, 0, 1, 300, 4095, 3800])
def test_what_changes_is_in_the_slice(model, place):
    known = np.random.default_rng(1).integers(0, 4, SMALL.window_bp).astype(np.uint8)
    codes = known.copy()
    codes[place] = (codes[place] + 1) % 4
    found = changed_slice(SMALL, codes, known)
    before, after = bins_of(model, known), bins_of(model, codes)
    changed = (before != after).any(-1).nonzero().flatten().tolist()
    assert found.first_changed <= min(changed)
    assert max(changed) < found.end_changed

    def pasted(start, end):
        piece = bins_of(model, codes[start * 128 : end * 128])
        mine = before.clone()
        mine[found.first_changed : found.end_changed] = piece[found.first_changed - start : found.end_changed - start]
        return (mine - after).abs().max()

    assert pasted(found.start, found.end) < 1e-12
    if place in MIDDLE:  # a slice one bin too short is wrong
        assert pasted(found.start + 1, found.end) > 1e-8
        assert pasted(found.start, found.end - 1) > 1e-8
