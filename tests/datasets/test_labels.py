import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.datasets.labels import ADJUSTED, KEPT, OVERFLOW, window_labels
from genoformer.datasets.pileup import build_pileup, cut_windows
from genoformer.genome.alphabet import pileup_codes, pileup_letters
from genoformer.io.subreads import CcsRead, Subread

OPS = {"=": 7, "X": 8, "I": 1, "D": 2, "S": 4}


def aligned(letters, cigar, start=0):
    ops, digits = [], ""
    for character in cigar:
        if character.isdigit():
            digits += character
        else:
            ops.append(int(digits) << 4 | OPS[character])
            digits = ""
    codes = pileup_codes(letters.encode())
    zeros = np.zeros(len(codes), np.uint8)
    return Subread("m/1/0_9", codes, np.array(ops, np.uint32), start, False, zeros, zeros, np.zeros(4, np.float32))


def labels_of(ccs, subreads, truth, length):
    pileup = build_pileup(CcsRead("m/1/ccs", ccs.encode(), np.full(len(ccs), 30, np.uint8)), subreads)
    windows = cut_windows(pileup, ConsensusConfig(window_length=length))
    labels = window_labels(pileup, windows, truth, length)
    return [pileup_letters(row).decode().rstrip() for row in labels.codes], labels.status.tolist()


def test_a_truth_equal_to_the_ccs_read():
    assert labels_of("ACGTA", [aligned("ACGTA", "5=")], aligned("ACGTA", "5="), 3) == (["ACG", "TA"], [KEPT, KEPT])


def test_an_insertion_of_a_subread_leaves_a_gap_in_the_label():
    #   CCS      A C   G T        windows of 4 columns: AC.G | T
    #   subread  A C T G T
    assert labels_of("ACGT", [aligned("ACTGT", "2=1I2=")], aligned("ACGT", "4="), 4)[0] == ["AC G", "T"]


def test_an_insertion_of_the_truth_stands_within_a_window_and_is_lost_at_its_border():
    truth = aligned("AGCT", "1=1I2=")  # ACT with a G before the C
    assert labels_of("ACT", [aligned("ACT", "3=")], truth, 3) == ([""], [OVERFLOW])
    assert labels_of("ACT", [aligned("ACT", "3=")], truth, 4) == (["AGCT"], [KEPT])
    border = aligned("ACGT", "2=1I1=")  # a G between the windows AC and T
    assert labels_of("ACT", [aligned("ACT", "3=")], border, 2)[0] == ["AC", "T"]


def test_a_label_too_long_with_its_gaps_loses_them():
    #   CCS      A     C T    windows of 5 columns; the label A..CGT of the truth ACGT would be 6 long
    #   subread  A T T C T
    subread, truth = aligned("ATTCT", "1=2I2="), aligned("ACGT", "2=1I1=")
    assert labels_of("ACT", [subread], truth, 5) == (["ACGT"], [ADJUSTED])


def test_a_deletion_of_the_truth_is_a_gap():
    assert labels_of("ACGT", [aligned("ACGT", "4=")], aligned("AGT", "1=1D2="), 4)[0] == ["A GT"]


def test_windows_that_the_truth_does_not_cover_have_empty_labels():
    assert labels_of("ACGTAC", [aligned("ACGTAC", "6=")], aligned("GT", "2=", start=2), 2)[0] == ["", "GT", ""]


def test_the_first_column_alone_is_no_label():
    """A quirk of the original: a label that is the truth's very first column alone is lost."""
    assert labels_of("AC", [aligned("AC", "2=")], aligned("AC", "2="), 1)[0] == ["", "C"]


@pytest.mark.parametrize("clip", ["2S3=", "3=2S"])
def test_soft_clips_of_the_truth_are_left_out(clip):
    letters = "TTACG" if clip.startswith("2S") else "ACGTT"
    assert labels_of("ACG", [aligned("ACG", "3=")], aligned(letters, clip), 3)[0] == ["ACG"]
