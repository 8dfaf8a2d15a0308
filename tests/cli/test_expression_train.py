"""The train command as a process: species, exit codes, a signal and `--resume`."""

import signal
import subprocess
import sys

import pytest
import torch

from genoformer.models.checkpoint import load_checkpoint
from tests.training.expression_shards import write_shards
from tests.training.test_expression_run import CONFIG

COMMAND = [sys.executable, "-m", "genoformer.cli.main", "expression", "train"]


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    data = write_shards(tmp_path / "data")
    return lambda out, *more: [str(tmp_path / "tiny.toml"), "--data", str(data), "-o", str(tmp_path / out),
                               "--device", "cpu", "-t", "1", *more]  # fmt: skip


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_species_of_the_data_are_the_heads_of_the_model(arguments, tmp_path):
    mouse = write_shards(tmp_path / "a=b", species="mouse", num_tracks=2)
    result = run(*arguments("run", "--data", f"mouse={mouse}", "--set", "steps=2"))
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
def test_mistakes_are_one_line(arguments, more, code, message):
    result = run(*arguments("run", *more))
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_signalled_and_resumed_it_ends_with_the_same_weights(arguments, tmp_path):
    more = ["--set", "steps=200", "--set", "num_workers=2", "--set", "eval_every=0", "--set", "log_every=10"]
    assert run(*arguments("whole", *more)).returncode == 0
    process = subprocess.Popen([*COMMAND, *arguments("cut", *more)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "train step=20 " in line:
            process.send_signal(signal.SIGUSR1)
            break
    process.communicate(timeout=120)
    assert process.returncode == 75
    assert run(*arguments("cut", *more, "--resume")).returncode == 0
    ends = [load_checkpoint(tmp_path / out / "final.safetensors").state_dict for out in ("whole", "cut")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
