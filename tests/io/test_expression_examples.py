import dataclasses
import zlib

import h5py
import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.examples import ExampleShard, ExampleWriter
from genoformer.io.expression_examples import ExpressionShard, ExpressionWriter, WindowShape, pack_example

SHAPE = WindowShape(sequence_bp=20, bin_bp=4, num_bins=3)
TRACKS = [
    Track("a+", "CAGE:ä liver", "/x/a+.bw", "sum_sqrt", 1.0, 64.0, 384.0, 1),
    Track("a-", "CAGE:ä liver", "/x/a-.bw", "sum_sqrt", 0.3, 64.0, 384.0, 0),
    Track("d", "", "/x/d.bw", "mean", 2.0, None, 32.0, 2),
]
BINS = [Interval("chr2", 4, 16), Interval("chr1", 1 << 33, (1 << 33) + 12), Interval("chr2", -4, 8)]


def some_arrays(index):
    rng = np.random.default_rng(index)
    return rng.integers(0, 5, 20, np.uint8), rng.random((3, 3), np.float32)


def write(path, dtype="float32", bins=BINS):
    writer = ExpressionWriter(path, SHAPE, TRACKS, dtype=dtype, transform="baskerville", split="train")
    for index, where in enumerate(bins):
        writer.append(pack_example(where, *some_arrays(index), dtype))
    assert len(writer) == len(bins)
    writer.finish()
    return writer.path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "train-00001-of-00001.h5")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read_back(tmp_path, dtype):
    with ExpressionShard(write(tmp_path / "a.h5", dtype)) as shard:
        assert (len(shard), shard.shape, shard.split, shard.transform) == (3, SHAPE, "train", "baskerville")
        assert shard.tracks == [dataclasses.replace(track, file="") for track in TRACKS]
        sums = np.zeros(3)
        for index in (2, 0, 1):
            codes, targets = shard.read(index)
            expected_codes, expected = some_arrays(index)
            np.testing.assert_array_equal(codes, expected_codes)
            np.testing.assert_array_equal(targets, expected.astype(dtype))
            assert targets.dtype == dtype
            assert shard.bins(index) == BINS[index]
            sums += expected.astype(dtype).astype(float).sum(axis=1)
        np.testing.assert_allclose(shard.track_sums, sums, rtol=1e-14)


def test_hdf5_reads_them_as_we_do(path):
    with h5py.File(path) as file:
        for index in range(3):
            codes, targets = some_arrays(index)
            np.testing.assert_array_equal(file["sequences"][index], codes)
            np.testing.assert_array_equal(file["targets"][index], targets)


def test_the_same_bytes(path, tmp_path):
    assert path.read_bytes() == write(tmp_path / "again.h5").read_bytes()


def test_large_values_stay_finite_in_float16():
    targets = np.array([[1e6, -1e6, 65_504, 70_000]])
    packed = pack_example(BINS[0], np.zeros(20, np.uint8), targets, "float16")
    assert packed.num_bounded == 3
    assert np.frombuffer(zlib.decompress(packed.targets), np.float16).tolist() == [65_504, -65_504, 65_504, 65_504]
    assert packed.sums.tolist() == [65_504 * 2]
    packed = pack_example(BINS[0], np.zeros(20, np.uint8), targets, "float32")
    assert packed.num_bounded == 0
    assert np.frombuffer(zlib.decompress(packed.targets), np.float32).tolist() == targets[0].tolist()


def test_an_empty_shard(tmp_path):
    with ExpressionShard(write(tmp_path / "a.h5", bins=[])) as shard:
        assert (len(shard), shard.track_sums.tolist(), len(shard.tracks)) == (0, [0, 0, 0], 3)


def test_nothing_is_left_of_what_is_discarded(tmp_path):
    writer = ExpressionWriter(tmp_path / "a.h5", SHAPE, TRACKS, dtype="float16", transform="", split="train")
    assert not (tmp_path / "a.h5").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_consensus_examples_are_refused(tmp_path):
    ExampleWriter(tmp_path / "a.h5", ConsensusConfig(), "train").finish()
    with pytest.raises(
        DataError, match=r"a.h5: is a shard of consensus examples; expected one of 'genoformer expressi"
    ):
        ExpressionShard(tmp_path / "a.h5")


def test_expression_examples_are_refused_by_the_consensus_side(path):
    with pytest.raises(DataError, match="is a shard of expression examples; expected one of 'genoformer consensus ex"):
        ExampleShard(path)


def change(path, **attributes):
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kind": "variants"}, "is a shard of variants; expected one of 'genoformer expression examples'"),
        ({"format_version": 2}, "has format version 2; this genoformer reads version 1; make the examples again"),
        ({"bin_bp": 0}, "is not a whole shard of examples"),
        ({"num_bins": 6}, "is not a whole shard of examples"),
        ({"dtype": "float64"}, "is not a whole shard of examples"),
        ({"num_bins": 2}, r"dataset targets is float32 \(3, 3, 3\); expected float32 \(3, 3, 2\)"),
        ({"sequence_bp": 24}, r"dataset sequences is uint8 \(3, 20\); expected uint8 \(3, 24\)"),
        ({"dtype": "float16"}, r"dataset targets is float32 \(3, 3, 3\); expected float16 \(3, 3, 3\)"),
    ],
)
def test_attributes_that_do_not_fit(path, attributes, message):
    change(path, **attributes)
    with pytest.raises(DataError, match=f"00001.h5: {message}"):
        ExpressionShard(path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("chrom", np.int32([0, 2, 0]), "has windows of contigs that it does not name"),
        ("chrom", np.int32([0, -1, 0]), "has windows of contigs that it does not name"),
        ("strand_pair", np.int32([1, 2, 0]), "has strand pairs that are none"),
        ("strand_pair", np.int32([3, 0, 2]), "has strand pairs that are none"),
        ("identifier", np.array([b"a"]), r"dataset identifier is \|S1 \(1,\); expected"),
    ],
)
def test_arrays_that_do_not_fit(path, name, values, message):
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values
    with pytest.raises(DataError, match=f"00001.h5: {message}"):
        ExpressionShard(path)


def test_a_letter_code_that_is_none(path):
    with h5py.File(path, "r+") as file:
        file["sequences"].id.write_direct_chunk((1, 0), zlib.compress(bytes([9] * 20)))
    with (
        ExpressionShard(path) as shard,
        pytest.raises(DataError, match="window 1 has the letter code 9; make it again"),
    ):
        shard.read(1)
