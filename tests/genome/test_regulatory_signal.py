import math

import numpy as np
import pytest

from genoformer.genome.regulatory_grammar import Element, Site
from genoformer.genome.regulatory_signal import TRACKS, expected_coverage, expression, noisy, openness


def promoter(position=4004, strand="+", *, boxes=(), broken=None, is_misplaced=False):
    sites = [Site(motif, position, strand, 1 if motif == broken else None) for motif in ("TATA", "INR")]
    sites += [Site("GCBOX", position, strand, None if whole else 3) for whole in boxes]
    return Element("promoter", position, strand, tuple(sites), is_misplaced)


def enhancer(position, cell="A", *, is_misplaced=False):
    sites = tuple(Site(f"{cell}{number}", position, "+") for number in (1, 2))
    return Element(f"enhancer_{cell}", position, "+", sites, is_misplaced)


def test_expression_by_hand():
    assert expression(promoter(), []) == 1
    assert expression(promoter(boxes=[True, True]), []) == pytest.approx(3)
    assert expression(promoter(boxes=[True, False]), []) == pytest.approx(2)
    assert expression(promoter(broken="INR"), []) == pytest.approx(0.08)
    assert expression(promoter(is_misplaced=True), []) == pytest.approx(0.08)
    near = [enhancer(4704), enhancer(3304), enhancer(4704, "B"), enhancer(5000, is_misplaced=True)]
    assert expression(promoter(), near) == pytest.approx(1 + 1.5 * 2 / math.e)


def test_openness_by_hand():
    assert [openness(enhancer(0), cell) for cell in "AB"] == [1, 0]
    assert [openness(enhancer(0, "B", is_misplaced=True), cell) for cell in "AB"] == [0, 0.4]
    assert openness(promoter(boxes=[True]), "B") == pytest.approx(0.9)
    assert openness(promoter(broken="TATA"), "A") == pytest.approx(0.1)


def test_where_the_tracks_have_their_peaks():
    assert [track.identifier for track in TRACKS] == ["dnase_a", "dnase_b", "h3k27ac_a", "cage_a_plus", "cage_a_minus"]
    found = expected_coverage(9000, [promoter(4004), enhancer(6004), promoter(8004, "-")])
    step = {position: position // 8 for position in (4004, 6004, 8004)}
    expected_dnase = 0.25 + 8 * np.array([[0.6, 1, 0.6], [0.6, 0, 0.6]])
    np.testing.assert_allclose(found[:2, list(step.values())], expected_dnase, atol=1e-6)
    flank = (6004 + 220) // 8
    assert found[2, flank] > 4.5
    assert found[2, step[6004]] < found[2, flank] / 2  # the middle is a valley
    boost = 1 + 1.5 * math.exp(-2000 / 700)
    np.testing.assert_allclose(found[3:, step[4004]], [0.002 + 1.5 * boost, 0.002], rtol=1e-6)
    np.testing.assert_allclose(found[3:, step[8004]], [0.002, 0.002 + 1.5 * boost], rtol=1e-6)
    np.testing.assert_allclose(found[3, step[4004] - 10], 0.002, atol=1e-6)


def test_a_last_step_that_is_not_whole():
    assert expected_coverage(17, []).shape == (5, 3)


def test_noise_keeps_the_mean():
    coverage = np.full((2, 50_000), 0.5)
    found = noisy(coverage, np.random.default_rng(0))
    assert found.dtype == np.float32
    assert (found * 4 == np.round(found * 4)).all()
    assert abs(found.mean() - 0.5) < 0.01
    assert abs(found.var() - 0.125) < 0.01
