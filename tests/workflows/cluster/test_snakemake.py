"""The Snakemake workflow: here, and as jobs of a real Slurm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.correct_inputs import Inputs, records, run_correct, simulate_molecules, write_inputs
from tests.private_slurm import missing_programs, private_slurm
from tests.workflows.cluster.test_train_under_slurm import CHECKOUT, environment

pytestmark = pytest.mark.slow

WORKFLOW = CHECKOUT / "genoformer" / "workflows" / "cluster" / "snakemake"
CONFIG = """\
output: corrected.bam
subreads: {subreads}
ccs: {ccs}
shards: 4
threads: 1
flags: -m vote --min-quality 0
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The environment with `genoformer` of this checkout in it."""
    if shutil.which("snakemake") is None:
        pytest.skip("no Snakemake on this machine: pip install snakemake snakemake-executor-plugin-slurm")
    found = environment(tmp_path_factory.mktemp("bin"), os.environ["PATH"])
    # Snakemake has an environment of its own, which must not see the packages of this one.
    return {**os.environ, **found, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def workflow(folder: Path, inputs: Inputs, config: str = CONFIG) -> Path:
    """A copy of the workflow with these inputs."""
    shutil.copytree(WORKFLOW, folder)
    (folder / "config.yaml").write_text(config.format(**inputs._asdict()))
    return folder


def snakemake(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["snakemake", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def assert_same_reads(folder: Path, inputs: Inputs, tmp_path: Path) -> None:
    run_correct(inputs, tmp_path / "whole.bam", model="vote")
    assert records(folder / "corrected.bam") == records(tmp_path / "whole.bam")
    assert "4 shards" in (folder / "corrected.bam.report.html").read_text()
    assert len(list((folder / "corrected.bam.multiqc").glob("*_mqc.json"))) == 3


def test_on_one_machine(programs, tmp_path):
    inputs = write_inputs(tmp_path / "in", simulate_molecules(12))
    folder = workflow(tmp_path / "workflow", inputs)
    result = snakemake(folder, programs, "--cores", "2")
    assert result.returncode == 0, result.stderr
    assert_same_reads(folder, inputs, tmp_path)


@pytest.mark.parametrize(("line", "text"), [("shard: 3\n", "shard"), ("shards: none\n", "none")])
def test_a_config_that_cannot_work_is_refused(programs, tmp_path, line, text):
    inputs = Inputs("subreads.bam", "ccs.bam")
    config = CONFIG.replace("shards: 4\n", line)
    result = snakemake(workflow(tmp_path / "workflow", inputs, config), programs, "--cores", "1", "--dry-run")
    assert result.returncode != 0
    assert text in result.stdout + result.stderr  # the first one where nothing is run


def test_as_jobs_of_slurm(programs, shared_data, tmp_path):
    if missing := missing_programs():
        pytest.skip(f"no Slurm on this machine: {', '.join(missing)} not found; Debian has them in slurm-wlm and munge")
    human = shared_data / "consensus" / "human_1m"
    inputs = Inputs(str(human / "subreads_to_ccs.bam"), str(human / "ccs.bam"))
    folder, wrappers = workflow(tmp_path / "workflow", inputs), tmp_path / "wrappers"
    (tmp_path / "slurm").mkdir()
    with private_slurm(tmp_path / "slurm") as slurm:
        path = os.pathsep.join([str(wrappers), programs["PATH"], slurm.environment["PATH"]])
        wrap_commands(wrappers, slurm.environment)
        result = snakemake(
            folder, {**programs, "PATH": path}, "--profile", "profiles/slurm", "--slurm-status-command", "squeue",
            "--slurm-init-seconds-before-status-checks", "2", "--default-resources", "mem_mb=0", "runtime=10",
            "slurm_account=''",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert_same_reads(folder, inputs, tmp_path)


def wrap_commands(folder: Path, environment: dict[str, str]) -> None:
    """Slurm's commands with the private configuration: Snakemake's plugin drops SLURM_CONF on its way."""
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo"):
        program = shutil.which(name, path=environment["PATH"])
        (folder / name).write_text(f'#!/bin/sh\nSLURM_CONF={environment["SLURM_CONF"]} exec {program} "$@"\n')
        (folder / name).chmod(0o755)
