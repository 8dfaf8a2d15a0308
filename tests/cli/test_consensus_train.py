"""The train command as a process: options, exit codes, a signal and `--resume`."""

import os

import pytest

from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import load_model
from tests.cli.train_command import TrainCommand, run_python
from tests.training.consensus_shards import TINY, write_shards
from tests.training.test_consensus_run import CONFIG


@pytest.fixture
def train(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    return TrainCommand("consensus", config, write_shards(tmp_path / "data", ConsensusConfig(**TINY)), tmp_path)


def test_a_run_from_the_command_line(train, tmp_path):
    result = train.run("run", "--set", "steps=2")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "train step=2" in result.stderr
    load_model(tmp_path / "run" / "best.safetensors")
    train.assert_refuses([], 1, "has a run of step 2; resume it or name another folder")


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--set", "optimizer.lt=1"], 2, "--set: unknown key 'optimizer.lt'; did you mean 'optimizer.lr'?"),
        (["--set", "model.num_layer=1"], 2, "--set: unknown key 'model.num_layer'; did you mean 'model.num_layers'?"),
        (["--teacher", "none.safetensors"], 1, "none.safetensors: cannot be read"),
        (["--set", "batch_size=1000"], 2, "there are 24 examples, fewer than one batch of 1000"),
    ],
)
def test_mistakes_are_one_line(train, more, code, message):
    train.assert_refuses(more, code, message)


def test_a_configuration_that_is_not_there_is_named(train):
    _, *others = train.arguments("run")
    result = run_python(*train.module, "consensus_tny.toml", *others)
    assert result.returncode == 2
    assert "did you mean 'consensus_tiny.toml'?" in result.stderr


def test_signalled_and_resumed_it_ends_with_the_same_weights(train, tmp_path):
    more = ["--set", "steps=300", "--set", "num_workers=2", "--set", "eval_every=0", "--set", "log_every=10"]
    assert train.run("whole", *more).returncode == 0
    assert train.run_until("train step=20 ", "cut", *more) == 75
    assert '"interrupted"' in (tmp_path / "cut" / "status.json").read_text()
    assert train.run("cut", *more, "--resume").returncode == 0
    train.assert_same_weights("whole", "cut")


def test_processes_under_torchrun_end_with_the_same_weights(train):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *train.module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for out, more in (("a", []), ("b", ["--set", "steps=2", "--set", "schedule.decay_steps=4"]), ("b", ["--resume"])):
        result = run_python(*launch, *train.arguments(out, *more), env=environment)
        assert result.returncode == 0, result.stderr
    train.assert_same_weights("a", "b")
