import re

import pytest
import typer
from typer.testing import CliRunner

from genoformer.cli.consensus_simulate import FIT_ERRORS_HELP, SIMULATE_HELP, fit_errors, simulate
from genoformer.cli.main import ErrorReportingGroup


@pytest.fixture(scope="module")
def app():
    """The commands alone, with the error handling of `genoformer`."""
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)
    app.command(help=SIMULATE_HELP)(simulate)
    app.command("fit-errors", help=FIT_ERRORS_HELP)(fit_errors)
    return app


def invoke(app, *arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


SMALL = ("--zmws", 4, "--passes", "3-5", "--length", "300-400", "--random", "9kb", "--seed", 1, "-t", 1)


@pytest.fixture(scope="module")
def folder(app, tmp_path_factory):
    for name in ("mappy", "edlib", "pyabpoa"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("simulate")
    result = invoke(app, "simulate", *SMALL, "-o", folder / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    return folder, result.stderr


def test_simulate(folder):
    lines = folder[1].splitlines()
    assert re.fullmatch(r"genoformer: 4 ZMWs \(.*train.*\), 1\d subreads of \d,\d{3} bases", lines[0])
    assert re.fullmatch(r"genoformer: 4 drafts, \d+ errors in 1,\d{3} bp", lines[1])
    assert re.fullmatch(r"genoformer: seconds: genome .*, subreads .*, draft .*, align .*, truth .*", lines[2])
    assert len(lines) == 3
    assert sum(map(len, (folder[0] / "out" / "genome.fa").read_text().splitlines()[1:])) == 9000


def test_quiet(app, folder, tmp_path):
    result = invoke(app, "simulate", *SMALL, "-q", "-o", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_fit_errors_and_simulate_with_the_model(app, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("genoformer.workflows.fit_errors.NUM_ROUNDS", 1)
    out, model = folder[0] / "out", tmp_path / "model.json"
    reference = tmp_path / "drafts.fa"
    reference.write_text(drafts_as_fasta(out / "ccs.bam"))
    result = invoke(app, "fit-errors", out / "subreads_to_ccs.bam", "--ref", reference, "-o", model, "--limit", 9)
    assert (result.exit_code, result.stdout) == (0, "")
    assert re.fullmatch(
        r"genoformer: 9 reads \(0 left out\) over \d,\d{3} bases: 0\.\d{4} substitutions, 0\.\d{4} insertions, "
        r"0\.\d{4} deletions a base\n",
        result.stderr,
    )
    assert invoke(app, "simulate", *SMALL, "--error-model", model, "-q", "-o", tmp_path / "again").exit_code == 0


def drafts_as_fasta(path):
    from genoformer.io.reads import read_sequences

    return "".join(f">{read.name}\n{read.sequence.decode()}\n" for read in read_sequences(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--genome", "a.fa", "--random", "2Mb"), "both --genome and --random are given; expected one of them"),
        (("--random", "2 megabases"), "'2 megabases'; expected a number of bases"),
        (("--passes", "3"), "'3'; expected least-most, for instance 3-12"),
    ],
)
def test_wrong_usage(app, tmp_path, arguments, message):
    result = invoke(app, "simulate", "--seed", 1, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_one_line_for_bad_data(app, folder, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    result = invoke(app, "simulate", *SMALL, "-o", tmp_path / "out", "--error-model", tmp_path / "model.json")
    assert result.exit_code == 1
    assert "model.json: is no error model: its format is None" in result.stderr
    assert len(result.stderr.splitlines()) == 1
