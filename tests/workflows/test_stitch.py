import numpy as np
import pytest

from genoformer.genome.calibration import CalibrationTables
from genoformer.genome.quality import Calibration
from genoformer.workflows.stitch import (
    Outcome,
    StitchSettings,
    called_quals,
    ccs_read,
    copied_quals,
    corrected_read,
    stitch,
)
from tests.correct_inputs import as_calls, as_molecule


def as_settings(**changes):
    defaults = {"min_quality": 0, "min_length": 0, "max_base_quality": 93, "calibration": None, "ccs_calibration": None}
    return StitchSettings(**{**defaults, **changes})


def as_read(stitched):
    return stitched.sequence.decode(), stitched.quals.tolist()


# By hand, in letters


def test_gaps_go_with_their_qualities():
    calls = as_calls("A-CG-T", quals=[[10, 60, 20, 30, 60, 40]])
    assert as_read(stitch(as_molecule(), calls, as_settings())) == ("ACGT", [10, 20, 30, 40])


def test_called_and_copied_windows_follow_each_other():
    molecule = as_molecule("ACGTTGCA", range(30, 38), ccs_range=[(0, 3), (3, 6), (6, 8)], is_called=[True, False, True])
    calls = as_calls("AC-", "-GG", quals=[[10, 11, 12], [13, 14, 15]])
    stitched = stitch(molecule, calls, as_settings())
    #                             A   C | copied T T G | G   G
    assert as_read(stitched) == ("ACTTGGG", [10, 11, 33, 34, 35, 14, 15])


def test_copied_letters_stay_as_they_are():
    molecule = as_molecule("AnRT", is_called=[False])
    assert as_read(stitch(molecule, as_calls(quals=[]), as_settings())) == ("AnRT", [30, 31, 32, 33])


def test_the_padding_of_a_last_window_is_gaps():
    calls = as_calls("AC--", "G---", quals=[[10] * 4, [20] * 4])
    molecule = as_molecule("ACG", (30, 30, 30), ccs_range=[(0, 2), (2, 3)], is_called=[True, True])
    assert as_read(stitch(molecule, calls, as_settings())) == ("ACG", [10, 10, 20])


def test_only_gaps_give_no_read():
    stitched = stitch(as_molecule(), as_calls("----", quals=[[40] * 4]), as_settings())
    assert (as_read(stitched), stitched.predicted_phred, stitched.outcome) == (("", []), 0.0, Outcome.ONLY_GAPS)


# Qualities


@pytest.mark.parametrize(
    ("qual", "expected"),
    # float32 holds 10 ** (-qual / 10) closely enough for all but the halves, which follow separately
    [(0.4, 0), (0.6, 1), (9.51, 10), (39.49, 39), (92.9, 93), (99.0, 93)],
)
def test_qualities_are_rounded_and_capped(qual, expected):
    error = np.array([10 ** (-qual / 10)], np.float32)
    assert called_quals(error, as_settings()).tolist() == [expected]


@pytest.mark.parametrize(("qual", "expected"), [(0.5, 0), (1.5, 2), (2.5, 2), (31.5, 32), (32.5, 32)])
def test_halves_round_to_even(qual, expected):
    exactly_half = Calibration(0, 0.5, qual - 5)  # error 0.1 is Phred 10: 10 * 0.5 + (qual - 5) = qual
    quals = called_quals(np.array([0.1]), as_settings(calibration=exactly_half))
    assert quals.tolist() == [expected]


def test_error_zero_has_the_highest_quality():
    assert called_quals(np.zeros(1, np.float32), as_settings(max_base_quality=40)).tolist() == [40]


def test_a_quality_is_never_below_zero():
    assert called_quals(np.array([0.5]), as_settings(calibration=Calibration(0, 1, -10))).tolist() == [0]
    assert copied_quals(np.array([5], np.uint8), as_settings(ccs_calibration=Calibration(0, 1, -10))).tolist() == [0]


def test_calibration_applies_above_its_threshold_and_before_the_cap():
    # By hand: 10 stays (not above 20), 20 stays (not above), 30 -> 1.5 * 30 + 2 = 47, 60 -> 92, capped to 90.
    settings = as_settings(calibration=Calibration(20, 1.5, 2), max_base_quality=90)
    assert called_quals(np.array([0.1, 0.01, 0.001, 0.000001]), settings).tolist() == [10, 20, 47, 90]


def test_copied_qualities_are_cut_not_rounded():
    # By hand: 30 * 0.99 = 29.7 -> 29; 31 * 0.99 = 30.69 -> 30; 93 * 0.99 = 92.07, capped to 60.
    settings = as_settings(ccs_calibration=Calibration(0, 0.99, 0), max_base_quality=60)
    assert copied_quals(np.array([30, 31, 93], np.uint8), settings).tolist() == [29, 30, 60]


def test_each_calibration_changes_only_its_own_bases():
    molecule = as_molecule("ACGT", ccs_range=[(0, 2), (2, 4)], is_called=[True, False])
    calls = as_calls("AC", quals=[[20, 30]])
    settings = as_settings(calibration=Calibration(0, 1, 5), ccs_calibration=Calibration(0, 1, -7))
    assert as_read(stitch(molecule, calls, settings)) == ("ACGT", [25, 35, 25, 26])


# Predicted quality, filters


def test_predicted_quality_is_that_of_the_mean_error():
    # By hand: errors 0.1 and 0.001, mean 0.0505, Phred 12.96709.
    stitched = stitch(as_molecule(), as_calls("AC--", quals=[[10, 30, 60, 60]]), as_settings())
    assert stitched.predicted_phred == 12.96709


@pytest.mark.parametrize(
    ("min_quality", "outcome"),
    [(20, Outcome.SUCCESS), (20.00001, Outcome.FAILED_QUALITY), (19.99, Outcome.SUCCESS)],
)
def test_a_read_exactly_at_the_quality_threshold_passes(min_quality, outcome):
    calls = as_calls("ACGT", quals=[[20] * 4])
    assert stitch(as_molecule(), calls, as_settings(min_quality=min_quality)).outcome is outcome


@pytest.mark.parametrize(("min_length", "outcome"), [(4, Outcome.SUCCESS), (5, Outcome.FAILED_LENGTH)])
def test_length_counts_bases_not_columns(min_length, outcome):
    calls = as_calls("A-CG-T", quals=[[40] * 6])
    assert stitch(as_molecule(), calls, as_settings(min_length=min_length)).outcome is outcome


def test_a_molecule_without_subreads_is_named_so():
    molecule = as_molecule(is_called=[False], num_subreads=0)
    stitched = stitch(molecule, as_calls(quals=[]), as_settings(min_quality=99))
    assert stitched.outcome is Outcome.NO_SUBREADS


def test_a_molecule_without_a_draft():
    molecule = as_molecule("", (), ccs_range=[], is_called=[], num_subreads=0)
    stitched = stitch(molecule, as_calls(quals=[]), as_settings())
    assert (stitched.sequence, stitched.outcome) == (b"", Outcome.NO_DRAFT)


def test_tables_follow_the_lines_and_the_cap_follows_the_tables():
    rows = np.tile(np.arange(94.0), (2, 1))
    rows[0, 30:], rows[1, 30:] = 50.4, 60.0
    settings = as_settings(calibration=Calibration(0, 2, 0), max_base_quality=55, tables=CalibrationTables(rows))
    error_prob = np.array([10**-1.0, 10**-1.5, 0.0], np.float32)
    assert called_quals(error_prob, settings).tolist() == [20, 50, 50]  # lines: 20, 30, 93
    assert copied_quals(np.array([10, 30, 93], np.uint8), settings).tolist() == [10, 55, 55]


# Records


def test_tags_of_a_corrected_read():
    molecule = as_molecule(num_passes=7, effective_coverage=6.5, read_group="ab12")
    read = corrected_read(molecule, stitch(molecule, as_calls("AC--", quals=[[10, 30, 60, 60]]), as_settings()))
    assert (read.name, read.sequence, read.quals.tolist()) == ("m/17/ccs", b"AC", [10, 30])
    tags = {name: (kind, value) for name, kind, value in read.tags}
    # By hand: errors 0.1 and 0.001, so rq is 1 - 0.0505.
    assert tags.pop("rq") == ("f", pytest.approx(0.9495, abs=1e-12))
    kind, runs = tags.pop("cp")
    assert (kind, runs.tolist()) == ("B", [2])
    assert tags == {"zm": ("i", 17), "np": ("i", 7), "ec": ("f", 6.5), "RG": ("Z", "ab12")}


def test_a_tag_says_which_bases_are_copied():
    molecule = as_molecule("ACGTTGCA", [40] * 8, ccs_range=[(0, 3), (3, 6), (6, 8)], is_called=[False, True, False])
    stitched = stitch(molecule, as_calls("T--G", quals=[[20] * 4]), as_settings())
    assert as_read(stitched)[0] == "ACGTGCA"
    for read, expected in (
        (corrected_read(molecule, stitched), [0, 3, 2, 2]),
        (ccs_read(molecule, as_settings()), [0, 8]),
    ):
        assert {name: value for name, _, value in read.tags}["cp"].tolist() == expected


def test_tags_that_the_ccs_read_lacks():
    molecule = as_molecule(num_subreads=3)
    read = corrected_read(molecule, stitch(molecule, as_calls("ACGT", quals=[[20] * 4]), as_settings()))
    tags = {name: value for name, _, value in read.tags if name != "cp"}
    assert tags == {"zm": 17, "np": 3, "ec": -1.0, "rq": pytest.approx(0.99)}


def test_the_ccs_read_itself_is_calibrated_and_capped_like_copied_windows():
    settings = as_settings(ccs_calibration=Calibration(31, 1, 10), max_base_quality=42)
    read = ccs_read(as_molecule(), settings)
    assert (read.sequence, read.quals.tolist()) == (b"ACGT", [30, 31, 42, 42])
    rq = {name: value for name, _, value in read.tags}["rq"]
    expected = 1 - (10**-3 + 10**-3.1 + 2 * 10**-4.2) / 4
    assert rq == pytest.approx(expected, abs=1e-12)
