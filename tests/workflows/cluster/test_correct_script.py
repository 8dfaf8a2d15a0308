"""What correct.sbatch decides: which jobs it submits, which shard a job makes, what goes back into the queue.

Slurm and genoformer are stand-ins here; test_correct_under_slurm.py has the real ones.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = (
    Path(__file__).resolve().parent.parent.parent.parent / "genoformer" / "workflows" / "cluster" / "correct.sbatch"
)
COMMAND = ["consensus", "correct", "a b.bam", "ccs.bam"]
USAGE = "usage: bash correct.sbatch SHARDS OUT [SBATCH OPTIONS] -- consensus correct INPUTS [FLAGS]"

PROGRAMS = {
    "sbatch": """
        { printf sbatch; printf ' <%s>' "$@"; echo; } >> calls
        grep -c ^sbatch calls""",
    "genoformer": """
        echo "genoformer $*" >> calls
        exec sh -c "$GENOFORMER" """,
    "scontrol": 'echo "scontrol $*" >> calls',
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def start(folder, *arguments, command="true", **variables):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "GENOFORMER": command, **variables,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", str(SCRIPT), *map(str, arguments)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def end(process):
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def shard(folder, index, count=3, output="out.fastq.gz", **options):
    variables = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n1", "SLURM_ARRAY_TASK_ID": str(index)}
    return start(folder, "shard", count, output, "--", *COMMAND, **variables, **options)


def calls(folder):
    return (folder / "calls").read_text().splitlines()


def test_it_submits_the_shards_and_the_job_that_waits_for_them(folder):
    code, output = end(start(folder, 3, "o.bam", "--gpus=1", "--time=4:00:00", "--", *COMMAND, SLURM_JOB_ID="9"))
    assert (code, output) == (0, "shards: job 1, join: job 2, logs: o.bam.shards/\n")
    words = "<--> <consensus> <correct> <a b.bam> <ccs.bam>"
    assert calls(folder) == [
        f"sbatch <--parsable> <--array=1-3> <--output=o.bam.shards/%a.log> <--gpus=1> <--time=4:00:00> <{SCRIPT}> "
        f"<shard> <3> <o.bam> {words}",
        f"sbatch <--parsable> <--dependency=afterok:1> <--output=o.bam.shards/join.log> <{SCRIPT}> <join> <3> <o.bam> "
        f"{words}",
    ]
    assert (folder / "o.bam.shards").is_dir()


@pytest.mark.parametrize("arguments", [[], ["3"], ["3", "o.bam"], ["3", "o.bam", "--gpus=1", "consensus", "correct"]])
def test_used_in_another_way_it_says_how(folder, arguments):
    code, output = end(start(folder, *arguments))
    assert code != 0
    assert USAGE in output
    assert not (folder / "calls").exists()


def test_a_shard_is_named_and_numbered_by_its_task(folder):
    code, output = end(shard(folder, 2, SLURM_RESTART_COUNT="1"))
    assert (code, output) == (0, "shard 2 of 3: job 17 on n1, requeued 1 times\n")
    file = "out.fastq.gz.shards/00002-of-00003.fastq.gz"
    assert calls(folder) == [f"genoformer consensus correct a b.bam ccs.bam -o {file} --shard 2/3 --resume"]


def test_the_code_of_a_shard_that_fails_is_that_of_genoformer(folder):
    code, _ = end(shard(folder, 1, command="exit 3"))
    assert code == 3
    assert len(calls(folder)) == 1


def test_a_shard_that_is_told_to_stop_goes_back_into_the_queue(folder):
    process = shard(folder, 1, command="exec sleep 60")
    while not (folder / "calls").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    code, output = end(process)
    assert code == 75
    assert output.splitlines()[-1] == "shard 1 of 3: stopped; back into the queue"
    assert calls(folder)[1:] == ["scontrol requeue 17"]


def test_a_shard_that_ends_well_though_it_was_told_to_stop_is_done(folder):
    process = shard(folder, 1, command="trap '' TERM; sleep 3")
    while not (folder / "calls").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert end(process)[0] == 0
    assert len(calls(folder)) == 1


@pytest.mark.parametrize(
    ("output", "suffix", "group", "resume"),
    [
        ("d.x/o.fastq.gz", "fastq.gz", "consensus", " --resume"),
        ("tracks", "h5", "expression", ""),
        ("s.vcf", "h5", "variants", ""),
    ],
)
def test_the_join_names_all_shards_and_reports(folder, output, suffix, group, resume):
    code, _ = end(start(folder, "join", 2, output, "--", group, "correct", "x.bam", SLURM_JOB_ID="18"))
    assert code == 0
    files = " ".join(f"{output}.shards/0000{index}-of-00002.{suffix}" for index in (1, 2))
    assert calls(folder) == [
        f"genoformer {group} join {files}{resume} -o {output}",
        f"genoformer report {output} -o {output}.report.html",
    ]


def test_a_join_that_fails_is_not_reported(folder):
    code, _ = end(start(folder, "join", 2, "o.bam", "--", *COMMAND, command="exit 1", SLURM_JOB_ID="18"))
    assert code == 1
    assert len(calls(folder)) == 1
