from pathlib import Path

import genoformer.workflows.report_scores as report_module
from genoformer.workflows.report_scores import ReportOptions
from tests.cli.test_variants import run
from tests.variant_cases import write_case


def test_from_a_vcf_to_a_page(tmp_path):
    case = write_case(tmp_path, num_each=1)
    done = run(
        "score", case.vcf, case.genome, "-m", case.model, "--species", "human", "--predictions", "-o",
        tmp_path / "a.h5", "-t", "1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    done = run("report", tmp_path / "a.h5", "--top", 2, "-o", tmp_path / "a.html")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith(f"2 of 3 variants in {tmp_path / 'a.html'}\n")
    assert (tmp_path / "a.html").read_text().count("<tr data-index") == 2


def test_every_flag_arrives(monkeypatch):
    arrived = []
    monkeypatch.setattr(report_module, "report_scores", lambda options: arrived.append(options))
    flags = ["--top", "9", "--rank-by", "js", "--tracks", "a", "--tracks", "b", "--plots", "1", "--igv", "i.js", "-q"]
    assert run("report", "a.h5", "-o", "a.html", *flags).exit_code == 0
    assert arrived == [ReportOptions(Path("a.h5"), Path("a.html"), 9, "js", ("a", "b"), 1, Path("i.js"))]


def test_one_line_for_what_cannot_be_done(tmp_path):
    done = run("report", tmp_path / "missing.h5", "-o", tmp_path / "a.html")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "missing.h5: is no whole file of variant scores" in done.stderr.splitlines()[-1]
