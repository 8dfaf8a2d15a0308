"""Stretches of a gene joined, by hand."""

from genoformer.genome.gene import joined
from genoformer.genome.interval import Interval


def intervals(*ends, chrom="chr1"):
    return tuple(Interval(chrom, start, end) for start, end in ends)


def test_stretches_that_overlap_or_touch_become_one():
    assert joined(intervals((30, 40), (0, 5), (5, 8), (6, 7), (35, 50))) == intervals((0, 8), (30, 50))


def test_one_base_apart_stays_apart():
    assert joined(intervals((0, 5), (6, 8))) == intervals((0, 5), (6, 8))


def test_one_within_another_does_not_shorten_it():
    assert joined(intervals((0, 50), (10, 20), (40, 60))) == intervals((0, 60))


def test_contigs_are_kept_apart():
    both = intervals((0, 5)) + intervals((3, 9), chrom="chr2")
    assert joined(both) == both
    assert joined([]) == ()
