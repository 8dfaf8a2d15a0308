import math

import numpy as np
import pytest

from genoformer.genome.alphabet import pileup_codes
from genoformer.genome.read_odds import read_odds

NOTHING = np.zeros(4, np.float32)
A, T, C, G = range(1, 5)


def odds(sequence, pw=None, ip=None, sn=NOTHING, is_reverse=False):
    codes = pileup_codes(sequence)
    pw, ip = (np.array([0] * len(codes) if values is None else values, np.uint8) for values in (pw, ip))
    return read_odds(codes, pw, ip, np.array(sn, np.float32), is_reverse)


def test_without_kinetics_letters_and_neighbours_count():
    found = odds(b"AACT")
    np.testing.assert_allclose(found.substitution, 0.0156 / 3, rtol=1e-6)
    copied = 0.067 * (0.36 * 0.5 + 0.64 * 0.25)  # A beside one A
    np.testing.assert_allclose(found.insertion, [copied, copied, 0.067 * 0.64 * 0.15, 0.067 * 0.64 * 0.30], rtol=1e-6)


def test_a_base_between_two_equal_ones_is_copied_from_either():
    assert odds(b"AAA").insertion[1] == pytest.approx(0.067 * (0.36 + 0.64 * 0.25))


def test_letters_of_inserted_bases_are_those_of_the_strand_sequenced():
    forward, reverse = odds(b"ACGT"), odds(b"ACGT", is_reverse=True)
    np.testing.assert_allclose(reverse.insertion, forward.insertion[[3, 2, 1, 0]])


def test_a_dim_channel_loses_more_bases():
    found = odds(b"A", sn=[5.0, 10.0, 6.0, 8.0])  # A, C, G, T
    for code, sn in ((A, 5.0), (C, 10.0), (G, 6.0), (T, 8.0)):
        assert found.deletion[code] == pytest.approx(1.42 * math.exp(-1.27 - 1.17 * math.log(sn)), rel=1e-5)
    reverse = odds(b"A", sn=[5.0, 10.0, 6.0, 8.0], is_reverse=True)
    np.testing.assert_allclose(reverse.deletion[[T, A, G, C]], found.deletion[[A, T, C, G]])


def test_missing_signal_to_noise_ratios_are_usual_ones_and_zero_is_bounded():
    assert 0.02 < odds(b"A").deletion.min() < odds(b"A").deletion.max() < 0.08
    assert np.isfinite(odds(b"A", sn=[0.0, 5.0, 5.0, 5.0]).deletion).all()


def test_narrow_pulses_are_likelier_errors():
    found = odds(b"ACGTACGT", pw=[2, 20, 20, 20, 20, 20, 20, 20])
    assert found.insertion[0] > 2 * found.insertion[4]
    assert found.substitution[0] > 2 * found.substitution[4]
    plain = odds(b"ACGTACGT")
    assert (found.insertion[1:] < plain.insertion[1:]).all()


def test_kinetics_count_by_their_mean():
    narrow = odds(b"ACGTACGT", pw=[2, 20, 10, 20, 12, 20, 10, 20], ip=[3, 9, 4, 5, 50, 6, 7, 8])
    wide = odds(b"ACGTACGT", pw=[4, 40, 20, 40, 24, 40, 20, 40], ip=[6, 18, 8, 10, 100, 12, 14, 16])
    np.testing.assert_allclose(narrow.insertion, wide.insertion, rtol=1e-6)
    np.testing.assert_allclose(narrow.substitution, wide.substitution, rtol=1e-6)


def test_what_kinetics_say_is_bounded():
    found = odds(b"ACGT" * 50, pw=[0, *[255] * 199], ip=[255, *[1] * 199])
    plain = odds(b"ACGT" * 50)
    ratio = np.log(found.insertion / plain.insertion)
    assert -5.001 <= ratio.min() < ratio.max() <= 5.001
    assert np.isfinite(found.substitution).all()


def test_n_is_no_letter_of_its_own():
    assert np.isfinite(odds(b"NANN", pw=[1, 2, 3, 4], ip=[1, 2, 3, 4]).insertion).all()
