"""Both tasks, at toy size, through the same functions, loader and loop."""

import pytest

from genoformer.config import ConsensusConfig
from genoformer.datasets.loader import Loader
from genoformer.errors import DataError
from genoformer.models.checkpoint import load_checkpoint
from genoformer.training import loop, run
from genoformer.training.consensus_run import TrainConsensusOptions, train_consensus
from genoformer.training.expression_run import TrainExpressionOptions, train_expression
from tests.training import consensus_shards, expression_shards
from tests.training.test_consensus_run import CONFIG as CONSENSUS
from tests.training.test_expression_run import CONFIG as EXPRESSION


def start(kind, folder):
    """The run of a toy model of one kind; its outcome."""
    common = {"config": folder / "config.toml", "out_dir": folder / kind, "device": "cpu"}
    common["config"].write_text(CONSENSUS if kind == "consensus" else EXPRESSION)
    if kind == "consensus":
        data = consensus_shards.write_shards(folder / "data", ConsensusConfig(**consensus_shards.TINY))
        return train_consensus(TrainConsensusOptions(data=[data], **common))
    data = expression_shards.write_shards(folder / "data")
    return train_expression(TrainExpressionOptions(data={"human": [data]}, **common))


@pytest.mark.parametrize("kind", ["consensus", "expression"])
def test_one_loader_and_one_loop_serve_both_tasks(kind, tmp_path, monkeypatch):
    used = []

    class WatchedLoader(Loader):
        def __iter__(self):
            used.append("loader")
            return super().__iter__()

    class WatchedRun(loop._Run):
        def until_done(self, request):
            used.append("loop")
            return super().until_done(request)

    monkeypatch.setattr(run, "Loader", WatchedLoader)
    monkeypatch.setattr(loop, "_Run", WatchedRun)
    outcome = start(kind, tmp_path)
    assert outcome.finished
    assert used == ["loop", "loader"]
    assert load_checkpoint(tmp_path / kind / "best.safetensors").kind == kind


def test_shards_of_a_split_folder_by_folder(tmp_path):
    for folder, name in (("b", "train-00001-of-00002.h5"), ("b", "train-00002-of-00002.h5"), ("a", "valid-1.h5")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    folders = [tmp_path / "b", tmp_path / "a"]
    assert [path.name for path in run.find_shards(folders, "train", "x")] == [
        "train-00001-of-00002.h5", "train-00002-of-00002.h5",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"a: no shards train-\*.h5; make them with 'genoformer x y'"):
        run.find_training_shards(folders[1:], "x y")
    with pytest.raises(DataError, match="c: no such folder; expected what 'genoformer x y' wrote"):
        run.find_shards([tmp_path / "c"], "train", "x y")
