"""An output that a run fills in, stops, and goes on with."""

import h5py
import numpy as np
import pytest

from genoformer.errors import OutputError
from genoformer.io.filled_hdf5 import FilledFile
from genoformer.io.reads import partial_path, read_json
from genoformer.workflows.filled_output import FilledOutput, finished_summary
from genoformer.workflows.output import journal_path, summary_path

IDENTITY = {"version": "1", "rc": False}


def opened(path, *, resume, **identity):
    def new_writer(again):
        return FilledFile(path, {"values": (4,)}, lambda file: None, resume=again)

    return FilledOutput(path, {**IDENTITY, **identity}, new_writer, items="bases", resume=resume)


def fill(store, last):
    for place in range(store.num_done, last):
        store.writer.fill("values", place, np.array([float(place)]))
        store.advance(1)


def test_a_stopped_output_is_filled_in_further(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "a.h5"
    store = opened(path, resume=True)
    assert store.num_done == 0
    fill(store, 3)
    store.stop()
    assert read_json(journal_path(path)) == {"identity": IDENTITY, "num_done": 3}
    with pytest.raises(OutputError, match=r"journal.json: is of another run \(rc: False there, True here\)"):
        opened(path, resume=True, rc=True)
    store = opened(path, resume=True)
    assert (store.num_done, caplog.messages[-1]) == (3, f"{path}: resuming after 3 bases")
    fill(store, 4)
    store.finish({"identity": IDENTITY})
    assert sorted(tmp_path.iterdir()) == [path, summary_path(path)]
    with h5py.File(path) as file:
        assert file["values"][:].tolist() == [0, 1, 2, 3]


def test_without_resume_it_begins_anew(tmp_path):
    store = opened(tmp_path / "a.h5", resume=False)
    fill(store, 2)
    store.stop()
    store = opened(tmp_path / "a.h5", resume=False, rc=True)
    assert (store.num_done, journal_path(store.path).exists()) == (0, False)
    store.stop()
    assert not list(tmp_path.iterdir())


def test_a_whole_output(tmp_path):
    path = tmp_path / "a.h5"
    assert finished_summary(path, IDENTITY) is None
    store = opened(path, resume=False)
    fill(store, 4)
    store.commit()
    store.finish({"identity": IDENTITY, "more": 1})
    journal_path(path).write_text("{}")  # as if killed right after the file got its name
    assert finished_summary(path, IDENTITY) == {"identity": IDENTITY, "more": 1}
    assert sorted(tmp_path.iterdir()) == [path, summary_path(path)]
    with pytest.raises(OutputError, match=r"a\.h5: is whole, but of another run"):
        finished_summary(path, {"version": "2"})
    partial_path(path).touch()
    assert finished_summary(path, IDENTITY) is None


def test_an_output_that_others_are_made_of(tmp_path):
    path = tmp_path / "values"
    store = opened(path, resume=False)
    store.finish({"identity": IDENTITY}, keep=False)
    assert [file.name for file in tmp_path.iterdir()] == ["values.summary.json"]
    assert finished_summary(path, IDENTITY, ["a.bw"]) is None
    (tmp_path / "a.bw").touch()
    assert finished_summary(path, IDENTITY, ["a.bw"]) == {"identity": IDENTITY}
