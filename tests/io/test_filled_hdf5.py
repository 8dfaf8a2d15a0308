import os
import shutil

import h5py
import numpy as np
import pytest

from genoformer.errors import OutputError
from genoformer.io.filled_hdf5 import FilledFile

SHAPES = {"one": (2, 3), "two": (4,)}


def describe(file):
    file.attrs["kind"] = "test"
    file["one"].attrs["unit"] = "m"
    file["more"] = np.arange(3)


def test_arrays_are_filled_in_any_order(tmp_path):
    file = FilledFile(tmp_path / "a.h5", SHAPES, describe)
    file.fill("two", 1, np.array([5.0, 6.0, 7.0]))
    file.fill("one", 2, np.array([[2.0, 3.0], [4.0, 5.0]]))
    file.fill("one", 0, np.array([0.0, 1.0]))
    file.fill("two", 0, np.array([4.0]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5.partial"]
    file.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["one"][:].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert found["two"][:].tolist() == [4, 5, 6, 7]
        assert found["one"].dtype == np.float32
        assert (found.attrs["kind"], found["one"].attrs["unit"]) == ("test", "m")
        assert found["more"][:].tolist() == [0, 1, 2]


def test_an_unfinished_file_is_filled_in_further(tmp_path):
    file = FilledFile(tmp_path / "a.h5", SHAPES, describe)
    file.fill("one", 0, np.arange(6.0))
    file.commit()
    file.abandon()
    again = FilledFile(tmp_path / "a.h5", SHAPES, describe, resume=True)
    again.fill("two", 0, np.arange(4.0))
    again.finish()
    with h5py.File(tmp_path / "a.h5") as found:
        assert (found["one"][:].sum(), found["two"][:].sum()) == (15, 6)


@pytest.mark.parametrize("shapes", [{"one": (3, 2), "two": (4,)}, {"one": (2, 3), "three": (4,)}])
def test_an_unfinished_file_with_other_arrays(tmp_path, shapes):
    FilledFile(tmp_path / "a.h5", SHAPES, describe).abandon()
    with pytest.raises(OutputError, match=r"a\.h5\.partial: is of another run; start without --resume"):
        FilledFile(tmp_path / "a.h5", shapes, describe, resume=True)


def test_no_file_to_go_on_with(tmp_path):
    with pytest.raises(OutputError, match=r"a\.h5\.partial: cannot be written: "):
        FilledFile(tmp_path / "a.h5", SHAPES, describe, resume=True)


def test_arrays_without_values(tmp_path):
    file = FilledFile(tmp_path / "a.h5", {"one": (0, 3)}, lambda file: None)
    file.finish()
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["one"].shape == (0, 3)


def test_a_discarded_file_is_gone(tmp_path):
    FilledFile(tmp_path / "a.h5", SHAPES, describe).discard()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 12))
    with pytest.raises(OutputError, match=r"needs 40 bytes, 12 are free; make room, or choose fewer --tracks"):
        FilledFile(tmp_path / "a.h5", SHAPES, describe)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    file = FilledFile(tmp_path / "a.h5", SHAPES, describe)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OutputError, match=r"a\.h5\.partial: cannot be written: No space left on device"):
        file.fill("one", 0, np.zeros(1))
    file.discard()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"a\.h5\.partial: cannot be written: No such file"):
        FilledFile(tmp_path / "missing" / "a.h5", SHAPES, describe)
