import os
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, OutputError
from genoformer.io.examples import Examples, ExampleShard, ExampleWriter

CONFIG = ConsensusConfig(max_passes=2, window_length=4)


def some_rows(count, seed=0):
    """Random windows of a molecule in the model's rows: 2 passes of bases, PW, IP and strand, the CCS read, SN."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 13, 4), np.float32)
    rows[:, 0:2] = rng.integers(0, 5, (count, 2, 4))
    rows[:, 2:6] = rng.integers(0, 256, (count, 4, 4))
    rows[:, 6:8] = rng.integers(0, 3, (2, 1))
    rows[:, 8] = rng.integers(0, 5, (count, 4))
    rows[:, 9:] = rng.uniform(3, 20, (4, 1))
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
        one = shard.read([4])
    rows = np.concatenate([some_rows(3, seed=1), some_rows(2, seed=2)])
    np.testing.assert_array_equal(everything.rows(CONFIG, np.float32), rows)
    np.testing.assert_array_equal(everything.rows(CONFIG), np.trunc(rows))
    assert everything.molecule.tolist() == [0, 0, 0, 1, 1]
    assert everything.ccs_start.tolist() == [0, 4, 8, 0, 4]
    np.testing.assert_array_equal(one.rows(CONFIG, np.float32), rows[4:])


def test_the_quality_row(shard_path):
    with ExampleShard(shard_path) as shard:
        rows = shard.read([0]).rows(CONFIG.model_copy(update={"use_ccs_quality": True}))
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
        file.attrs["format_version"] = 2
    with pytest.raises(DataError, match=r"b.h5: is not a whole shard of examples"):
        ExampleShard(tmp_path / "b.h5")


@pytest.mark.parametrize("version", [1, 3])
def test_another_format(shard_path, version):
    with h5py.File(shard_path, "r+") as file:
        file.attrs["format_version"] = version
    with pytest.raises(DataError, match=f"has format version {version}; this genoformer reads version 2; make the ex"):
        ExampleShard(shard_path)


def replace(path, name, **how):
    """Puts another dataset in the place of one."""
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, **how)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("strand", {"shape": (1, 2), "dtype": "u1"}, r"dataset strand is uint8 \(1, 2\); expected uint8 \(2, 2\)"),
        ("sn", {"shape": (2, 4), "dtype": "u1"}, r"dataset sn is uint8 \(2, 4\); expected float32 \(2, 4\)"),
        ("ccs_start", {"shape": (5,), "dtype": "i4", "chunks": (1,)}, "dataset ccs_start is not contiguous"),
        ("molecule", {"data": np.int32([0, 1, 2, 1, 0])}, "windows of molecules that it does not name"),
        ("molecule", {"data": np.int32([0, 1, -1, 1, 0])}, "windows of molecules that it does not name"),
        ("windows", {"shape": (5, 9, 4), "dtype": "u1"}, "not stored as one gzip chunk a window"),
        ("windows", {"shape": (5, 9), "dtype": "u1"}, r"dataset windows is uint8 \(5, 9\); expected uint8 \(5, 9, 4\)"),
    ],
)
def test_arrays_that_do_not_fit_together(shard_path, name, how, message):
    replace(shard_path, name, **how)
    with pytest.raises(DataError, match=message):
        ExampleShard(shard_path)


def test_a_declared_size_that_the_file_does_not_have_is_not_allocated(shard_path):
    replace(shard_path, "ccs_start", shape=(1 << 40,), dtype="i4")
    replace(shard_path, "molecule", shape=(1 << 40,), dtype="i4")
    how = {"dtype": "u1", "chunks": (1, 9, 4), "compression": "gzip"}
    replace(shard_path, "windows", shape=(1 << 40, 9, 4), **how)
    with pytest.raises(DataError, match="dataset ccs_start is not contiguous"):
        ExampleShard(shard_path)


def test_windows_in_any_order_and_more_than_once(shard_path):
    with ExampleShard(shard_path) as shard:
        everything, some = shard.read(slice(None)), shard.read(np.array([3, 0, 3]))
    for name, array in vars(some).items():
        np.testing.assert_array_equal(array, getattr(everything, name)[[3, 0, 3]], name)


def test_hdf5_reads_the_windows_as_we_do(shard_path):
    with h5py.File(shard_path) as file, ExampleShard(shard_path) as shard:
        windows, examples = file["windows"][:], shard.read(slice(None))
    np.testing.assert_array_equal(windows[:, :7], examples.features)
    np.testing.assert_array_equal(windows[:, 7].astype(int) - 1, examples.ccs_quals)
    np.testing.assert_array_equal(windows[:, 8], examples.labels)


def test_windows_of_a_molecule_may_come_apart(tmp_path):
    writer = ExampleWriter(tmp_path / "a.h5", CONFIG, "train")
    for molecule, seed in (("m/1/ccs", 1), ("m/2/ccs", 2), ("m/1/ccs", 1)):
        writer.append(molecule, some_examples(2, seed))
    writer.finish()
    with ExampleShard(writer.path) as shard:
        assert shard.molecules == ["m/1/ccs", "m/2/ccs"]
        assert shard.read(slice(None)).molecule.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (b"\xff" * 8, r"window 1 cannot be read \(Error -3"),
        (zlib.compress(bytes(36))[:-1] + b"\0", r"window 1 cannot be read \(Error -3.*incorrect data check"),
        (zlib.compress(bytes(36))[:-1], "window 1 has not the 36 bytes that it should"),
        (zlib.compress(bytes(35)), "window 1 has not the 36 bytes that it should"),
        (zlib.compress(bytes(1 << 24)), "window 1 has not the 36 bytes that it should"),
    ],
)
def test_a_damaged_window(shard_path, chunk, message):
    with h5py.File(shard_path, "r+") as file:
        file["windows"].id.write_direct_chunk((1, 0, 0), chunk)
    with ExampleShard(shard_path) as shard:
        assert len(shard.read([0])) == 1
        with pytest.raises(DataError, match=message):
            shard.read([1])


def test_a_window_that_was_never_written(shard_path):
    with h5py.File(shard_path, "r+") as file:
        del file["windows"]
        file.create_dataset("windows", (5, 9, 4), "u1", chunks=(1, 9, 4), compression="gzip")
    with ExampleShard(shard_path) as shard, pytest.raises(DataError, match="window 2 cannot be read"):
        shard.read([2])


def test_a_full_disk(tmp_path):
    code = """if True:
        import resource, signal
        from genoformer.errors import OutputError
        from genoformer.io.examples import ExampleWriter
        from tests.io.test_examples import CONFIG, some_examples
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = ExampleWriter("a.h5", CONFIG, "train")
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
        try:
            for seed in range(100):
                writer.append(f"m/{seed}/ccs", some_examples(50, seed))
            writer.finish()
        except OutputError as error:
            writer.discard()
            print(error)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "a.h5.partial: cannot be written" in done.stdout, done.stderr
    assert (done.returncode, list(tmp_path.iterdir())) == (0, []), done.stderr
