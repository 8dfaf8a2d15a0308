import numpy as np

from genoformer.genome.aligned_columns import AlignedColumns, base_codes

INSERTION, DELETION, EQUAL, DIFFERENT = 1, 2, 7, 8
KINETICS = np.array([[11, 12, 13, 14, 15], [1, 2, 3, 4, 5]])


def cigar(*runs):
    return np.array([length << 4 | op for length, op in runs], np.uint32)


def test_codes():
    assert base_codes(b"ACGTN-").tolist() == [0, 1, 2, 3, 5, 5]


def test_columns():
    """ACC-GT against AC-TGT, with gaps as aligned."""
    path = cigar((2, EQUAL), (1, DELETION), (1, INSERTION), (1, EQUAL), (1, EQUAL))
    one = AlignedColumns.of_alignment(path, b"ACCGT", b"ACTGT", KINETICS)
    assert one.template.tolist() == [0, 1, 1, 4, 2, 3]
    assert one.read.tolist() == [0, 1, 4, 3, 2, 3]
    assert one.kinetics.tolist() == [[11, 12, -1, 13, 14, 15], [1, 2, -1, 3, 4, 5]]
    assert one.sequence == b"ACTGT"
    assert one.base_kinetics.tolist() == KINETICS.tolist()


def test_a_reverse_read_has_its_gaps_to_the_left_as_sequenced():
    """G--AC against GTTAC is GT--C against GTAAC as sequenced; there, the gap moves before the A."""
    path = cigar((1, EQUAL), (1, DELETION), (3, EQUAL))
    one = AlignedColumns.of_reverse(path, b"GTTAC", b"GTAC", KINETICS[:, :4])
    assert one.template.tolist() == base_codes(b"GTAAC").tolist()
    assert one.read.tolist() == [2, 3, 4, 0, 1]
    assert one.kinetics.tolist() == [[14, 13, -1, 12, 11], [4, 3, -1, 2, 1]]


def test_without_kinetics():
    one = AlignedColumns.of_alignment(cigar((2, DIFFERENT)), b"AN", b"CG", None)
    assert one.template.tolist() == [0, 5]
    assert (one.kinetics == -1).all()
