import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from genoformer.cli.consensus_align import ALIGN_HELP, align
from genoformer.cli.main import ErrorReportingGroup
from tests.align_inputs import records_of, simulate_zmw, write_raw
from tests.bam_builder import write_bam

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def app():
    """The command alone, with the error handling of `genoformer`."""
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("align", help=ALIGN_HELP)(align)
    return app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    zmws = {zmw: simulate_zmw(zmw, 500, 2) for zmw in (1, 2, 3)}
    write_raw(folder / "raw.bam", [read for _, subreads in zmws.values() for read in subreads])
    write_bam(folder / "ccs.bam", [zmws[zmw][0] for zmw in (1, 3)])
    return folder


def invoke(app, *arguments):
    return CliRunner().invoke(app, ["align", *map(str, arguments)], catch_exceptions=False)


def test_align(app, folder, tmp_path):
    pytest.importorskip("mappy")
    result = invoke(app, folder / "raw.bam", folder / "ccs.bam", "-o", tmp_path / "out.bam", "-t", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "genoformer: 4 of 6 subreads of 3 ZMWs aligned",
        "genoformer: no CCS read: 2 subreads of 1 ZMW",
    ]
    assert len(records_of(tmp_path / "out.bam")) == 4


def test_quiet(app, folder, tmp_path):
    pytest.importorskip("mappy")
    result = invoke(app, folder / "raw.bam", folder / "ccs.bam", "-o", tmp_path / "out.bam", "-t", "1", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_shards(app, folder, tmp_path):
    pytest.importorskip("mappy")
    names = []
    for index in (1, 2):
        output = tmp_path / f"{index}.bam"
        result = invoke(app, folder / "raw.bam", folder / "ccs.bam", "-o", output, "--shard", f"{index}/2", "-t", "1")
        assert result.exit_code == 0
        names += [record.query_name for record in records_of(output)]
    assert len(names) == len(set(names)) == 4


def test_a_shard_that_does_not_parse(app, folder, tmp_path):
    result = invoke(app, folder / "raw.bam", folder / "ccs.bam", "-o", tmp_path / "out.bam", "--shard", "1")
    assert result.exit_code == 2
    assert "expected i/N, for instance 3/100" in result.stderr


def test_bad_data_is_one_line_and_exit_1(app, folder, tmp_path):
    pytest.importorskip("mappy")
    result = invoke(app, folder / "none.bam", folder / "ccs.bam", "-o", tmp_path / "out.bam")
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line == f"genoformer: error: {folder / 'none.bam'}: cannot be opened: No such file or directory"


@pytest.mark.parametrize("missing", ["mappy", "edlib"])
def test_without_the_extra_it_says_what_to_install(app, folder, tmp_path, monkeypatch, missing):
    for name in ("mappy", "edlib"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    result = invoke(app, folder / "raw.bam", folder / "ccs.bam", "-o", tmp_path / "out.bam")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"genoformer: error: {missing} is not installed, and aligning needs it; run: pip install 'genoformer[align]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_help_names_what_it_replaces_and_loads_no_aligner(app):
    result = invoke(app, "--help")
    assert result.exit_code == 0
    assert "replaces actc" in result.stdout
    assert "pip install 'genoformer[align]'" in result.stdout
    code = (
        "import sys; import genoformer.cli.consensus_align; "
        "print([name for name in ('mappy', 'edlib', 'numpy', 'torch', 'pysam') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
