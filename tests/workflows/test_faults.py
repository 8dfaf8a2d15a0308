"""Machines that fail in the middle of `correct`: one clear line, an exit code, and a rerun that finishes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genoformer.workflows.output import journal_path
from tests.correct_inputs import records, renumber, run_correct, save_tiny_model, simulate_molecules, write_inputs
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
