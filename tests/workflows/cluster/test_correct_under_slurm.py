"""correct.sbatch on a real Slurm: an array of shards, one of them stopped in the middle, and the join that waits."""

import json
from pathlib import Path

import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.workflows.check import check_file
from genoformer.workflows.output import journal_path, summary_path
from tests.correct_inputs import Inputs, records, run_correct
from tests.private_slurm import ENDED, Slurm, missing_programs, private_slurm, wait_until
from tests.workflows.cluster.test_train_under_slurm import CHECKOUT, environment

pytestmark = pytest.mark.slow

SCRIPT = CHECKOUT / "genoformer" / "workflows" / "cluster" / "correct.sbatch"
NUM_SHARDS = 4


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if missing := missing_programs():
        pytest.skip(f"no Slurm on this machine: {', '.join(missing)} not found; Debian has them in slurm-wlm and munge")
    with private_slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield Slurm({**running.environment, **environment(tmp_path_factory.mktemp("bin"), running.environment["PATH"])})


@pytest.fixture(scope="module")
def inputs(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    return Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights of the published size: slow enough on a CPU to be stopped in the middle."""
    torch.manual_seed(0)
    config, path = ConsensusConfig(), tmp_path_factory.mktemp("model") / "random.safetensors"
    save_checkpoint(path, ConsensusTransformer(config).state_dict(), config)
    return str(path)


@pytest.fixture(scope="module")
def whole(inputs, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "whole.bam"
    summary = run_correct(inputs, output, model=model, device="cpu", skip_windows_above=0)
    return records(output), summary["counts"]


def shard(output: Path, index: int) -> Path:
    return Path(f"{output}.shards") / f"{index:05d}-of-{NUM_SHARDS:05d}.bam"


def submit(slurm: Slurm, output: Path, inputs: Inputs, model: str) -> tuple[str, str]:
    """Ids of the array and of the job that joins."""
    command = ["consensus", "correct", *inputs, "-m", model, "--device", "cpu", "--threads", "1", "--min-quality", "0"]
    words = slurm.run("bash", SCRIPT, NUM_SHARDS, output, "--", *command, "--skip-windows-above", "0").split()
    return words[2].rstrip(","), words[5].rstrip(",")


def num_done(output: Path) -> int:
    path = journal_path(output)
    try:
        return json.loads(path.read_text())["counts"]["zmws"]
    except FileNotFoundError:
        return 0


def test_a_shard_that_is_stopped_in_the_middle_goes_on_and_the_join_waits(slurm, inputs, model, whole, tmp_path):
    output = tmp_path / "corrected.bam"
    array, join = submit(slurm, output, inputs, model)
    third, log = f"{array}_3", Path(f"{output}.shards") / "3.log"
    wait_until(
        lambda: num_done(shard(output, 3)) or slurm.job(third)["JobState"] in ENDED, f"{third} has done a molecule"
    )
    assert not shard(output, 3).exists(), "the shard ended before it could be stopped"
    slurm.run("scancel", "--batch", "--signal=USR1", third)
    assert slurm.wait_for(third, "PENDING")["Restarts"] == "1"
    assert "stopped; back into the queue" in log.read_text()
    ended = slurm.wait_for(join, *ENDED)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), log.read_text()
    assert "requeued 1 times" in log.read_text()
    assert "resuming after" in log.read_text()
    assert records(output) == whole[0]
    summary = json.loads(summary_path(output).read_text())
    assert (summary["counts"], summary["run"]["num_shards"]) == (whole[1], NUM_SHARDS)
    assert check_file(output).startswith(f"{len(whole[0])} reads")
    assert "4 shards" in Path(f"{output}.report.html").read_text()

    # Submitted again, shards that are whole end at once, and one that was lost is made anew.
    expected = output.read_bytes()
    shard(output, 2).unlink()
    _, join = submit(slurm, output, inputs, model)
    assert slurm.wait_for(join, *ENDED)["JobState"] == "COMPLETED"
    assert "already whole" in log.read_text()
    assert len(records(output)) == len(whole[0])
    assert records(output) == whole[0]
    assert len(output.read_bytes()) == len(expected)
