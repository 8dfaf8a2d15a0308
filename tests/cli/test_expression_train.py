"""The train command as a process: species, exit codes, a signal and `--resume`."""

import pytest

from genoformer.models.checkpoint import load_checkpoint
from tests.cli.train_command import TrainCommand
from tests.training.expression_shards import write_shards
from tests.training.test_expression_run import CONFIG


@pytest.fixture
def train(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    return TrainCommand("expression", config, write_shards(tmp_path / "data"), tmp_path)


def test_species_of_the_data_are_the_heads_of_the_model(train, tmp_path):
    mouse = write_shards(tmp_path / "a=b", species="mouse", num_tracks=2)
    result = train.run("run", "--data", f"mouse={mouse}", "--set", "steps=2")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "train step=2" in result.stderr
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").config.heads == {"human": 3, "mouse": 2}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--set", "finetune.trunc=lora"], 2, "--set: unknown key 'finetune.trunc'; did you mean 'finetune.trunk'?"),
        (["--set", "loss.kind=poison"], 2, "--set: loss.kind is 'poison'"),
        (["--init", "none.safetensors"], 1, "none.safetensors: cannot be read"),
        (["--data", "mouse=nowhere"], 1, "nowhere: no such folder; expected what 'genoformer expression examples'"),
    ],
)
def test_mistakes_are_one_line(train, more, code, message):
    train.assert_refuses(more, code, message)


def test_signalled_and_resumed_it_ends_with_the_same_weights(train):
    more = ["--set", "steps=200", "--set", "num_workers=2", "--set", "eval_every=0", "--set", "log_every=10"]
    assert train.run("whole", *more).returncode == 0
    assert train.run_until("train step=20 ", "cut", *more) == 75
    assert train.run("cut", *more, "--resume").returncode == 0
    train.assert_same_weights("whole", "cut")
