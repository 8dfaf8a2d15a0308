import numpy as np
import pyBigWig
import pytest

from genoformer.errors import OutputError
from genoformer.io.bigwig_writer import BigWigWriter

LENGTHS = {"chr2": 100, "chr10": 50}


def test_values_in_the_order_of_the_genome(tmp_path):
    path = tmp_path / "a.bw"
    writer = BigWigWriter(path, LENGTHS, 100)
    writer.write("chr2", np.array([0, 8, 16]), np.array([1.5, 0.1], np.float32))
    writer.write("chr2", np.array([20, 21, 29, 30]), np.array([3, 0, 4], np.float32))
    writer.write("chr10", np.array([42, 50]), np.array([5], np.float32))
    assert not path.exists()
    writer.finish()
    assert [file.name for file in tmp_path.iterdir()] == ["a.bw"]
    with pyBigWig.open(str(path)) as file:
        assert list(file.chroms().items()) == list(LENGTHS.items())
        assert file.intervals("chr2") == (
            (0, 8, 1.5), (8, 16, float(np.float32(0.1))), (20, 21, 3.0), (21, 29, 0.0), (29, 30, 4.0)
        )  # fmt: skip
        assert file.intervals("chr10") == ((42, 50, 5.0),)


def test_a_discarded_file_leaves_nothing(tmp_path):
    writer = BigWigWriter(tmp_path / "a.bw", LENGTHS, 100)
    writer.write("chr2", np.array([0, 8]), np.ones(1, np.float32))
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"nowhere/a.bw.partial: cannot be written: No such file or directory"):
        BigWigWriter(tmp_path / "nowhere" / "a.bw", LENGTHS, 100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 9})())
    with pytest.raises(OutputError, match=r"a.bw: may need 3,712 bytes, 9 are free; make room"):
        BigWigWriter(tmp_path / "a.bw", LENGTHS, 100)
    assert not list(tmp_path.iterdir())
