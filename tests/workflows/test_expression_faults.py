"""Machines that fail in the middle of `predict` or `score`: one clear line, an exit code, a rerun that finishes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genoformer.errors import OutputError
from genoformer.models.checkpoint import load_model, save_checkpoint
from genoformer.workflows.join_predictions import join_predictions
from genoformer.workflows.join_scores import join_scores
from genoformer.workflows.output import journal_path
from tests.predict_inputs import write_inputs
from tests.small_disk import fill, small_disk
from tests.variant_cases import write_case
from tests.workflows.test_robustness import COMMAND, SOURCES

NUM_REGIONS = 50  # of four windows each
NUM_EACH = 20  # substitutions, insertions and deletions


class Command:
    """What makes one output of a genome."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.genome = name, folder / "genome.fa"
        if name == "predict":
            options = write_inputs(folder)
            (folder / "many.bed").write_text("chr10\t300\t500\n" * NUM_REGIONS + "chr2\t100\t300\n")
            words = ["expression", "predict", self.genome, folder / "many.bed", "-m", options.model]
        else:
            case = write_case(folder, NUM_EACH)
            words = ["variants", "score", case.vcf, self.genome, "-m", case.model, "--predictions"]
        self.model = Path(words[5])
        # A genome so large that its identity, a digest of both ends, does not see the middle.
        middle = self.genome.read_text()
        self.genome.write_text(">first\n" + "A" * 70_000 + f"\n{middle}>last\n" + "A" * 70_000 + "\n")
        self.words = [*map(str, words), "--species", "human", "--device", "cpu", "--threads", "1"]

    def start(self, output: Path, *options: str, commit_seconds: float = 0.02) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        arguments = [str(commit_seconds), *self.words, "-o", str(output), *options]
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments], env={**os.environ, "PYTHONPATH": SOURCES}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, output: Path, *options: str) -> tuple[int, str]:
        """Exit code, and what it writes to stderr."""
        return end(self.start(output, *options))

    def content(self, output: Path, *options: str) -> bytes:
        """What the whole output holds."""
        code, messages = self.run(output, *options)
        assert code == 0, messages
        return output.read_bytes()


def end(process):
    _, messages = process.communicate(timeout=300)
    return process.returncode, messages


def assert_one_line(found, text):
    code, messages = found
    assert code == 1
    assert messages.startswith("genoformer: error: ")
    assert text in messages
    assert messages.count("\n") == 1, messages


@pytest.fixture(scope="module", params=["predict", "score"])
def command(request, tmp_path_factory):
    return Command(request.param, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    return command.content(tmp_path_factory.mktemp("whole") / "out.h5")


def test_a_disk_that_is_full_in_the_middle(command, whole, tmp_path):
    with small_disk(tmp_path / "disk", "1m") as folder:
        output = folder / "out.h5"
        process = command.start(output, "--quiet")
        while process.poll() is None and not journal_path(output).exists():
            time.sleep(0.002)
        filler = fill(folder)
        assert_one_line(end(process), "No space left on device")
        assert not output.exists()
        filler.unlink()
        assert command.content(output, "--resume", "--quiet") == whole


def test_a_genome_that_is_damaged_in_the_middle(command, whole, tmp_path):
    """On the contig of the last region, and of the third variant; what was done before is kept."""
    content = command.genome.read_bytes()
    place = content.index(b">chr2\n") + 6 + 300
    command.genome.write_bytes(content[:place] + b"\0" + content[place + 1 :])
    try:
        output = tmp_path / "out.h5"
        assert_one_line(command.run(output, "--quiet"), f"{command.genome}: ")
        assert not output.exists()
    finally:
        command.genome.write_bytes(content)
    code, messages = command.run(output, "--resume")
    assert code == 0, messages
    assert output.read_bytes() == whole
    assert "resuming after" in messages


def test_a_model_file_that_changes_between_two_shards(command, whole, tmp_path):
    shards = [tmp_path / "1.h5", tmp_path / "2.h5"]
    content = command.model.read_bytes()

    def join():
        joined = tmp_path / "joined.h5"
        if command.name == "predict":
            join_predictions(shards, joined)
        else:
            join_scores(list(map(str, shards)), [str(joined)])
        return joined.read_bytes()

    command.content(shards[0], "--shard", "1/2")
    try:
        model = load_model(command.model)
        weights = model.state_dict()
        next(model.parameters()).data.mul_(1.5)
        save_checkpoint(command.model, weights, model.config, tracks=model.tracks)
        command.content(shards[1], "--shard", "2/2")
    finally:
        command.model.write_bytes(content)
    with pytest.raises(OutputError, match=r"2.h5: is not of the same run as .*1.h5: model: 'sha256:\w+' there"):
        join()
    assert_one_line(command.run(shards[1], "--shard", "2/2", "--resume"), "of another run (model: 'sha256:")
    command.content(shards[1], "--shard", "2/2")
    assert join() == whole
