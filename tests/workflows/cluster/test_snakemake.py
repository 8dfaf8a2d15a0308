"""The Snakemake workflow: here, and as jobs of a real Slurm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from genoformer.workflows.predict import predict
from genoformer.workflows.predict_options import PredictOptions
from genoformer.workflows.score import score
from genoformer.workflows.score_options import ScoreOptions
from tests.cluster_inputs import EXAMPLES, GENOME, TEMPLATES, environment, write_regions, write_variants
from tests.correct_inputs import Inputs, records, run_correct
from tests.private_slurm import missing_programs, private_slurm

pytestmark = pytest.mark.slow

WORKFLOW = TEMPLATES / "snakemake"
READS = """\
output: corrected.bam
subreads: {subreads}
ccs: {ccs}
shards: 4
threads: 1
flags: -m vote --min-quality 0
"""
EXPRESSION = f"""\
genome: {GENOME}
model: expression-demo
shards: 2
threads: 1
flags: --device cpu
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The environment with `genoformer` of this checkout in it."""
    if shutil.which("snakemake") is None:
        pytest.skip("no Snakemake on this machine: pip install snakemake snakemake-executor-plugin-slurm")
    found = environment(tmp_path_factory.mktemp("bin"), os.environ["PATH"])
    # Snakemake has an environment of its own, which must not see the packages of this one.
    return {**os.environ, **found, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def workflow(folder: Path, config: str) -> Path:
    """A copy of the workflow with this config file."""
    shutil.copytree(WORKFLOW, folder)
    (folder / "config.yaml").write_text(config)
    return folder


def snakemake(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["snakemake", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def run_here(folder: Path, programs: dict[str, str], rules: dict[str, int]) -> None:
    """First what would be done, how often by each rule, and then all of it."""
    dry = snakemake(folder, programs, "--cores", "2", "--dry-run")
    lines = [line.split() for line in (dry.stdout + dry.stderr).splitlines()]
    counts = {words[0]: words[1] for words in lines if len(words) == 2 and words[0].isalpha() and words[1].isdigit()}
    assert counts == {name: str(count) for name, count in {**rules, "total": sum(rules.values())}.items()}, dry.stderr
    result = snakemake(folder, programs, "--cores", "2")
    assert result.returncode == 0, result.stderr


def assert_same_reads(folder: Path, inputs: Inputs, tmp_path: Path) -> None:
    run_correct(inputs, tmp_path / "whole.bam", model="vote")
    assert records(folder / "corrected.bam") == records(tmp_path / "whole.bam")
    assert "4 shards" in (folder / "corrected.bam.report.html").read_text()
    assert len(list((folder / "corrected.bam.multiqc").glob("*_mqc.json"))) == 3


def test_raw_reads_here(programs, tmp_path):
    """With the model that ships and a truth to hold them against."""
    pytest.importorskip("mappy")
    inputs = Inputs(str(EXAMPLES / "subreads.bam"), str(EXAMPLES / "ccs.bam"))
    config = READS.format(**inputs._asdict()).replace("-m vote ", "--device cpu ").replace("shards: 4", "shards: 2")
    folder = workflow(tmp_path / "workflow", f"{config}aligned: false\ntruth: {EXAMPLES / 'truth.fasta'}\n")
    rules = {"align": 1, "correct": 2, "join": 1, "assess": 1, "report": 1, "all": 1}
    run_here(folder, programs, rules)
    aligned = Inputs(str(folder / "corrected.bam.shards" / "subreads_to_ccs.bam"), inputs.ccs)
    run_correct(aligned, tmp_path / "whole.bam", model="consensus-tiny", device="cpu")
    assert records(folder / "corrected.bam") == records(tmp_path / "whole.bam")
    assert "</html>" in (folder / "corrected.bam.assessment.html").read_text()


def test_tracks_here(programs, tmp_path):
    regions = write_regions(tmp_path)
    folder = workflow(tmp_path / "workflow", f"output: tracks\nregions: {regions}\n{EXPRESSION}")
    run_here(folder, programs, {"predict": 2, "join": 1, "report": 1, "all": 1})
    predict(PredictOptions(GENOME, str(regions), tmp_path / "whole", "expression-demo", device="cpu", threads=1))
    for path in (tmp_path / "whole").glob("*.bw"):
        assert (folder / "tracks" / path.name).read_bytes() == path.read_bytes()
    assert "</html>" in (folder / "tracks.report.html").read_text()


def test_scores_here(programs, tmp_path):
    vcf, whole = write_variants(tmp_path), tmp_path / "whole.vcf.gz"
    folder = workflow(tmp_path / "workflow", f"output: scores.vcf.gz\nvariants: {vcf}\n{EXPRESSION}")
    run_here(folder, programs, {"score": 2, "join": 1, "report": 1, "all": 1})
    score(ScoreOptions(str(vcf), GENOME, "expression-demo", (str(whole),), device="cpu", threads=1))
    assert (folder / "scores.vcf.gz").read_bytes() == whole.read_bytes()
    assert "</html>" in (folder / "scores.vcf.gz.report.html").read_text()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (READS.replace("shards: 4", "shard: 4"), "all of it: Additional properties are not allowed ('shard' was unexp"),
        (READS.replace("shards: 4", "shards: none"), "shards: 'none' is not of type 'integer'"),
        ("output: tracks\nregions: a.bed\ngenome: g.fa\n", "all of it: 'model' is a dependency of 'regions'"),
        (f"output: tracks.bw\nregions: a.bed\n{EXPRESSION}", "output: 'tracks.bw' does not match "),
        (f"{READS}regions: a.bed\n", "has subreads and regions of subreads, regions, variants; expected one of them"),
    ],
)
def test_a_config_that_cannot_work_is_refused_in_one_line(programs, tmp_path, config, line):
    config = config.format(subreads="subreads.bam", ccs="ccs.bam")
    result = snakemake(workflow(tmp_path / "workflow", config), programs, "--cores", "1", "--dry-run")
    assert result.returncode == 1
    [found] = [text for text in (result.stdout + result.stderr).splitlines() if text]
    assert found.startswith(f"config.yaml: {line}")


def test_as_jobs_of_slurm(programs, shared_data, tmp_path):
    if missing := missing_programs():
        pytest.skip(f"no Slurm on this machine: {', '.join(missing)} not found; Debian has them in slurm-wlm and munge")
    human = shared_data / "consensus" / "human_1m"
    inputs = Inputs(str(human / "subreads_to_ccs.bam"), str(human / "ccs.bam"))
    folder, wrappers = workflow(tmp_path / "workflow", READS.format(**inputs._asdict())), tmp_path / "wrappers"
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
