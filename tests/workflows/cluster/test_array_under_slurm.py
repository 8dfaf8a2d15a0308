"""array.sbatch on a real Slurm: shards that are stopped, killed, preempted or lose their node, and the join."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.workflows.check import check_file
from genoformer.workflows.output import journal_path, summary_path
from genoformer.workflows.predict import predict
from genoformer.workflows.predict_options import PredictOptions
from genoformer.workflows.score import score
from genoformer.workflows.score_options import ScoreOptions
from tests.cluster_inputs import DEMO_MODEL, GENOME, TEMPLATES, write_regions, write_variants
from tests.correct_inputs import Inputs, records, renumber, run_correct
from tests.private_slurm import ENDED, Slurm, wait_until

pytestmark = pytest.mark.slow

SCRIPT = TEMPLATES / "array.sbatch"
NUM_SHARDS = 4
NUM_COPIES = 5  # of the ten real molecules: each shard has several, so that it can be stopped between two of them
LAYERS = 2  # of the published six: the layers do not matter here


@pytest.fixture(scope="module")
def inputs(shared_data, tmp_path_factory):
    folder = shared_data / "consensus" / "human_1m"
    real = Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))
    return renumber(real, tmp_path_factory.mktemp("inputs"), NUM_COPIES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights of the published width: slow enough on a CPU to be stopped in the middle."""
    torch.manual_seed(0)
    config, path = ConsensusConfig(num_layers=LAYERS), tmp_path_factory.mktemp("model") / "random.safetensors"
    save_checkpoint(path, ConsensusTransformer(config).state_dict(), config)
    return str(path)


class Run:
    """An output that the script makes in `num_shards` shards."""

    def __init__(self, slurm: Slurm, output: Path, num_shards: int, suffix: str, command: list[object]) -> None:
        self.slurm, self.output, self.num_shards, self.suffix = slurm, output, num_shards, suffix
        self.command = [*command, "--device", "cpu", "--threads", "1"]
        self.folder = Path(f"{output}.shards")

    def submit(self) -> tuple[str, str]:
        """Ids of the array and of the job that joins."""
        words = self.slurm.run("bash", SCRIPT, self.num_shards, self.output, "--", *self.command).split()
        return words[2].rstrip(","), words[5].rstrip(",")

    def shard(self, index: int) -> Path:
        return self.folder / f"{index:05d}-of-{self.num_shards:05d}.{self.suffix}"

    def log(self, name: object) -> str:
        return (self.folder / f"{name}.log").read_text()

    def num_done(self, index: int) -> int:
        try:
            return json.loads(journal_path(self.shard(index)).read_text())["counts"]["zmws"]
        except FileNotFoundError:
            return 0

    def assert_joined(self, join: str) -> None:
        ended = self.slurm.wait_for(join, *ENDED)
        assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), self.log("join")


def kill(slurm: Slurm, task: str) -> None:
    """What is left of a job when memory runs out: nothing. Its administrator, or its user, requeues it."""
    for pid in slurm.processes(task):
        with contextlib.suppress(ProcessLookupError):  # its parent ended it
            os.kill(pid, signal.SIGKILL)
    assert slurm.wait_for(task, *ENDED)["JobState"] == "FAILED"
    slurm.run("scontrol", "requeue", task)


def cancel(slurm: Slurm, task: str) -> None:
    """A user ends a job by mistake, and takes it back."""
    slurm.run("scancel", task)
    assert slurm.wait_for(task, *ENDED)["JobState"] == "CANCELLED"
    slurm.run("scontrol", "requeue", task)


def lose_node(slurm: Slurm, task: str) -> None:
    """The node of a job goes down, and comes back once Slurm has put its jobs into the queue."""
    node = slurm.job(task)["BatchHost"]
    slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    slurm.wait_for(task, "PENDING")
    slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME")


# By the number of the shard; the node is the last to go, when no other shard runs there.
INTERRUPTIONS = {
    3: lambda slurm, task: slurm.run("scancel", "--batch", "--signal=USR1", task),
    4: cancel,
    1: kill,
    2: lose_node,
}


def test_shards_that_are_interrupted_in_every_way_go_on_and_the_join_waits(slurm, inputs, model, tmp_path):
    flags = ["-m", model, "--min-quality", "0", "--skip-windows-above", "0"]
    run = Run(slurm, tmp_path / "corrected.bam", NUM_SHARDS, "bam", ["consensus", "correct", *inputs, *flags])
    array, join = run.submit()
    for index, interrupt in INTERRUPTIONS.items():
        task = f"{array}_{index}"
        wait_until(lambda i=index, t=task: run.num_done(i) or slurm.job(t)["JobState"] in ENDED, f"{task} has begun")
        assert not run.shard(index).exists(), f"{task} ended before it could be interrupted"
        interrupt(slurm, task)
        assert slurm.wait_for(task, "PENDING")["Restarts"] == "1", run.log(index)
    assert slurm.job(join)["JobState"] == "PENDING"

    # One process does the same while the shards wait in the queue.
    whole = tmp_path / "whole.bam"
    counts = run_correct(inputs, whole, model=model, device="cpu", skip_windows_above=0)["counts"]
    expected = records(whole)
    run.assert_joined(join)
    assert "stopped; back into the queue" in run.log(3)
    for index in INTERRUPTIONS:
        assert all(text in run.log(index) for text in ("requeued 0 times", "requeued 1 times", "resuming after"))
    assert records(run.output) == expected
    summary = json.loads(summary_path(run.output).read_text())
    assert (summary["counts"], summary["run"]["num_shards"]) == (counts, NUM_SHARDS)
    assert check_file(run.output).startswith(f"{len(expected)} reads")
    assert f"{NUM_SHARDS} shards" in Path(f"{run.output}.report.html").read_text()


def test_tracks_and_scores_and_what_was_missing_at_first(slurm, tmp_path):
    """Scores lack their model: no shard can begin, and the join says so; the same command then finishes all."""
    regions, vcf, model = write_regions(tmp_path), write_variants(tmp_path), tmp_path / "demo.safetensors"
    tracks = Run(slurm, tmp_path / "tracks", 2, "h5", ["expression", "predict", GENOME, regions, "-m", DEMO_MODEL])
    scores = Run(slurm, tmp_path / "scores.vcf.gz", 2, "h5", ["variants", "score", vcf, GENOME, "-m", model])
    first, join_of_tracks = scores.submit()[1], tracks.submit()[1]
    ended = slurm.wait_for(first, *ENDED)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0")
    assert "shards that are not whole: 1 2; see their logs" in scores.log("join")
    assert f"genoformer: error: {model}: cannot be read" in scores.log(2)

    shutil.copy(DEMO_MODEL, model)
    join_of_scores = scores.submit()[1]
    options = {"device": "cpu", "threads": 1}
    predict(PredictOptions(GENOME, str(regions), tmp_path / "whole", str(model), **options))
    score(ScoreOptions(str(vcf), GENOME, str(model), (str(tmp_path / "whole.vcf.gz"),), **options))
    tracks.assert_joined(join_of_tracks)
    scores.assert_joined(join_of_scores)
    for path in (tmp_path / "whole").iterdir():
        if path.suffix != ".json":
            assert (tracks.output / path.name).read_bytes() == path.read_bytes()
    assert scores.output.read_bytes() == (tmp_path / "whole.vcf.gz").read_bytes()
    for run in (tracks, scores):
        assert "2 shards" in Path(f"{run.output}.report.html").read_text()
