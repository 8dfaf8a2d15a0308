"""Checkpoint files: whole or absent, the last few kept, damage and code refused."""

import pickle

import pytest
import torch

from genoformer.errors import CheckpointError, OutputError
from genoformer.training.checkpoint import checkpoint_path, load_state, save_state, saved_steps

STATE = {"model": {"w": torch.arange(3.0)}, "loader": {"epoch": 2}, "best": {}, "random": [torch.ones(2).byte()]}


def test_what_is_saved_is_loaded(tmp_path):
    path = save_state(tmp_path / "new", 7, STATE, keep=1)
    assert path.name == "step-000000007.pt"
    found = load_state(tmp_path / "new", 7)
    assert found["model"]["w"].tolist() == [0.0, 1.0, 2.0]
    assert (found["step"], found["loader"], found["best"]) == (7, {"epoch": 2}, {})
    assert [file.name for file in (tmp_path / "new").iterdir()] == [path.name]  # no temporary file


def test_the_last_few_are_kept(tmp_path):
    for step in (5, 20, 100):
        save_state(tmp_path, step, STATE, keep=2)
    (tmp_path / "step-9.pt").touch()  # another's file
    assert saved_steps(tmp_path) == [20, 100]
    assert saved_steps(tmp_path / "none") == []


def test_a_failed_write_leaves_the_former_checkpoints(tmp_path, monkeypatch):
    save_state(tmp_path, 5, STATE, keep=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"step-000000006.pt: cannot be written: No space left on device"):
        save_state(tmp_path, 6, STATE, keep=1)
    assert [file.name for file in tmp_path.iterdir()] == ["step-000000005.pt"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = save_state(tmp_path, 5, {**STATE, "model": {"w": torch.ones(999)}}, keep=1)
    data = path.read_bytes()
    middle = data.index(torch.ones(999).numpy().tobytes()) + 50
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes({"cut": data[:-99], "flipped": flipped, "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(CheckpointError, match=r"step-000000005.pt: is damaged \(.*\); remove it to go on from the one"):
        load_state(tmp_path, 5)


class Code:
    def __reduce__(self):
        return print, ("this code ran",)


def test_code_in_a_file_does_not_run(tmp_path, capsys):
    torch.save({"format_version": 1, "step": 5, "model": Code()}, checkpoint_path(tmp_path, 5))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path, 5)
    checkpoint_path(tmp_path, 6).write_bytes(pickle.dumps(Code()))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path, 6)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("state", [{"format_version": 99, "step": 5}, {"format_version": 1, "step": 4}, [1]])
def test_a_file_of_another_version_or_step_is_refused(tmp_path, state):
    torch.save(state, checkpoint_path(tmp_path, 5))
    with pytest.raises(CheckpointError, match="is no checkpoint of step 5 by this version"):
        load_state(tmp_path, 5)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"step-000000005.pt: cannot be read: No such file"):
        load_state(tmp_path, 5)
