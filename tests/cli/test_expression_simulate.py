from typer.testing import CliRunner

import genoformer.workflows.simulate_expression as workflow
from genoformer.cli.main import app
from genoformer.workflows.simulate_expression import SimulateExpressionOptions


def invoke(*arguments):
    return CliRunner().invoke(app, ["expression", "simulate", *map(str, arguments)], catch_exceptions=False)


def test_what_there_is_now(tmp_path):
    result = invoke("--seed", 3, "--size", "30kb", "--contigs", 3, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("genoformer: ")
    assert result.stderr.endswith(" variants\n")
    assert invoke("--seed", 3, "--size", "30kb", "--contigs", 3, "-o", tmp_path / "out", "-q").stderr == ""


def test_every_flag_arrives(tmp_path, monkeypatch):
    arrived = []
    summary = {"promoters": 1, "enhancers": 2, "working": 3, "variants": 4}
    monkeypatch.setattr(workflow, "simulate_expression", lambda options: arrived.append(options) or summary)
    result = invoke("--seed", 3, "--size", "1Mb", "--contigs", 5, "--region", "2kb", "-o", tmp_path)
    assert result.stderr == "genoformer: 1 promoter and 2 enhancers, 3 of them working; 4 variants\n"
    invoke("--seed", 4, "-o", tmp_path)
    assert arrived == [
        SimulateExpressionOptions(tmp_path, 3, 1_000_000, 5, 2000), SimulateExpressionOptions(tmp_path, 4)
    ]  # fmt: skip


def test_a_seed_must_be_given(tmp_path):
    result = invoke("-o", tmp_path)
    assert result.exit_code == 2
    assert "--seed" in result.stderr
