"""What array.sbatch decides: which jobs it submits, which shard a job makes, what goes back into the queue.

Slurm and genoformer are stand-ins here; test_array_under_slurm.py has the real ones.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent.parent / "genoformer" / "workflows" / "cluster" / "array.sbatch"
COMMAND = ["consensus", "correct", "a b.bam", "ccs.bam"]
USAGE = "usage: bash array.sbatch SHARDS OUT [SBATCH OPTIONS] -- consensus correct INPUTS [FLAGS]"

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


def shard(folder, index, count=3, output="out.fastq.gz", words=COMMAND, **options):
    variables = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n1", "SLURM_ARRAY_TASK_ID": str(index)}
    return start(folder, "shard", count, output, "--", *words, **variables, **options)


def shard_files(folder, output, suffix, count=2):
    """Names of whole shards, which are there."""
    names = [f"{output}.shards/{index:05d}-of-{count:05d}.{suffix}" for index in range(1, count + 1)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return names


def calls(folder):
    return (folder / "calls").read_text().splitlines()


def test_it_submits_the_shards_and_the_job_that_waits_for_them(folder):
    code, output = end(start(folder, 3, "o.bam", "--gpus=1", "--time=4:00:00", "--", *COMMAND, SLURM_JOB_ID="9"))
    assert (code, output) == (0, "shards: job 1, join: job 2, logs: o.bam.shards/\n")
    words = "<--> <consensus> <correct> <a b.bam> <ccs.bam>"
    assert calls(folder) == [
        f"sbatch <--parsable> <--array=1-3> <--output=o.bam.shards/%a.log> <--gpus=1> <--time=4:00:00> <{SCRIPT}> "
        f"<shard> <3> <o.bam> {words}",
        f"sbatch <--parsable> <--dependency=afterany:1> <--output=o.bam.shards/join.log> <{SCRIPT}> <join> <3> <o.bam> "
        f"{words}",
    ]
    assert (folder / "o.bam.shards").is_dir()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["3"],
        ["3", "o.bam"],
        ["3", "o.bam", "--gpus=1", "consensus", "correct"],
        ["3", "o.bam", "--", "consensus", "corect", "a.bam", "ccs.bam"],
    ],
)
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


@pytest.mark.parametrize("words", [["expression", "predict", "g.fa", "r.bed"], ["variants", "score", "c.vcf", "g.fa"]])
def test_shards_of_tracks_and_of_scores_are_hdf5_files(folder, words):
    assert end(shard(folder, 3, output="out.tsv.gz", words=words))[0] == 0
    file = "out.tsv.gz.shards/00003-of-00003.h5"
    assert calls(folder) == [f"genoformer {' '.join(words)} -o {file} --shard 3/3 --resume"]


@pytest.mark.parametrize(
    ("output", "suffix", "group", "words", "vcf"),
    [
        ("d.x/o.fastq.gz", "fastq.gz", "consensus", ["correct", "x.bam"], ""),
        ("tracks", "h5", "expression", ["predict", "g.fa", "r.bed"], ""),
        ("s.vcf", "h5", "variants", ["score", "-m", "m", "c.vcf.gz", "g.fa"], " --vcf c.vcf.gz"),
    ],
)
def test_the_join_names_all_shards_and_reports(folder, output, suffix, group, words, vcf):
    files = " ".join(shard_files(folder, output, suffix))
    code, _ = end(start(folder, "join", 2, output, "--", group, *words, SLURM_JOB_ID="18"))
    assert code == 0
    assert calls(folder) == [
        f"genoformer {group} join {files}{vcf} --resume -o {output}",
        f"genoformer report {output} -o {output}.report.html",
    ]


def test_a_join_that_fails_is_not_reported(folder):
    shard_files(folder, "o.bam", "bam")
    code, _ = end(start(folder, "join", 2, "o.bam", "--", *COMMAND, command="exit 1", SLURM_JOB_ID="18"))
    assert code == 1
    assert len(calls(folder)) == 1


def test_the_join_says_which_shards_failed(folder):
    for name in shard_files(folder, "o.bam", "bam", count=12)[1::2]:
        (folder / name).unlink()
    code, output = end(start(folder, "join", 12, "o.bam", "--", *COMMAND, SLURM_JOB_ID="18"))
    assert (code, output) == (
        1,
        "o.bam: not joined, shards that are not whole: 2 4 6 8 10 12; see their logs, o.bam.shards/N.log, and repeat "
        "the command that started them\n",
    )
    assert not (folder / "calls").exists()
