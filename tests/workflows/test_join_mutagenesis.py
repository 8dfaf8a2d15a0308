"""Shards that cannot be joined; those that can are in test_ism."""

import dataclasses

import h5py
import numpy as np
import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.io.mutagenesis import MutagenesisFile, MutagenesisWriter
from genoformer.io.reads import read_json
from genoformer.workflows import join_mutagenesis as join_module
from genoformer.workflows.join_mutagenesis import is_mutagenesis, join_mutagenesis
from genoformer.workflows.output import journal_path
from tests.io.test_mutagenesis import LAYOUT, STRETCHES, VALUES


@pytest.fixture
def write(tmp_path):
    def write_shard(name, index, count, stretches=STRETCHES, **identity):
        identity = {"version": "0.1.0", "region": None, **identity, "shard": [index, count]}
        writer = MutagenesisWriter(tmp_path / name, dataclasses.replace(LAYOUT, stretches=stretches, identity=identity))
        writer.write(0, VALUES[:, : 3 * len(stretches)] + index)
        writer.finish()
        return str(tmp_path / name)

    return write_shard


def test_joined_stretches_stand_in_order(write, tmp_path):
    shards = [write("b.h5", 2, 2, STRETCHES[1:]), write("a.h5", 1, 2)]
    summary = join_mutagenesis(shards, tmp_path / "all.h5")
    assert summary["counts"] == {"stretches": 3, "bases": 9, "tracks": 1}
    assert summary["identity"] == {"version": "0.1.0", "region": None, "shard": [1, 1]}
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["start"][:].tolist() == [5, -1, -1]
        np.testing.assert_array_equal(file["SAD"][:2].reshape(6, 4, 1), VALUES[0] + 1)
        np.testing.assert_array_equal(file["SAX"][2], VALUES[1, :3] + 2)


def test_which_files_are_of_ism(write, tmp_path):
    assert is_mutagenesis(write("a.h5", 1, 1))
    assert not is_mutagenesis("scores.tsv")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["kind"] = "variant scores"
    assert not is_mutagenesis(str(tmp_path / "other.h5"))
    with pytest.raises(DataError, match=r"absent\.h5: is not a whole HDF5 file"):
        is_mutagenesis(str(tmp_path / "absent.h5"))


def test_shards_that_do_not_belong_together(write, tmp_path):
    one, two, output = write("1.h5", 1, 2), write("2.h5", 2, 2), tmp_path / "all.h5"
    with pytest.raises(OutputError, match=r"shard 2 of 2 is missing \(1 in all\)"):
        join_mutagenesis([one], output)
    with pytest.raises(OutputError, match=r"1\.h5: is there twice; name each shard once"):
        join_mutagenesis([one, one], output)
    with pytest.raises(OutputError, match=r"is not of the same run as .*1\.h5: rc: True there, None here"):
        join_mutagenesis([one, write("other.h5", 2, 2, rc=True)], output)
    with pytest.raises(OutputError, match=r"again\.h5: is shard 1/2, as .*1\.h5 is; name each shard once"):
        join_mutagenesis([one, write("again.h5", 1, 2)], output)
    with pytest.raises(UsageError, match="an output is one of the shards"):
        join_mutagenesis([one, two], tmp_path / "1.h5")
    with pytest.raises(UsageError, match=r"saturation mutagenesis goes into one \.h5 file"):
        join_mutagenesis([one, two], tmp_path / "all.tsv")
    (tmp_path / "2.h5.partial").touch()
    with pytest.raises(OutputError, match=r"2\.h5\.partial: a later run of this shard is not finished"):
        join_mutagenesis([one, two], output)
    with pytest.raises(DataError, match=r"absent\.h5: is not a whole shard of saturation mutagenesis"):
        join_mutagenesis([one, str(tmp_path / "absent.h5")], output)
    assert not output.exists()


def test_a_join_goes_on_where_one_ended(write, tmp_path, monkeypatch):
    """In blocks of two bases, the third of which cannot be read the first time."""
    shards, output = [write("1.h5", 1, 2), write("2.h5", 2, 2)], tmp_path / "all.h5"
    summary = join_mutagenesis(shards, output)
    whole = output.read_bytes()
    output.unlink()
    original = MutagenesisFile.values

    def damaged(self, index, start, end):
        if index == 1:
            raise DataError("damaged")
        return original(self, index, start, end)

    monkeypatch.setattr(join_module, "_BASES_AT_ONCE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(MutagenesisFile, "values", damaged)
        with pytest.raises(DataError, match="damaged"):
            join_mutagenesis(shards, output)
    assert read_json(journal_path(output))["num_done"] == 3
    written, write_bases = [], MutagenesisWriter.write

    def noted(self, first, values):
        written.append(first)
        write_bases(self, first, values)

    monkeypatch.setattr(MutagenesisWriter, "write", noted)
    assert join_mutagenesis(shards, output, resume=True) == summary
    assert (output.read_bytes(), written) == (whole, [3, 5, 6, 8, 9, 11])
    assert join_mutagenesis(shards, output, resume=True) == summary
    assert len(written) == 6


def test_a_damaged_shard_leaves_no_output(write, tmp_path, monkeypatch):
    one, two = write("1.h5", 1, 2), write("2.h5", 2, 2)

    def damaged(self, num_bases):
        raise DataError(f"{self.path}: is damaged")

    monkeypatch.setattr("genoformer.io.mutagenesis.MutagenesisFile.blocks", damaged)
    with pytest.raises(DataError, match=r"1\.h5: is damaged"):
        join_mutagenesis([one, two], tmp_path / "all.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.h5", "2.h5"]
