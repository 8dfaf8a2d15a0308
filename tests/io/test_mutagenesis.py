import dataclasses

import h5py
import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.genome.track import named_track
from genoformer.io.mutagenesis import MutagenesisFile, MutagenesisLayout, MutagenesisWriter, MutatedStretch

STRETCHES = [
    MutatedStretch(Interval("chr1", 5, 8), "one", b"ACG"),
    MutatedStretch(Interval("chr2", -1, 2), "ü" * 200, b"NTN"),
]
LAYOUT = MutagenesisLayout(
    STRETCHES, ["sad_sum", "max"], {7: named_track("ENC7", "CAGE:liver", 7)}, {"shard": [1, 1]}, {"model": "m"}
)
VALUES = np.arange(48, dtype=np.float32).reshape(2, 6, 4, 1)  # [scores, bases, 4, T]


@pytest.fixture
def path(tmp_path):
    file = MutagenesisWriter(tmp_path / "a.h5", LAYOUT)
    file.write(2, VALUES[:, 2:])
    file.write(0, VALUES[:, :2])
    assert not (tmp_path / "a.h5").exists()
    file.finish()
    return tmp_path / "a.h5"


def test_content(path):
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["SAD"][:], VALUES[0].reshape(2, 3, 4, 1))
        np.testing.assert_array_equal(found["SAX"][:], VALUES[1].reshape(2, 3, 4, 1))
        assert found["SAX"].attrs["score"] == "max"
        assert found["seqs"].dtype == bool
        np.testing.assert_array_equal(found["seqs"][0], np.eye(4)[:3])
        assert found["seqs"][1].astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
        assert (found["chr"][:].tolist(), found["strand"][:].tolist()) == ([b"chr1", b"chr2"], [b"+", b"+"])
        assert (found["start"][:].tolist(), found["end"][:].tolist()) == ([5, -1], [8, 2])
        assert (found["target_index"][:].tolist(), found["target_ids"][0]) == ([7], b"ENC7")
        assert found["target_labels"][0] == b"CAGE:liver"
        assert len(found["name"][1]) == 255
        assert dict(found.attrs) == {
            "format_version": 1, "kind": "saturation mutagenesis", "model": "m", "identity": '{"shard": [1, 1]}',
            "scores": '["sad_sum", "max"]',
        }  # fmt: skip


def test_what_is_read_is_what_was_written(path, tmp_path):
    with MutagenesisFile(path) as file:
        assert file.layout.identity == {"shard": [1, 1]}
        assert [stretch.letters for stretch in file.layout.stretches] == [b"ACG", b"NTN"]
        np.testing.assert_array_equal(file.values(1, 1, 3), VALUES[:, 4:])
        assert [block.shape[1] for block in file.blocks(2)] == [2, 1, 2, 1]
        np.testing.assert_array_equal(np.concatenate(list(file.blocks(2)), axis=1), VALUES)
        again = MutagenesisWriter(tmp_path / "b.h5", file.layout)
    again.write(0, VALUES)
    again.finish()
    assert (tmp_path / "b.h5").read_bytes() == path.read_bytes()


def test_no_stretches(tmp_path):
    MutagenesisWriter(tmp_path / "a.h5", dataclasses.replace(LAYOUT, stretches=[])).finish()
    with MutagenesisFile(tmp_path / "a.h5") as file:
        assert (file.layout.stretches, file.layout.num_bases, list(file.blocks(9))) == ([], 0, [])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("end", np.array([8, 1]), "stretches of several lengths"),
        ("end", np.array([9, 3]), r"dataset seqs is bool \(2, 3, 4\); expected bool \(2, 4, 4\)"),
        ("name", np.array([b"one"]), "without names"),
        ("SAX", np.zeros((2, 3, 4, 1)), r"dataset SAX is float64"),
        ("target_ids", np.array([b"a", b"b"]), "is not a whole shard of saturation mutagenesis"),
    ],
)
def test_arrays_that_do_not_fit(path, name, value, text):
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(DataError, match=text):
        MutagenesisFile(path)


def test_a_file_of_something_else(path):
    with h5py.File(path, "r+") as file:
        file.attrs["kind"] = "predictions"
    with pytest.raises(DataError, match="is a shard of predictions; expected one of 'genoformer variants ism'"):
        MutagenesisFile(path)


def test_a_file_that_is_cut_off(path):
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="is not a whole shard of saturation mutagenesis"):
        MutagenesisFile(path)
