"""CSV logs through interruptions, and TensorBoard where it is."""

import sys
import types

import pytest
import torch

from genoformer.errors import OutputError
from genoformer.training.log import CsvLog, RunLog, memory_gib


def test_rows_are_appended_under_the_first_row_s_columns(tmp_path):
    log = CsvLog(tmp_path / "a.csv", lambda _: True)
    log.write({"step": 1, "loss": 0.5})
    CsvLog(tmp_path / "a.csv", lambda _: True).write({"step": 2, "loss": 0.25})
    assert (tmp_path / "a.csv").read_bytes() == b"step,loss\n1,0.5\n2,0.25\n"
    with pytest.raises(OutputError, match=r"has columns \['step', 'loss'\], the new row \['step', 'other'\]"):
        log.write({"step": 3, "other": 1.0})


def test_rows_that_are_done_again_and_a_cut_line_go(tmp_path):
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text("step,loss\n1,0.5\n2,0.4\n3,0.3\n10")
    log = RunLog(tmp_path, 2)
    log.train({"step": 3, "loss": 0.0})
    log.close()
    assert (tmp_path / "train.csv").read_text().split() == ["step,loss", "1,0.5", "2,0.4", "3,0.0"]
    assert (tmp_path / "eval.csv").read_text().split() == ["step,loss", "1,0.5"]


def test_a_run_from_the_start_may_have_other_columns(tmp_path):
    (tmp_path / "train.csv").write_text("step,loss\n1,0.5\n")
    RunLog(tmp_path, 0).train({"step": 1, "identity": 0.5})
    assert (tmp_path / "train.csv").read_text().split() == ["step,identity", "1,0.5"]


def test_a_file_that_is_no_log_is_not_overwritten(tmp_path):
    (tmp_path / "train.csv").write_text("chrom,start\nchr1,5\n")
    with pytest.raises(OutputError, match=r"train.csv: is no log of a run .*; move it away"):
        RunLog(tmp_path, 0)
    assert (tmp_path / "train.csv").read_text().startswith("chrom")


def test_without_tensorboard_there_is_csv_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if not installed
    with caplog.at_level("INFO"):
        RunLog(tmp_path, 0).evaluation({"step": 1, "loss": 0.5})
    assert "tensorboard is not installed: logs are CSV only" in caplog.text
    assert "eval step=1 loss=0.5" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["eval.csv"]


class Board:
    """Notes what a SummaryWriter is told."""

    def __init__(self, folder, purge_step):
        self.told = [(folder, purge_step)]
        type(self).last = self

    def add_scalar(self, *told):
        self.told.append(told)

    def close(self):
        self.told.append("closed")


def test_tensorboard_gets_every_value_but_the_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Board))
    log = RunLog(tmp_path, 4)
    log.train({"step": 5, "loss": 0.5})
    log.close()
    assert Board.last.told == [(str(tmp_path / "tensorboard"), 5), ("train/loss", 0.5, 5), "closed"]


def test_memory_of_this_process():
    import resource

    assert memory_gib(torch.device("cpu")) == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
