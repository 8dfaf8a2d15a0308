"""`predict` and `score` on two devices, one of which dies, or stopped by the user: one line, and a rerun finishes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genoformer.cli.main import EXIT_INTERRUPTED, app
from genoformer.workflows.output import journal_path
from tests.predict_inputs import write_inputs
from tests.variant_cases import write_case
from tests.workflows.test_faults import device_processes
from tests.workflows.test_robustness import COMMAND, SOURCES, assert_group_ends

NUM_REGIONS, NUM_EACH = 200, 40


def predict_words(folder):
    options = write_inputs(folder)
    starts = [7 * number % 900 for number in range(NUM_REGIONS)]
    Path(options.regions).write_text("".join(f"chr2\t{start}\t{start + 10}\n" for start in starts))
    words = ["expression", "predict", str(options.genome), options.regions, "-m", options.model]
    return [*words, "--species", "human"]


def score_words(folder):
    case = write_case(folder, NUM_EACH)
    words = ["variants", "score", str(case.vcf), str(case.genome), "-m", str(case.model)]
    return [*words, "--species", "human"]


@pytest.fixture(scope="module", params=[predict_words, score_words])
def arguments(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def running(arguments, tmp_path):
    """A run on two devices, a process of its own, some of whose results are durable."""
    output = tmp_path / "out.h5"
    options = ["-o", str(output), "--threads", "2", "--device", "cpu,cpu", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "0.02", *arguments, *options],
        env={**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not journal_path(output).exists():
        time.sleep(0.002)
    yield process
    assert_group_ends(process.pid)


def test_a_device_whose_process_is_killed(arguments, running, tmp_path):
    devices = device_processes(running.pid)
    assert len(devices) == 2
    os.kill(devices[1], signal.SIGKILL)
    _, messages = running.communicate(timeout=120)
    assert (running.returncode, messages) == (
        1,
        "genoformer: error: the process of device cpu was killed by SIGKILL; is there enough memory? Use smaller "
        "batches, and repeat the command with --resume\n",
    )
    output, whole = tmp_path / "out.h5", tmp_path / "whole.h5"
    assert not output.exists()
    assert journal_path(output).exists()
    for path in (output, whole):
        options = ["-o", str(path), "--threads", "1", "--device", "cpu", "--resume"]
        assert CliRunner().invoke(app, [*arguments, *options]).exit_code == 0
    assert output.read_bytes() == whole.read_bytes()


def test_ctrl_c_ends_all_processes_at_once(running, tmp_path):
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    _, messages = running.communicate(timeout=120)
    assert (running.returncode, messages) == (EXIT_INTERRUPTED, "genoformer: interrupted\n")
    assert time.monotonic() - began < 5
    assert not (tmp_path / "out.h5").exists()
