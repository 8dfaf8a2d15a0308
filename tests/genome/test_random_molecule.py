import re

import numpy as np

from genoformer.genome.random_molecule import random_molecule


def molecules(num, length_bp):
    rng = np.random.default_rng(5)
    return [random_molecule(length_bp, rng) for _ in range(num)]


def test_length_and_letters():
    for length_bp in (1, 2, 99, 3000):
        [molecule] = molecules(1, length_bp)
        assert len(molecule) == length_bp
        assert set(molecule) <= set(b"ACGT")


def test_gc_content_is_that_of_human_dna():
    sequence = b"".join(molecules(100, 2000))
    assert abs((sequence.count(b"G") + sequence.count(b"C")) / len(sequence) - 0.41) < 0.02
    assert abs(sequence.count(b"A") - sequence.count(b"T")) / len(sequence) < 0.02


def test_homopolymers_are_those_of_human_dna():
    """Shares of runs with 1, 2, 3 and at least 6 bases: CHM13 chr20:1-200,000 has .714, .194, .062 and .0036."""
    sequence = b"".join(molecules(100, 2000))
    lengths = np.array([len(run.group()) for run in re.finditer(rb"(.)\1*", sequence)])
    shares = [(lengths == 1).mean(), (lengths == 2).mean(), (lengths == 3).mean(), (lengths >= 6).mean()]
    np.testing.assert_allclose(shares, [0.714, 0.194, 0.062, 0.0036], rtol=0.05, atol=0.001)


def test_microsatellites_come_about_every_thousand_bases():
    repeat = re.compile(r"([ACGT]{2,6}?)\1{3,}")
    found = [match.group() for molecule in molecules(50, 4000) for match in repeat.finditer(molecule.decode())]
    num_found = sum(len(set(letters)) > 1 for letters in found)
    assert 120 <= num_found <= 300


def test_same_generator_same_molecule():
    assert molecules(2, 500) == molecules(2, 500)
    first, second = molecules(2, 500)
    assert first != second
