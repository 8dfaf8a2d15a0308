import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from genoformer.errors import DataError, OutputError
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.predictions import Layout, PredictionFile, PredictionWriter, Stretch
from genoformer.io.reads import partial_path


def track(identifier, index):
    return Track(identifier, f"DNASE:{identifier}", "", "sum", 1.0, None, None, index)


LAYOUT = Layout(
    [
        Stretch(Interval("chr1", 12, 14), "a region", Interval("chr1", 9, 17)),
        Stretch(Interval("chr2", 0, 12), None, Interval("chr2", 0, 12)),
    ],
    bin_bp=4,
    lengths={"chr2": 100, "chr1": 50},
    tracks={3: track("x", 3), 7: track("y", 7)},
    num_outputs=9,
    identity={"model": "m", "shard": [1, 1]},
    notes={"command": "predict", "window_bp": 16},
)
VALUES = np.arange(10, dtype=np.float32).reshape(2, 5) / 3


def write(path, layout=LAYOUT, values=VALUES):
    writer = PredictionWriter(path, layout)
    writer.write(2, values[:, 2:])
    writer.write(0, values[:, :2])
    writer.finish()
    return path


def test_a_file_read_back(tmp_path):
    with PredictionFile(write(tmp_path / "a.h5")) as file:
        assert file.layout == LAYOUT
        assert file.first_bins.tolist() == [0, 2, 5]
        np.testing.assert_array_equal(file.values(1, 1, 4), VALUES[1, 1:4])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_other_programs_read_it(tmp_path):
    with h5py.File(write(tmp_path / "a.h5")) as file:
        np.testing.assert_array_equal(file["predictions"][:], VALUES)
        assert file["start"][:].tolist() == [9, 0]
        assert file["name"][:].tolist() == [b"a region", b""]
        assert [file["chroms"][i] for i in file["chrom"]] == [b"chr1", b"chr2"]


def test_a_partial_file_can_be_gone_on_with(tmp_path):
    writer = PredictionWriter(tmp_path / "a.h5", LAYOUT)
    writer.write(0, VALUES[:, :2])
    writer.commit()
    writer.abandon()
    assert not (tmp_path / "a.h5").exists()
    writer = PredictionWriter(tmp_path / "a.h5", LAYOUT, resume=True)
    writer.write(2, VALUES[:, 2:])
    writer.finish()
    assert (tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_what_cannot_be_gone_on_with(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(OutputError, match=r"a.h5.partial: cannot be written: "):
        PredictionWriter(path, LAYOUT, resume=True)
    PredictionWriter(path, replace(LAYOUT, stretches=LAYOUT.stretches[:1])).abandon()
    with pytest.raises(OutputError, match=r"a.h5.partial: is of another run; start without --resume"):
        PredictionWriter(path, LAYOUT, resume=True)
    partial_path(path).write_bytes(b"no HDF5")
    with pytest.raises(OutputError, match=r"a.h5.partial: cannot be written"):
        PredictionWriter(path, LAYOUT, resume=True)


def test_a_full_disk(tmp_path, monkeypatch):
    writer = PredictionWriter(tmp_path / "a.h5", LAYOUT)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OutputError, match=r"a.h5.partial: cannot be written: No space left on device"):
        writer.write(0, VALUES)
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_no_regions(tmp_path):
    with PredictionFile(write(tmp_path / "a.h5", replace(LAYOUT, stretches=[]), VALUES[:, :0])) as file:
        assert (file.layout.stretches, file.num_bins) == ([], 0)


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("first_bin", [0, 2, 6], r"dataset predictions is float32 \(2, 5\); expected float32 \(2, 6\)"),
        ("first_bin", [0, 5, 2], "bins that do not follow one another"),
        ("first_bin", [1, 2, 5], "bins that do not follow one another"),
        ("chrom", [0, 2], "regions of contigs that it does not name"),
        ("chrom", [0, -1], "regions of contigs that it does not name"),
        ("start", [0], "is not a whole shard of predictions"),
        ("start", [0.5, 1.0], "dataset start is float64"),
    ],
)
def test_damaged_files(tmp_path, name, values, text):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        old = file[name].dtype
        del file[name]
        file[name] = np.array(values, old if isinstance(values[0], int) else None)
    with pytest.raises(DataError, match=text):
        PredictionFile(path)


def test_other_files(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["kind"] = "expression"
    with pytest.raises(
        DataError, match=r"is a shard of expression examples; expected one of 'genoformer expression pr"
    ):
        PredictionFile(path)
    with h5py.File(path, "r+") as file:
        file.attrs.update({"kind": "predictions", "format_version": 9})
    with pytest.raises(
        DataError, match=r"format version 9; this genoformer reads version 1; make the predictions again"
    ):
        PredictionFile(path)
    (tmp_path / "b.h5").write_bytes(b"no")
    with pytest.raises(DataError, match=r"b.h5: is not a whole shard of predictions"):
        PredictionFile(tmp_path / "b.h5")
