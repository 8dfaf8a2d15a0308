import itertools

import numpy as np
import pytest

from genoformer.errors import UsageError
from genoformer.genome.interval import Interval, find_contig, overlaps_between, parse_interval, renamed_contig


@pytest.mark.parametrize(
    ("length", "expected"),
    [(4, (10, 14)), (8, (8, 16)), (2, (11, 13)), (5, (10, 15)), (7, (9, 16)), (0, (12, 12)), (40, (-8, 32))],
)
def test_the_centre_stays(length, expected):
    resized = Interval("chr1", 10, 14).resized(length)
    assert (resized.start, resized.end, resized.length) == (*expected, length)


def test_as_a_browser_writes_it():
    assert str(Interval("chr2", 99, 200)) == "chr2:100-200"


@pytest.mark.parametrize(
    ("other", "expected"),
    [(("a", 9, 11), True), (("a", 19, 30), True), (("a", 20, 30), False), (("a", 0, 10), False), (("b", 9, 30), False)],
)
def test_overlap_is_a_shared_base(other, expected):
    one, other = Interval("a", 10, 20), Interval(*other)
    assert (one.overlaps(other), other.overlaps(one)) == (expected, expected)


def test_contigs_with_and_without_chr():
    assert [renamed_contig(name) for name in ("chr8", "8", "chr")] == ["8", "chr8", ""]
    assert find_contig("8", ["chr7", "chr8"]) == "chr8"
    assert find_contig("chr8", ["7", "8"]) == "8"
    assert find_contig("8", ["chr8", "8"]) == "8"
    assert find_contig("9", ["chr8", "8"]) is None


def test_every_interval_that_starts_inside_one_of_another_group_is_found():
    rng = np.random.default_rng(4)
    groups = {
        name: [Interval(f"c{rng.integers(3)}", start, start + int(rng.integers(1, 60))) for start in starts]
        for name, starts in zip("xyz", rng.integers(0, 2000, (3, 40)).tolist(), strict=True)
    }
    everything = [(interval, name) for name, intervals in groups.items() for interval in intervals]
    expected = {
        max(one, other)
        for one, other in itertools.combinations(everything, 2)
        if one[1] != other[1] and one[0].overlaps(other[0])
    }
    found = list(overlaps_between(groups))
    assert {(later, group) for _, _, group, later in found} == expected
    assert len(expected) > 10
    for other, earlier, group, later in found:
        assert other != group
        assert earlier.overlaps(later)
        assert (earlier in groups[other], later in groups[group]) == (True, True)


def test_groups_apart():
    assert list(overlaps_between({"a": [Interval("c", 0, 5), Interval("c", 3, 9)], "b": [Interval("c", 9, 12)]})) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr8:11,500,000-11,600,000", Interval("chr8", 11_499_999, 11_600_000)),
        ("1:1-1", Interval("1", 0, 1)),
        ("HLA-A*01:01:5-9", Interval("HLA-A*01:01", 4, 9)),
    ],
)
def test_written_regions(text, expected):
    assert parse_interval(text) == expected
    assert parse_interval(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["chr8", "chr8:5", "chr8:0-5", "chr8:6-5", "chr8:a-b", ":1-2", "chr8:,1-2", "chr8:1-2 "]
)
def test_what_is_no_region(text):
    with pytest.raises(
        UsageError, match=r"; expected chrom:first-last, 1-based, for instance chr8:11,500,000-11,600,000"
    ):
        parse_interval(text)
