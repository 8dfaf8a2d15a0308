from itertools import pairwise

import pytest

from genoformer.genome.tiling import Tile, tiles


def letters(found, num_bins):
    """Which tile, by letter, each bin is from."""
    assert all(0 <= tile.start <= tile.low < tile.high for tile in found)
    text = [None] * num_bins
    for name, (_, low, high) in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", found, strict=False):
        assert text[low:high] == [None] * (high - low)
        text[low:high] = name * (high - low)
    return "".join(text)


@pytest.mark.parametrize(
    ("num_bins", "target", "shared", "starts", "expected"),
    [
        (4, 4, 2, [0], "AAAA"),
        (5, 4, 2, [0, 1], "AABBB"),  # bins 1 to 3 are in both
        (7, 4, 2, [0, 1, 3], "AABBCCC"),
        (8, 4, 0, [0, 4], "AAAABBBB"),
        (9, 4, 0, [0, 2, 5], "AAABBCCCC"),
        (10, 4, 2, [0, 2, 4, 6], "AAABBCCDDD"),
        (3, 1, 0, [0, 1, 2], "ABC"),
        (6, 4, 3, [0, 1, 2], "AABCCC"),
    ],
)
def test_by_hand(num_bins, target, shared, starts, expected):
    found = tiles(num_bins, target, shared)
    assert [tile.start for tile in found] == starts
    assert letters(found, num_bins) == expected


def test_every_bin_once_from_a_window_that_has_it_and_enough_are_shared():
    for target in range(1, 8):
        for shared in range(target):
            for num_bins in range(target, 40):
                found = tiles(num_bins, target, shared)
                assert [bin_ for tile in found for bin_ in range(tile.low, tile.high)] == list(range(num_bins))
                assert all(tile.high <= tile.start + target and tile.start <= tile.low for tile in found)
                assert (found[0].start, found[-1].start + target) == (0, num_bins)
                for one, other in pairwise(found):
                    common = one.start + target - other.start
                    assert common >= shared
                    assert one.high - other.start in (common // 2, common - common // 2)


def test_the_fewest_windows():
    """Enformer over 1 Mb of 128 bp: 7813 bins; 896, and 784 more with each further window."""
    assert len(tiles(7813, 896, 112)) == 10
    assert tiles(896, 896, 112) == [Tile(0, 0, 896)]
