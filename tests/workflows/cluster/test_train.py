"""What train.sbatch decides: when a signal is passed on, what goes back into the queue, and with which code it ends.

Slurm and torchrun are stand-ins here; test_train_under_slurm.py has the real ones.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent.parent / "genoformer" / "workflows" / "cluster" / "train.sbatch"

# As srun does, the stand-in starts the command on a node, passes on its signal, and gives the command's code.
PROGRAMS = {
    "srun": """
        while [ "$1" != bash ]; do shift; done
        trap 'echo forwarded >> calls; touch stop' USR1
        SLURM_NODEID=1 "$@" & command=$!
        until wait $command; do code=$?; kill -0 $command 2> /dev/null || exit $code; done""",
    "torchrun": """
        echo "torchrun $*" >> calls
        echo "threads $OMP_NUM_THREADS" >> calls
        sh -c "$TORCHRUN" """,
    "scontrol": 'echo "scontrol $*" >> calls',
    "hostname": "echo first",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "run").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


STARTED = "run: job 20017 on n[1-2], requeued 0 times\n"


def start(folder: Path, torchrun: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The script in a job of two nodes, with `torchrun` as what the training does, in shell."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PROCESSES_"))},
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "TORCHRUN": torchrun,
        "SLURM_JOB_ID": "20017", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2",
        "SLURM_CPUS_ON_NODE": "9", **variables,
    }  # fmt: skip
    arguments = arguments or ("run", "consensus", "train", "a b.toml")
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def status(word: str) -> str:
    """Shell that writes the status of a run, as training does."""
    return f"""echo '{{"status": "{word}", "step": 3}}' > run/status.json; """


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = job.communicate(timeout=60)
    return job.returncode, output


def test_a_finished_run_ends_with_zero(folder):
    code, output = end(start(folder, status("running") + status("finished"), SLURM_GPUS_ON_NODE="4"))
    assert (code, output) == (0, STARTED)
    assert (folder / "calls").read_text() == (
        "torchrun --nnodes=2 --node-rank=1 --nproc-per-node=4 --master-addr=first --master-port=20017 "
        "--no-python genoformer consensus train a b.toml -o run --resume\nthreads 2\n"
    )


@pytest.mark.parametrize(("variables", "processes", "threads"), [
    ({}, 1, 9),
    ({"PROCESSES_PER_NODE": "3", "SLURM_GPUS_ON_NODE": "1"}, 3, 3),
    ({"SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "1"}, 2, 1),
])  # fmt: skip
def test_processes_and_threads_follow_the_node(folder, variables, processes, threads):
    assert end(start(folder, status("finished"), **variables))[0] == 0
    calls = (folder / "calls").read_text()
    assert f"--nproc-per-node={processes} " in calls
    assert f"threads {threads}\n" in calls


def test_an_interrupted_run_is_requeued_whatever_torchrun_gives(folder):
    code, output = end(start(folder, status("interrupted") + "exit 1"))
    assert (code, output) == (75, f"{STARTED}run: interrupted and saved; back into the queue\n")
    assert (folder / "calls").read_text().endswith("scontrol requeue 20017\n")


@pytest.mark.parametrize("ends", ["exit 3", status("running") + "exit 3"])
def test_a_run_that_fails_is_not_requeued(folder, ends):
    """Neither by its own status nor by what an earlier start left behind."""
    (folder / "run" / "status.json").write_text('{"status": "interrupted", "step": 2}\n')
    assert end(start(folder, ends)) == (3, STARTED)
    assert "scontrol" not in (folder / "calls").read_text()


def test_a_signal_waits_until_the_run_listens(folder):
    """One that comes while Python starts is neither lost nor kills; a second one changes nothing."""
    waits = "until [ -e running ]; do sleep .1; done; " + status("running") + "until [ -e stop ]; do sleep .1; done; "
    job = start(folder, waits + status("interrupted") + "exit 1")
    while not (folder / "calls").exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    job.send_signal(signal.SIGUSR1)
    time.sleep(2.5)  # the script looks every second
    assert "forwarded" not in (folder / "calls").read_text()
    (folder / "running").touch()
    assert end(job)[0] == 75
    assert (folder / "calls").read_text().splitlines()[2:] == ["forwarded", "scontrol requeue 20017"]


def test_torchrun_ignores_the_signal(folder):
    """Slurm sends it to every process of the step."""
    code, _ = end(start(folder, status("running") + "kill -USR1 $PPID $$; sleep .1;" + status("finished")))
    assert code == 0


def test_a_signal_to_a_run_that_cannot_start_leaves_its_failure(folder):
    job = start(folder, "sleep 2; exit 3")
    while not (folder / "calls").exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert end(job) == (3, STARTED)


def test_without_arguments_it_says_how_it_is_used(folder):
    job = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert job.returncode != 0
    assert "usage: sbatch [OPTIONS] train.sbatch RUN consensus train CONFIG --data DIR [...]" in job.stderr
