"""The train command as a process: options, exit codes, a signal and `--resume`."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import load_model
from tests.training.consensus_shards import TINY, write_shards
from tests.training.test_consensus_run import CONFIG

COMMAND = [sys.executable, "-m", "genoformer.cli.main", "consensus", "train"]


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    data = write_shards(tmp_path / "data", ConsensusConfig(**TINY))
    return lambda out, *more: [str(tmp_path / "tiny.toml"), "--data", str(data), "-o", str(tmp_path / out),
                               "--device", "cpu", "-t", "1", *more]  # fmt: skip


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_a_run_from_the_command_line(arguments, tmp_path):
    result = run(*arguments("run", "--set", "steps=2"))
    assert (result.returncode, result.stdout) == (0, "")
    assert "train step=2" in result.stderr
    load_model(tmp_path / "run" / "best.safetensors")
    again = run(*arguments("run"))
    assert again.returncode == 1
    assert "has a run of step 2; resume it or name another folder" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--set", "optimizer.lt=1"], 2, "--set: unknown key 'optimizer.lt'; did you mean 'optimizer.lr'?"),
        (["--set", "model.num_layer=1"], 2, "--set: unknown key 'model.num_layer'; did you mean 'model.num_layers'?"),
        (["--teacher", "none.safetensors"], 1, "none.safetensors: cannot be read"),
        (["--set", "batch_size=1000"], 2, "there are 24 examples, fewer than one batch of 1000"),
    ],
)
def test_mistakes_are_one_line(arguments, more, code, message):
    result = run(*arguments("run", *more))
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configuration_that_is_not_there_is_named(arguments, tmp_path):
    _, *others = arguments("run")
    result = run("consensus_tny.toml", *others)
    assert result.returncode == 2
    assert "did you mean 'consensus_tiny.toml'?" in result.stderr


def test_signalled_and_resumed_it_ends_with_the_same_weights(arguments, tmp_path):
    more = ["--set", "steps=300", "--set", "num_workers=2", "--set", "eval_every=0", "--set", "log_every=10"]
    assert run(*arguments("whole", *more)).returncode == 0
    process = subprocess.Popen([*COMMAND, *arguments("cut", *more)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "train step=20 " in line:
            process.send_signal(signal.SIGUSR1)
            break
    process.communicate(timeout=120)
    assert process.returncode == 75
    assert '"interrupted"' in (tmp_path / "cut" / "status.json").read_text()
    assert run(*arguments("cut", *more, "--resume")).returncode == 0
    ends = [load_model(tmp_path / out / "final.safetensors").state_dict() for out in ("whole", "cut")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_processes_under_torchrun_end_with_the_same_weights(arguments, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
              "-m", "genoformer.cli.main", "consensus", "train"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for out, extra in (("a", []), ("b", ["--set", "steps=2", "--set", "schedule.decay_steps=4"]), ("b", ["--resume"])):
        result = subprocess.run([*launch, *arguments(out, *extra)], capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
    ends = [load_model(tmp_path / out / "final.safetensors").state_dict() for out in ("a", "b")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
