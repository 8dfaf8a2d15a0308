import re
from collections import Counter

import numpy as np
import pytest

from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.random_genome import random_genome

MICROSATELLITE = re.compile(rb"(.{2,6})\1{2}")


@pytest.fixture(scope="module")
def genome():
    return random_genome(1_000_000, np.random.default_rng(5))


@pytest.mark.parametrize("length_bp", [1, 2, 99, 30_000])
def test_length_and_letters(length_bp):
    sequence = random_genome(length_bp, np.random.default_rng(0))
    assert len(sequence) == length_bp
    assert set(sequence) <= set(b"ACGT")


def test_gc_content_is_that_of_human_dna_and_varies_as_there(genome):
    """CHM13 chr20:1-200,000: 41 %; in windows of 5 kb, .35 and .52 at the quantiles 10 and 90 %."""
    assert abs((genome.count(b"G") + genome.count(b"C")) / len(genome) - 0.41) < 0.02
    assert abs(genome.count(b"A") - genome.count(b"T")) / len(genome) < 0.02
    windows = [genome[at : at + 5000] for at in range(0, len(genome), 5000)]
    low, high = np.quantile([(one.count(b"G") + one.count(b"C")) / 5000 for one in windows], [0.1, 0.9])
    assert low == pytest.approx(0.35, abs=0.03)
    assert 0.44 < high < 0.54


def test_homopolymers_are_those_of_human_dna(genome):
    """Shares of runs with 1, 2, 3 and at least 6 bases: CHM13 chr20:1-200,000 has .714, .194, .062 and .0036."""
    lengths = np.array([len(run.group()) for run in re.finditer(rb"(.)\1*", genome)])
    shares = [(lengths == 1).mean(), (lengths == 2).mean(), (lengths == 3).mean(), (lengths >= 6).mean()]
    np.testing.assert_allclose(shares, [0.714, 0.194, 0.062, 0.0036], rtol=0.05, atol=0.001)


def test_microsatellites_come_about_every_1300_bases(genome):
    """Three of four of the insertions a thousand bases apart; a hundred kilobases have some 75."""
    found = [match.group() for match in re.finditer(r"([ACGT]{2,6}?)\1{3,}", genome[:100_000].decode())]
    assert 55 <= sum(len(set(letters)) > 1 for letters in found) <= 110


def test_elements_come_back_on_both_strands():
    """Without divergence whole elements are there again; stretches of 24 bases of random DNA never are."""
    genome = random_genome(200_000, np.random.default_rng(0))
    places = Counter(genome[at : at + 24] for at in range(len(genome) - 23))
    often = {stretch for stretch, count in places.items() if count > 2 and not MICROSATELLITE.search(stretch)}
    assert len(often) > 50
    assert sum(reverse_complement(stretch) in places for stretch in often) > 10


def test_same_generator_same_genome():
    first, again, other = (random_genome(500, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
