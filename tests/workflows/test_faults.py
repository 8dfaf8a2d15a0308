"""Machines that fail in the middle of `correct`: one clear line, an exit code, and a rerun that finishes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genoformer.errors import OutputError
from genoformer.workflows.join import join_shards
from genoformer.workflows.output import journal_path
from tests.correct_inputs import records, renumber, run_correct, save_tiny_model, simulate_molecules, write_inputs
from tests.small_disk import enlarge, small_disk
from tests.workflows.test_robustness import COMMAND, SOURCES, assert_group_ends, finish, group_members

NUM_ZMWS = 960


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return renumber(write_inputs(folder / "few", simulate_molecules(12)), folder, NUM_ZMWS // 12)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(inputs, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "whole.bam"
    run_correct(inputs, output, model=model, device="cpu")
    return records(output)


def start(inputs, output, model, *options):
    """The command as a process of its own, durable every fiftieth of a second."""
    arguments = ["consensus", "correct", *inputs, "-o", str(output), "-m", model, "--min-quality", "0", *options]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "0.02", *arguments, "--threads", "1"],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def device_processes(leader):
    """Ids of the processes that a run has spawned; with one thread there are no others than those of the devices."""
    found = []
    for pid in group_members(leader):
        command = Path(f"/proc/{pid}/cmdline").read_text()
        if "spawn_main" in command:
            found.append(pid)
    return sorted(found)


def test_a_device_whose_process_is_killed(inputs, model, whole, tmp_path):
    output = tmp_path / "out.bam"
    process = start(inputs, output, model, "--device", "cpu,cpu", "--batch-size", "4", "--quiet")
    while process.poll() is None and not journal_path(output).exists():
        time.sleep(0.002)
    devices = device_processes(process.pid)
    assert len(devices) == 2
    os.kill(devices[1], signal.SIGKILL)
    _, messages = process.communicate(timeout=120)
    assert (process.returncode, messages) == (
        1,
        "genoformer: error: the process of device cpu was killed by SIGKILL; is there enough memory? Use smaller "
        "batches, and repeat the command with --resume\n",
    )
    assert_group_ends(process.pid)
    assert not output.exists()
    assert "resuming after" in finish(start(inputs, output, model, "--device", "cpu,cpu", "--resume"))
    assert records(output) == whole


def test_a_full_disk(inputs, model, whole, tmp_path):
    with small_disk(tmp_path / "disk", "64k") as folder:
        output = folder / "out.bam"
        process = start(inputs, output, model, "--device", "cpu", "--quiet")
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 1
        assert messages.startswith("genoformer: error: ")
        assert messages.endswith("No space left on device\n")
        assert messages.count("\n") == 1
        assert not output.exists()
        enlarge(folder, "64m")
        finish(start(inputs, output, model, "--device", "cpu", "--resume"))
        assert records(output) == whole


def test_input_that_is_damaged_in_the_middle(inputs, model, whole, tmp_path):
    subreads = tmp_path / "subreads_to_ccs.bam"
    content = Path(inputs.subreads).read_bytes()
    middle = len(content) * 3 // 4
    subreads.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    damaged, output = inputs._replace(subreads=str(subreads)), tmp_path / "out.bam"
    process = start(damaged, output, model, "--device", "cpu", "--quiet")
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 1
    assert messages.startswith(f"genoformer: error: {subreads}")
    assert messages.count("\n") == 1
    subreads.write_bytes(content)
    assert "resuming after" in finish(start(damaged, output, model, "--device", "cpu", "--resume"))
    assert records(output) == whole


def test_a_model_file_that_changes_between_two_shards(inputs, whole, model, tmp_path):
    used = tmp_path / "model.safetensors"
    outputs = [tmp_path / "1.bam", tmp_path / "2.bam"]

    def run_shard(index, **options):
        run_correct(inputs, outputs[index], model=str(used), device="cpu", shard=(index + 1, 2), **options)

    shutil.copy(save_tiny_model(tmp_path, seed=2), used)
    run_shard(0)
    shutil.copy(model, used)
    run_shard(1)
    with pytest.raises(OutputError, match=r"2.bam: is not of the same run as .*1.bam: model: 'sha256:\w+' there"):
        join_shards([str(path) for path in outputs], str(tmp_path / "joined.bam"))
    with pytest.raises(OutputError, match=r"1.bam: is whole, but of another run \(model: 'sha256:\w+' there"):
        run_shard(0, resume=True)
    run_shard(0)
    join_shards([str(path) for path in outputs], str(tmp_path / "joined.bam"))
    assert records(tmp_path / "joined.bam") == whole
