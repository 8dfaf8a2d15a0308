import pytest
import typer
from typer.testing import CliRunner

from genoformer.cli.consensus_draft import DRAFT_HELP, draft
from genoformer.cli.main import ErrorReportingGroup
from tests.align_inputs import records_of, simulate_zmw, write_raw


@pytest.fixture(scope="module")
def app():
    """The command alone, with the error handling of `genoformer`."""
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("draft", help=DRAFT_HELP)(draft)
    return app


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    reads = [read for zmw, count in ((1, 3), (2, 2), (3, 3)) for read in simulate_zmw(zmw, 400, count)[1]]
    return write_raw(tmp_path_factory.mktemp("draft") / "raw.bam", reads)


def invoke(app, *arguments):
    return CliRunner().invoke(app, ["draft", *map(str, arguments)], catch_exceptions=False)


def test_draft(app, raw, tmp_path):
    for package in ("mappy", "edlib", "pyabpoa"):
        pytest.importorskip(package)
    result = invoke(app, raw, "-o", tmp_path / "out.bam", "-t", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    first, second = result.stderr.splitlines()
    assert first.startswith("genoformer: 2 drafts of ")
    assert first.endswith(" bases from 3 ZMWs")
    assert second == "genoformer: too few full passes: 1 ZMW"
    assert len(records_of(tmp_path / "out.bam")) == 2
    assert (tmp_path / "out.bam.summary.json").exists()


def test_quiet_and_options(app, raw, tmp_path):
    for package in ("mappy", "edlib", "pyabpoa"):
        pytest.importorskip(package)
    result = invoke(app, raw, "-o", tmp_path / "out.bam", "-t", "1", "-q", "--min-passes", "2", "--shard", "1/1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert len(records_of(tmp_path / "out.bam")) == 3


def test_usage_errors_exit_2(app, raw, tmp_path):
    result = invoke(app, raw, "-o", tmp_path / "out.fastq")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_data_errors_exit_1(app, tmp_path):
    for package in ("mappy", "edlib", "pyabpoa"):
        pytest.importorskip(package)
    (tmp_path / "raw.bam").write_bytes(b"no BAM file")
    result = invoke(app, tmp_path / "raw.bam", "-o", tmp_path / "out.bam")
    assert result.exit_code == 1
    assert "expected a BAM file" in result.stderr
