import pytest

from genoformer.genome.interval import Interval
from genoformer.io.regions import Region
from genoformer.workflows.prediction_plan import Window, shard_of, stretch_of, tiles_of, windows_of
from tests.expression_reference import TINY  # windows of 12 bins of 8 bp; the model predicts bins 2 to 8


def stretches_of(*regions):
    return [stretch_of(Region(Interval("chr1", start, end), None, 1), TINY) for start, end in regions]


@pytest.mark.parametrize(
    ("region", "bins"),
    [
        ((100, 101), (73, 129)),  # 27 bases before it, 28 after it
        ((100, 156), (100, 156)),
        ((100, 157), (97, 161)),  # 8 bins: 3 bases before it, 4 after it
        ((0, 1), (-27, 29)),
    ],
)
def test_bins_of_a_region(region, bins):
    [stretch] = stretches_of(region)
    assert (stretch.bins.start, stretch.bins.end) == bins


def test_windows_follow_one_another():
    stretches = stretches_of((100, 156), (200, 264))
    windows = windows_of(stretches, [tiles_of(stretch, TINY, 6) for stretch in stretches], TINY)
    assert windows == [
        Window(Interval("chr1", 84, 180), 0, 7, 0),
        Window(Interval("chr1", 184, 280), 0, 4, 7),  # bins 0 to 7 from two windows, cut at bin 4
        Window(Interval("chr1", 192, 288), 3, 7, 11),
    ]


@pytest.mark.parametrize(
    ("counts", "num_shards", "expected"),
    [
        ([1, 1, 1, 1], 2, [[0, 1], [2, 3]]),
        ([5, 1, 1, 1], 2, [[0], [1, 2, 3]]),
        ([1, 1], 3, [[0], [1], []]),
        ([9], 2, [[0], []]),
        ([1, 2, 3, 4], 1, [[0, 1, 2, 3]]),
    ],
)
def test_shards_have_about_as_many_windows(counts, num_shards, expected):
    found = [list(range(len(counts)))[shard_of(counts, (i, num_shards))] for i in range(1, num_shards + 1)]
    assert found == expected
