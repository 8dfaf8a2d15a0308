from typer.testing import CliRunner

from genoformer.cli.main import app
from tests.correct_inputs import run_correct, simulate_molecules, write_inputs


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_a_page_and_files_for_multiqc(tmp_path):
    run_correct(write_inputs(tmp_path / "in", simulate_molecules(3)), tmp_path / "out.bam")
    result = run(tmp_path / "out.bam", "-o", tmp_path / "report.html", "--multiqc", tmp_path / "mqc")
    assert (result.exit_code, result.output) == (0, "")
    assert "Molecules: 3; reads written: 3" in (tmp_path / "report.html").read_text()
    assert len(list((tmp_path / "mqc").iterdir())) == 3


def test_what_to_write_must_be_said(tmp_path):
    assert run(tmp_path / "out.bam").exit_code == 2


def test_an_output_without_a_summary_is_one_line(tmp_path):
    result = run(tmp_path / "out.bam", "-o", tmp_path / "report.html")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"genoformer: error: {tmp_path}/out.bam.summary.json: is not there")
