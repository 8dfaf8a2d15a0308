import shutil

import h5py
import numpy as np
import pytest

from genoformer.errors import OutputError
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.mutagenesis import MutagenesisWriter, MutatedStretch

STRETCHES = [MutatedStretch(Interval("chr1", 5, 8), "one"), MutatedStretch(Interval("chr2", -1, 2), "ü" * 200)]
TRACKS = {7: Track("ENC7", "CAGE:liver", "", "sum", 1.0, None, None, 7)}


def writer(path):
    return MutagenesisWriter(path, STRETCHES, ["sad_sum", "max"], TRACKS, {"model": "m"})


def test_content(tmp_path):
    file = writer(tmp_path / "a.h5")
    file.write_sequence(1, np.eye(4)[:3])
    file.write(1, 2, 3, np.array([[0.5], [2]]))
    assert not (tmp_path / "a.h5").exists()
    file.finish()
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["SAD"].shape == found["SAX"].shape == (2, 3, 4, 1)
        assert (found["SAD"][1, 2, 3, 0], found["SAX"][1, 2, 3, 0], found["SAD"][:].sum()) == (0.5, 2, 0.5)
        assert found["seqs"].dtype == bool
        np.testing.assert_array_equal(found["seqs"][:], [np.zeros((3, 4)), np.eye(4)[:3]])
        assert found["chr"][:].tolist() == [b"chr1", b"chr2"]
        assert (found["start"][:].tolist(), found["end"][:].tolist()) == ([5, -1], [8, 2])
        assert found["target_index"][:].tolist() == [7]
        assert len(found["name"][1]) == 255
        assert dict(found.attrs) == {"format_version": 1, "kind": "saturation mutagenesis", "model": "m"}


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 100))
    with pytest.raises(OutputError, match=r"needs 192 bytes, 100 are free; choose fewer --tracks or bases"):
        writer(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"a\.h5\.partial: cannot be written: No such file"):
        writer(tmp_path / "missing" / "a.h5")
