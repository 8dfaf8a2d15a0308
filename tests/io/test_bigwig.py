import math

import numpy as np
import pyBigWig
import pytest

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.io.bigwig import BigWig
from tests.bigwig_builder import write_bigwig, write_entries


def test_values_and_gaps(tmp_path):
    nan = np.nan
    contigs = {"chr1": np.array([nan, 1, 1, 2.5, nan, nan, -4, 1e30]), "chr2": np.array([3.0, 3.0])}
    with BigWig(write_bigwig(tmp_path / "a.bw", contigs)) as track:
        assert track.lengths == {"chr1": 8, "chr2": 2}
        for start in range(8):
            for end in range(start + 1, 9):
                found = track.values(Interval("chr1", start, end))
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, contigs["chr1"][start:end].astype(np.float32))
        assert track.values(Interval("chr2", 0, 2)).tolist() == [3, 3]
        assert np.isnan(track.values(Interval("chr9", 5, 8))).tolist() == [True] * 3


@pytest.mark.parametrize("name", ["tangermeme/test.bw", "tangermeme/test2.bw", "grelu/test.bw"])
def test_real_files(shared_data, name):
    path = shared_data / "expression" / name
    original = pyBigWig.open(str(path))
    with BigWig(path) as track:
        assert track.lengths == original.chroms()
        for chrom, length in track.lengths.items():
            found = track.values(Interval(chrom, 0, length))
            np.testing.assert_array_equal(found, np.array(original.values(chrom, 0, length), np.float32))


def test_a_file_without_data(tmp_path):
    with BigWig(write_entries(tmp_path / "a.bw", {"chr1": 100}, [])) as track:
        assert np.isnan(track.values(Interval("chr1", 3, 7))).tolist() == [True] * 4


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_values_that_are_no_numbers(tmp_path, value, shown):
    entries = [("chr1", 0, 10, 1), ("chr1", 20, 30, value), ("chr1", 30, 40, 2)]
    with BigWig(write_entries(tmp_path / "a.bw", {"chr1": 100}, entries)) as track:
        assert track.values(Interval("chr1", 5, 20))[:6].tolist()[:5] == [1] * 5
        for start, at in ((0, 21), (25, 26)):
            with pytest.raises(
                DataError, match=f"a.bw: has the value {shown} at chr1:{at}; expected numbers; make the"
            ):
                track.values(Interval("chr1", start, 40))
        assert track.values(Interval("chr1", 30, 32)).tolist() == [2, 2]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.5, 0.7, 0.9])
def test_a_file_that_is_cut_off(tmp_path, share):
    path = write_bigwig(tmp_path / "a.bw", {"chr1": np.random.default_rng(0).integers(0, 9, 50_000).astype(float)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"a.bw: is cut off after {len(path.read_bytes())} bytes; copy the file again"):
        BigWig(path)


def test_damaged_data(tmp_path):
    path = write_bigwig(tmp_path / "a.bw", {"chr1": np.random.default_rng(0).integers(0, 9, 50_000).astype(float)})
    content = bytearray(path.read_bytes())
    content[2000:2100] = b"\xff" * 100
    path.write_bytes(content)
    with BigWig(path) as track, pytest.raises(DataError, match=r"a.bw: chr1:1-50000 cannot be read \(.*is damaged"):
        track.values(Interval("chr1", 0, 50_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b''; expected a bigWig file"),
        (b"track type=bedGraph\n", "starts with b'track ty'; expected a bigWig file"),
        (b"\x89HDF\r\n\x1a\n" * 20, r"starts with .*; expected a bigWig file"),
        (b"\x26\xfc\x8f\x88", "is cut off after 4 bytes"),
        (b"\x26\xfc\x8f\x88" + b"\xff" * 100, "is cut off after 104 bytes"),
    ],
)
def test_other_files(tmp_path, content, message):
    (tmp_path / "a.bw").write_bytes(content)
    with pytest.raises(DataError, match=f"a.bw: {message}"):
        BigWig(tmp_path / "a.bw")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.bw: cannot be read: No such file"):
        BigWig(tmp_path / "none.bw")
