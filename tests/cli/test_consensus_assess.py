import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from genoformer.cli.consensus_assess import assess, calibrate
from genoformer.cli.main import ErrorReportingGroup
from tests.assess_inputs import miscalibrated_reads, random_letters, write_truth


@pytest.fixture(scope="module")
def app():
    """The commands alone, with the error handling of `genoformer`."""
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)
    app.command()(assess)
    app.command()(calibrate)
    return app


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reads")
    corrected, truth = miscalibrated_reads(folder, "corrected", range(3), seed=1, size=1000)
    draft, _ = miscalibrated_reads(folder, "draft", range(3), seed=2, size=1000)
    return corrected, draft, truth


def invoke(app, *arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "-t", "1"], catch_exceptions=False)


def test_assess(app, files, tmp_path):
    pytest.importorskip("mappy")
    corrected, _, truth = files
    draft = tmp_path / "draft.bam"
    draft.write_bytes(Path(corrected).read_bytes())
    outputs = ["-o", tmp_path / "r.json", "-o", tmp_path / "r.tsv"]
    result = invoke(app, "assess", corrected, draft, "--truth", truth, *outputs)
    assert (result.exit_code, result.stdout) == (0, "")
    errors = json.loads((tmp_path / "r.json").read_text())["corrected"]["errors"]
    lines = result.stderr.splitlines()
    assert lines[0].startswith("genoformer: truth: one truth a molecule, aligned end to end by edlib (its names are ")
    assert lines[2].startswith("genoformer: corrected: 3 of 3 reads aligned, identity 0.9")
    assert lines[3].startswith(f"genoformer: reads aligned in both: 3, errors {errors:,} -> {errors:,}; only in")
    assert len((tmp_path / "r.tsv").read_text().splitlines()) == 4


def test_the_kind_of_truth_can_be_said(app, tmp_path):
    pytest.importorskip("mappy")
    truth = random_letters(np.random.default_rng(1), 1000)
    for name in ("a", "b"):
        (tmp_path / f"{name}.fa").write_text(f">m/1/ccs\n{truth.decode()}\n")
    path = write_truth(tmp_path / "truth.fa", [("m/1/truth", truth)])
    arguments = [tmp_path / "a.fa", tmp_path / "b.fa", "--truth", path, "-o", tmp_path / "r.json", "--truth-genome"]
    assert "a genome, aligned to by minimap2 (as asked for)" in invoke(app, "assess", *arguments).stderr
    assert invoke(app, "assess", *arguments, "-q").stderr == ""


def test_calibrate(app, files, tmp_path):
    pytest.importorskip("mappy")
    result = invoke(app, "calibrate", files[0], "--truth", files[2], "-o", tmp_path / "c.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "genoformer: 3 of 3 reads aligned" in result.stderr
    assert "genoformer: predicted bases: 2,400, " in result.stderr
    assert json.loads((tmp_path / "c.json").read_text())["fitted_on"]["num_reads"] == 3


def test_errors_are_one_line(app, files, tmp_path):
    pytest.importorskip("mappy")
    other = write_truth(tmp_path / "other.fa", [("m/99/truth", b"ACGT")])
    result = invoke(app, "assess", files[0], files[1], "--truth", other, "-o", tmp_path / "r.json")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.endswith("(3 have no truth there); is it the truth of these reads?")
    result = invoke(app, "assess", files[0], files[1], "--truth", other, "-o", tmp_path / "r.pdf")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
