"""Alleles in windows, worked by hand in letters.

The contig, with its positions from 0:

    A C G T A A C C G G T T A C G T
    0         5         10        15
"""

import numpy as np
import pytest

from genoformer.genome.alphabet import GENOME_LETTERS, genome_codes, reverse_complement_codes
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Variant, allele_codes, centred_window, grid_window

CONTIG = "ACGTAACCGGTTACGT"


def fetch(interval):
    letters = "".join(CONTIG[i] if 0 <= i < len(CONTIG) else "N" for i in range(interval.start, interval.end))
    return genome_codes(letters.encode())


def letters(codes):
    return np.frombuffer(GENOME_LETTERS + b"N", np.uint8)[codes].tobytes().decode()


def alleles(variant, length, centre="left", anchor="left"):
    """Window letters of REF and ALT."""
    window = centred_window(variant, length, centre)
    return letters(fetch(window)), letters(allele_codes(variant, window, fetch, anchor))


SNV = Variant("c", 6, "C", "T")
MNV = Variant("c", 6, "CC", "AT")
INSERTION = Variant("c", 6, "C", "CTTT")
DELETION = Variant("c", 6, "CCG", "C")
COMPLEX = Variant("c", 6, "CCG", "TA")


@pytest.mark.parametrize(
    ("variant", "centre", "ref", "alt"),
    [
        (SNV, "left", "TAACCGGT", "TAATCGGT"),  # index 3 of 8
        (SNV, "right", "GTAACCGG", "GTAATCGG"),  # index 4 of 8
        (MNV, "left", "TAACCGGT", "TAAATGGT"),
        (MNV, "right", "GTAACCGG", "GTAAATGG"),
        (INSERTION, "left", "TAACCGGT", "TAACTTTC"),
        (INSERTION, "right", "GTAACCGG", "GTAACTTT"),
        (DELETION, "left", "TAACCGGT", "TAACGTTA"),
        (DELETION, "right", "GTAACCGG", "GTAACGTT"),
        (COMPLEX, "left", "TAACCGGT", "TAATAGTT"),
        (COMPLEX, "right", "GTAACCGG", "GTAATAGT"),
    ],
)
def test_alleles_in_a_window_of_eight(variant, centre, ref, alt):
    assert alleles(variant, 8, centre) == (ref, alt)


@pytest.mark.parametrize(
    ("variant", "alt"),
    [
        (SNV, "TAATCGGT"),
        (MNV, "TAAATGGT"),
        (INSERTION, "CTTTCGGT"),  # C GGT stays, the three bases before are pushed out
        (DELETION, "CGTAACGT"),  # GT stays at the end, C and G come in at the start
        (COMPLEX, "GTAATAGT"),
    ],
)
def test_anchored_right_what_follows_stays_in_place(variant, alt):
    assert alleles(variant, 8, anchor="right")[1] == alt


def test_an_odd_window_has_one_middle():
    for centre in ("left", "right"):
        assert alleles(SNV, 7, centre) == ("TAACCGG", "TAATCGG")


@pytest.mark.parametrize(
    ("variant", "alt"),
    [(SNV, "ACCGATTA"), (MNV, "ACCATTTA"), (INSERTION, "GAAAGTTA"), (DELETION, "TAACGTTA")],
)
def test_on_the_other_strand(variant, alt):
    window = centred_window(variant, 8)
    assert letters(reverse_complement_codes(fetch(window))) == "ACCGGTTA"
    assert letters(reverse_complement_codes(allele_codes(variant, window, fetch))) == alt


@pytest.mark.parametrize(
    ("variant", "ref", "alt", "right"),
    [
        (Variant("c", 0, "A", "G"), "NNNACGTA", "NNNGCGTA", "NNNGCGTA"),
        (Variant("c", 0, "A", "AGG"), "NNNACGTA", "NNNAGGCG", "NAGGCGTA"),
        (Variant("c", 0, "AC", "A"), "NNNACGTA", "NNNAGTAA", "NNNNAGTA"),
        (Variant("c", 0, "AC", "GG"), "NNNACGTA", "NNNGGGTA", "NNNGGGTA"),
        (Variant("c", 15, "T", "A"), "ACGTNNNN", "ACGANNNN", "ACGANNNN"),
        (Variant("c", 15, "T", "TCC"), "ACGTNNNN", "ACGTCCNN", "GTCCNNNN"),
        (Variant("c", 14, "GT", "G"), "TACGTNNN", "TACGNNNN", "TTACGNNN"),
        (Variant("c", 14, "GT", "CA"), "TACGTNNN", "TACCANNN", "TACCANNN"),
    ],
)
def test_at_both_ends_of_the_contig(variant, ref, alt, right):
    assert alleles(variant, 8) == (ref, alt)
    assert alleles(variant, 8, anchor="right")[1] == right


def test_alleles_longer_than_the_window():
    long = Variant("c", 6, "C", "C" + "GATTACA" * 3)
    assert alleles(long, 8)[1] == "TAACGATT"
    assert alleles(long, 8, anchor="right")[1] == "TACACGGT"
    gone = Variant("c", 2, CONTIG[2:14], "G")  # up to position 13; the window is positions -1 to 6
    assert alleles(gone, 8)[1] == "NACGGTNN"
    window = centred_window(gone, 8)
    assert letters(allele_codes(gone, window, fetch, "right")) == "NNNNNNNN"  # what stays lies beyond the window


@pytest.mark.parametrize(("start", "window"), [(0, (-4, 8)), (3, (-4, 8)), (4, (0, 12)), (7, (0, 12)), (8, (4, 16))])
def test_windows_of_a_grid(start, window):
    assert grid_window(Variant("c", start, "A", "C"), 12, 4) == Interval("c", *window)


@pytest.mark.parametrize(
    ("ref", "alt", "kind", "is_indel"),
    [
        ("A", "C", "SNV", False),
        ("AC", "CA", "MNV", False),
        ("A", "AC", "insertion", True),
        ("AC", "A", "deletion", True),
    ],
)
def test_kinds(ref, alt, kind, is_indel):
    variant = Variant("c", 4, ref, alt, "rs1")
    assert (variant.kind, variant.is_indel) == (kind, is_indel)
    assert variant.flipped() == Variant("c", 4, alt, ref, "rs1")
    assert variant.end == 4 + len(ref)


def test_text():
    assert str(Variant("chr1", 14676, "G", "A")) == "chr1:14677:G>A"
    assert str(Variant("chr1", 0, "G", "A" * 30)) == f"chr1:1:G>{'A' * 17}..."
