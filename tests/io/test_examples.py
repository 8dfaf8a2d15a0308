import h5py
import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, OutputError
from genoformer.io.examples import Examples, ExampleShard, ExampleWriter

CONFIG = ConsensusConfig(max_passes=2, window_length=4)


def some_rows(count, seed=0):
    """Random windows in the model's row layout: 2 passes of bases, PW, IP and strand, the CCS read, SN."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 13, 4), np.float32)
    rows[:, 0:2] = rng.integers(0, 5, (count, 2, 4))
    rows[:, 2:6] = rng.integers(0, 256, (count, 4, 4))
    rows[:, 6:8] = rng.integers(0, 3, (count, 2, 1))
    rows[:, 8] = rng.integers(0, 5, (count, 4))
    rows[:, 9:] = rng.uniform(3, 20, (count, 4, 1))
    return rows


def some_examples(count, seed=0):
    return Examples.from_rows(
        some_rows(count, seed), CONFIG,
        ccs_quals=np.tile([-1, 0, 40, 93], (count, 1)), labels=np.tile([1, 0, 4, 0], (count, 1)),
        ccs_start=np.arange(count) * 4, num_passes=np.full(count, 2), molecule=np.zeros(count),
    )  # fmt: skip


@pytest.fixture
def shard_path(tmp_path):
    writer = ExampleWriter(tmp_path / "train-00001-of-00001.h5", CONFIG, "train")
    writer.append("m/1/ccs", some_examples(3, seed=1))
    writer.append("m/2/ccs", some_examples(2, seed=2))
    writer.finish()
    return writer.path


def test_what_is_written_is_read_back(shard_path):
    with ExampleShard(shard_path) as shard:
        assert (len(shard), shard.split, shard.molecules) == (5, "train", ["m/1/ccs", "m/2/ccs"])
        everything = shard.read(slice(None))
        one = shard.read(4)
    rows = np.concatenate([some_rows(3, seed=1), some_rows(2, seed=2)])
    np.testing.assert_array_equal(everything.rows(CONFIG, np.float32), rows)
    np.testing.assert_array_equal(everything.rows(CONFIG), np.trunc(rows))
    assert everything.molecule.tolist() == [0, 0, 0, 1, 1]
    assert everything.ccs_start.tolist() == [0, 4, 8, 0, 4]
    np.testing.assert_array_equal(one.rows(CONFIG, np.float32), rows[4:])


def test_the_quality_row(shard_path):
    with ExampleShard(shard_path) as shard:
        rows = shard.read(0).rows(CONFIG.model_copy(update={"use_ccs_quality": True}))
    assert rows.shape == (1, 14, 4)
    assert rows[0, 9].tolist() == [-1, 0, 40, 93]


def test_no_file_before_it_is_finished(tmp_path):
    writer = ExampleWriter(tmp_path / "eval.h5", CONFIG, "eval")
    writer.append("m/1/ccs", some_examples(1))
    assert not (tmp_path / "eval.h5").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_shard(tmp_path):
    ExampleWriter(tmp_path / "test.h5", CONFIG, "test").finish()
    with ExampleShard(tmp_path / "test.h5") as shard:
        assert len(shard) == 0


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"none/a.h5.partial: cannot be written"):
        ExampleWriter(tmp_path / "none" / "a.h5", CONFIG, "train")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"a.h5: is not a whole shard of examples"):
        ExampleShard(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(DataError, match=r"b.h5: is not a whole shard of examples"):
        ExampleShard(tmp_path / "b.h5")


def test_a_later_format(shard_path):
    with h5py.File(shard_path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(DataError, match="has format version 2; this genoformer reads version 1"):
        ExampleShard(shard_path)


def test_shapes_that_do_not_fit_together(shard_path):
    with h5py.File(shard_path, "r+") as file:
        file["strand"].resize(4, axis=0)
    with pytest.raises(DataError, match=r"dataset strand has shape \(4, 2\); expected \(5, 2\)"):
        ExampleShard(shard_path)


def test_a_damaged_window(shard_path):
    content = bytearray(shard_path.read_bytes())
    with h5py.File(shard_path, "r") as file:
        offset = file["windows"].id.get_chunk_info_by_coord((1, 0, 0)).byte_offset
    content[offset : offset + 8] = b"\xff" * 8
    shard_path.write_bytes(content)
    with ExampleShard(shard_path) as shard:
        assert len(shard.read(0)) == 1
        with pytest.raises(DataError, match="window 1 cannot be read"):
            shard.read(1)
