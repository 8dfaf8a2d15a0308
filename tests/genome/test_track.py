"""Coverage to targets: by hand, and against what Baskerville made of the same coverage (hound_targets.json)."""

import json
from pathlib import Path

import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.genome.track import (
    Track,
    bin_coverage,
    bound_to_baseline,
    fill_missing,
    numbered_tracks,
    sense_tracks,
)

HOUND = json.loads((Path(__file__).parent / "hound_targets.json").read_text())
BIN_BP = 64
REGIONS = ((0, 1024), (1500, 2524))
GAPS = ((300, 420), (1000, 1024), (2040, 2100))
BLACKLIST = ((180, 280), (990, 1040), (1680, 1820))  # the original widens each by 20 bases


def track(**settings):
    return Track(**({
        "identifier": "a", "description": "DNASE:liver", "file": "a.bw", "sum_stat": "sum", "scale": 1.0,
        "clip_soft": None, "clip": None, "strand_pair": 0,
    } | settings))  # fmt: skip


def hound_coverage(name):
    places = np.arange(4096)
    coverage = (((places * 7919) % 97) ** 2 // 10 * ((places // 64) % 3)).astype(np.float32)
    if name == "gaps":
        for start, end in GAPS:
            coverage[start:end] = np.nan
    return coverage


@pytest.mark.parametrize("case", HOUND["cases"], ids=lambda case: json.dumps(case["settings"]))
def test_targets_are_those_of_baskerville(case):
    settings = dict(case["settings"])
    how = {name: settings.pop(name, default) for name, default in (("interpolate", False), ("as_borzoi", False))}
    is_blacklisted = np.zeros(4096, bool)
    for start, end in BLACKLIST if settings.pop("blacklist", False) else ():
        is_blacklisted[start:end] = True
    crop = settings.pop("crop_bp", 0)
    for (start, end), expected in zip(REGIONS, case["values"], strict=True):
        coverage = fill_missing(hound_coverage(case["coverage"])[start:end], interpolate=how["interpolate"])
        num_bins = (end - start - 2 * crop) // BIN_BP
        coverage = bound_to_baseline(coverage, is_blacklisted[start:end], num_bins)
        values = bin_coverage(
            coverage[crop : len(coverage) - crop], track(**settings), BIN_BP, as_borzoi=how["as_borzoi"]
        )
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values.astype(np.float16), np.array(expected, np.float16))


def bins(coverage, bin_bp=2, **settings):
    return bin_coverage(np.array(coverage, np.float32), track(**settings), bin_bp).tolist()


def test_by_hand():
    coverage = [1, 3, 0, 0, 10, 90]
    assert bins(coverage) == [4, 0, 100]
    assert bins(coverage, sum_stat="mean") == bins(coverage, sum_stat="avg") == [2, 0, 50]
    assert bins(coverage, sum_stat="max") == [3, 0, 90]
    assert bins([1, 3, 5, 0, 10, 90], 3, sum_stat="median") == [3, 10]
    assert bins(coverage, scale=0.5, clip=20) == [2, 0, 20]
    assert bins([-50, 0, 1, 1], clip=20) == [-20, 2]
    assert bins([4, 4, 0, 0, 10, 14], sum_stat="sum_sqrt") == [2, 0, 4]
    # 19 + sqrt(1 + 80) beyond the soft limit of 20, then the hard one.
    assert bins(coverage, clip_soft=20) == [4, 0, 28]
    assert bins(coverage, clip_soft=20, clip=27) == [4, 0, 27]


def test_large_coverage_does_not_overflow():
    assert bins([60_000.0, 70_000.0]) == [130_000]


def test_a_root_of_a_negative_number():
    assert bins([-0.5, -0.5, 8, 0], sum_stat="sum_sqrt") == [-1, 2]
    with pytest.raises(DataError, match="has a bin of -3, which has no root; give it another sum_stat"):
        bins([-1, -2, 1, 1], sum_stat="sum_sqrt")
    with pytest.raises(DataError, match="has a bin of -1, which has no root"):
        bin_coverage(np.array([-1, 0], np.float32), track(sum_stat="sum_sqrt"), 2, as_borzoi=True)


def test_missing_bases():
    nan = np.nan
    coverage = np.array([nan, 4, nan, nan, 10, nan], np.float32)
    assert fill_missing(coverage, interpolate=False).tolist() == [0, 4, 0, 0, 10, 0]
    assert fill_missing(coverage, interpolate=True).tolist() == [2, 4, 6, 8, 10, 5]
    assert fill_missing(np.full(3, nan, np.float32), interpolate=True).tolist() == [0, 0, 0]
    whole = np.array([1, 2], np.float32)
    assert fill_missing(whole, interpolate=True) is whole


def test_the_baseline_is_the_median_of_windows_of_eight_bins():
    coverage = np.array([9, 1, 2, 3, 4, 5, -9], np.float32)
    where = np.array([True, True, False, False, False, False, True])
    assert bound_to_baseline(coverage, where, 8).tolist() == [3, 1, 2, 3, 4, 5, -3]
    assert bound_to_baseline(coverage, where, 7).tolist() == [0, 0, 2, 3, 4, 5, 0]
    assert bound_to_baseline(coverage, np.zeros(7, bool), 7) is coverage


def test_the_assay():
    assert track().assay == "DNASE"
    assert (track(description="CAGE:a:b").assay, track(description="liver").assay) == ("CAGE", "")


def test_tracks_that_nothing_is_known_of():
    found = numbered_tracks({"human": 2, "fly": 1})
    assert {species: [t.identifier for t in tracks] for species, tracks in found.items()} == {
        "human": ["0", "1"], "fly": ["0"],
    }  # fmt: skip
    assert [t.strand_pair for t in found["human"]] == [0, 1]
    assert found["fly"][0].assay == ""


def test_tracks_of_the_strand_of_a_gene():
    """A pair, an unpaired track whose name ends like one's, a pair without strands, and a track alone."""
    names = (("a+", 1), ("a-", 0), ("CD4-", 2), ("x", 4), ("y", 3), ("z", 5))
    tracks = [track(identifier=name, strand_pair=pair) for name, pair in names]
    assert [one.strand for one in tracks] == ["+", "-", "-", "", "", ""]
    assert sense_tracks(tracks, "+") == [0, 0, 2, 3, 4, 5]
    assert sense_tracks(tracks, "-") == [1, 1, 2, 3, 4, 5]
