"""train.sbatch on a real Slurm: signalled, killed and cancelled, a run ends with the weights of a whole one."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from genoformer.config import ConsensusConfig
from genoformer.training.checkpoint import saved_steps
from tests.cluster_inputs import TEMPLATES
from tests.private_slurm import ENDED, Slurm, wait_until
from tests.training import consensus_shards, expression_shards
from tests.training.test_consensus_run import CONFIG as CONSENSUS_CONFIG
from tests.training.test_expression_run import CONFIG as EXPRESSION_CONFIG

pytestmark = pytest.mark.slow

SCRIPT = TEMPLATES / "train.sbatch"
STEPS = 600
SETTINGS = [f"steps={STEPS}", "num_workers=1", "save_every=10", "eval_every=0"]


def consensus_command(folder: Path) -> list[str]:
    data = consensus_shards.write_shards(folder / "data", ConsensusConfig(**consensus_shards.TINY))
    return ["consensus", "train", *written(folder, CONSENSUS_CONFIG), "--data", str(data)]


def expression_command(folder: Path) -> list[str]:
    data = expression_shards.write_shards(folder / "data")
    return ["expression", "train", *written(folder, EXPRESSION_CONFIG), "--data", str(data)]


def written(folder: Path, config: str) -> list[str]:
    """A config file, and the options of every run."""
    (folder / "tiny.toml").write_text(config)
    return [
        str(folder / "tiny.toml"),
        "--device",
        "cpu",
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ]


@contextlib.contextmanager
def whole_run(slurm: Slurm, folder: Path, arguments: list[str]) -> Iterator[Path]:
    """Starts a run of two processes that nobody interrupts, without Slurm; it ends with the context, at the latest."""
    launch = ["torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", "genoformer"]
    environment = {**slurm.environment, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*launch, *arguments, "-o", str(folder)], env=environment, stderr=subprocess.DEVNULL) as run:
        yield folder
        assert run.wait() == 0


class Run:
    """A training run in a folder of its own, over the jobs that work on it."""

    def __init__(self, slurm: Slurm, folder: Path, arguments: list[str], options: list[str]) -> None:
        self.slurm, self.folder, self.arguments, self.options = slurm, folder, arguments, options
        self.log = folder.with_suffix(".log")

    def submit(self, **variables: str) -> str:
        return self.slurm.submit(
            *self.options, f"--output={self.log}", SCRIPT, self.folder, *self.arguments, **variables
        )

    def status(self) -> str:
        try:
            return json.loads((self.folder / "status.json").read_text())["status"]
        except FileNotFoundError:
            return ""

    def last_step(self) -> int:
        return max(saved_steps(self.folder / "checkpoints"), default=0)

    def wait_for_step(self, job: str, step: int) -> None:
        """Returns once that step or a later one is saved, or the job has ended without."""
        wait_until(
            lambda: self.last_step() >= step or self.slurm.job(job)["JobState"] in ENDED, f"job {job} saves step {step}"
        )
        assert self.last_step() >= step, self.log.read_text()

    def signal(self, job: str) -> None:
        self.slurm.run("scancel", "--batch", "--signal=USR1", job)


def assert_same_model(run: Run, whole: Path) -> None:
    for name in ("final.safetensors", "best.safetensors"):
        assert (run.folder / name).read_bytes() == (whole / name).read_bytes()


def test_signalled_it_saves_and_is_requeued_and_ends_with_the_same_weights(slurm, tmp_path):
    arguments = expression_command(tmp_path)
    run = Run(slurm, tmp_path / "run", arguments, ["--nodes=1"])
    job = run.submit(PROCESSES_PER_NODE="2")
    run.wait_for_step(job, 10)
    run.signal(job)
    assert slurm.wait_for(job, "PENDING")["Restarts"] == "1"
    assert (run.status(), 10 <= run.last_step() < STEPS) == ("interrupted", True)
    with whole_run(slurm, tmp_path / "whole", arguments) as whole:  # while the job waits in the queue
        ended = slurm.wait_for(job, *ENDED)
    assert (ended["ExitCode"], ended["Restarts"]) == ("0:0", "1"), run.log.read_text()
    assert all(f"requeued {count} times" in run.log.read_text() for count in (0, 1))  # one log of both starts
    assert_same_model(run, whole)


def test_interrupted_in_every_way_on_two_nodes_it_ends_with_the_same_weights(slurm, tmp_path):
    arguments = consensus_command(tmp_path)
    run = Run(slurm, tmp_path / "run", arguments, ["--nodes=2"])

    # Signalled twice while Python imports: heard once it can be, and requeued once.
    job = run.submit()
    wait_until(lambda: run.log.exists() and "requeued 0 times" in run.log.read_text(), f"job {job} runs its script")
    run.signal(job)
    run.signal(job)
    assert slurm.wait_for(job, "PENDING")["Restarts"] == "1"
    assert run.status() == "interrupted"
    assert 1 <= run.last_step() < STEPS
    with whole_run(slurm, tmp_path / "whole", arguments) as whole:
        # A training process that is killed is a failure, which is not requeued.
        slurm.wait_for(job, "RUNNING")
        run.wait_for_step(job, 100)
        os.kill(slurm.processes(job, "genoformer.cli.main")[0], signal.SIGKILL)
        ended = slurm.wait_for(job, *ENDED)
        assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "1:0", "1")
        assert run.status() == "running"

        # A cancelled one saves too, and is not requeued either.
        job = run.submit()
        run.wait_for_step(job, run.last_step() + 10)
        slurm.run("scancel", job)
        ended = slurm.wait_for(job, *ENDED)
        assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
        wait_until(lambda: run.status() == "interrupted", "the cancelled run saves")
        assert run.last_step() < STEPS

        job = run.submit()
        assert slurm.wait_for(job, *ENDED)["ExitCode"] == "0:0", run.log.read_text()
    assert_same_model(run, whole)
