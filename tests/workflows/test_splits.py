from pathlib import Path

import pytest

from genoformer.errors import DataError, UsageError
from genoformer.genome.interval import Interval
from genoformer.io.regions import Region
from genoformer.workflows.splits import assign_splits, count_overlaps

BED = Path("regions.bed")


def regions(*names_and_chroms):
    return [
        Region(Interval(chrom, 0, 10), name, line) for line, (name, chrom) in enumerate(names_and_chroms, 1)
    ]  # fmt: skip


FOLDS = regions(("fold0", "chr1"), ("fold3", "chr1"), ("fold4", "chr8"), ("fold0", "chr9"))


@pytest.mark.parametrize(
    ("valid", "test", "expected"),
    [
        ((), (), ["fold0", "fold3", "fold4", "fold0"]),
        (("fold3",), ("fold4",), ["train", "valid", "test", "train"]),
        (("fold3", "fold4"), (), ["train", "valid", "valid", "train"]),
        (("chr8",), ("chr9",), ["train", "train", "valid", "test"]),
    ],
)
def test_splits_by_fold_or_chromosome(valid, test, expected):
    assert assign_splits(FOLDS, BED, valid, test) == expected


def test_peaks_are_split_by_chromosome():
    peaks = regions(*((f"peak {number}", f"chr{number % 3}") for number in range(200)))
    splits = assign_splits(peaks, BED, ["chr1"], ["chr2"])
    assert splits[:4] == ["train", "valid", "test", "train"]


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [
        (("fold9",), (), "'fold9' is neither in column 4 of regions.bed nor one of its chromosomes"),
        (("fold3",), ("fold3",), "'fold3' is given for both --valid and --test"),
    ],
)
def test_names_that_cannot_be(valid, test, message):
    with pytest.raises(UsageError, match=message):
        assign_splits(FOLDS, BED, valid, test)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            regions(("train", "c"), (None, "c")),
            "regions.bed line 2: column 4 is None; expected a split such as train, va",
        ),
        (regions(("../x", "c")), r"regions.bed line 1: column 4 is '../x'; expected a split"),
        (regions(*((f"peak{i}", "c") for i in range(101))), "regions.bed: column 4 has 101 names, too many for splits"),
    ],
)
def test_a_fourth_column_that_is_no_split(given, message):
    with pytest.raises(DataError, match=message):
        assign_splits(given, BED, (), ())


BINS = [Interval("a", 0, 10), Interval("a", 20, 30), Interval("a", 34, 44), Interval("b", 25, 35)]
LINES = [f"x.bed line {line}" for line in (1, 2, 3, 4)]


def test_sequences_may_overlap_and_are_counted():
    splits = ["train", "train", "valid", "test"]
    assert count_overlaps(BINS, splits, 10, LINES) == 0
    assert count_overlaps(BINS, splits, 16, LINES) == 1
    assert count_overlaps(BINS, ["train"] * 4, 100, LINES) == 0


def test_bins_of_two_splits_must_not_overlap():
    bins = [*BINS, Interval("a", 29, 39)]
    lines = [*LINES, "x.bed line 5"]
    assert count_overlaps(bins, ["train"] * 5, 10, lines) == 0
    message = (
        r"x.bed line 5: a:30-39 of split test overlaps a:21-30 of split train, x.bed line 2; leave out one of them"
    )
    with pytest.raises(DataError, match=message):
        count_overlaps(bins, ["train", "train", "test", "train", "test"], 10, lines)
