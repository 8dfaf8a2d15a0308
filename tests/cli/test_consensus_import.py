import pytest
from typer.testing import CliRunner

from genoformer.cli.main import app
from tests.tfrecord_builder import features, write_windows


def invoke(*arguments):
    return CliRunner().invoke(app, ["consensus", "import", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write_windows(tmp_path / split / "a.tfrecord", features(), features())
    return tmp_path


def test_import(folder, tmp_path):
    result = invoke(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == "genoformer: 2 molecules: 2 train, 0 eval, 2 test"
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert invoke(folder, "-o", tmp_path / "out", "-q").stderr == ""


def test_every_flag_arrives(folder, tmp_path, monkeypatch):
    import genoformer.workflows.import_examples as workflow

    arrived = []
    monkeypatch.setattr(workflow, "import_examples", lambda options: arrived.append(options) or {})
    flags = ["--summary", "a.json", "--summary", "b.json", "--shard", "2/3", "--quiet"]
    assert invoke(folder, "-o", tmp_path, *flags).exit_code == 0
    assert arrived == [workflow.ImportOptions(str(folder), tmp_path, ("a.json", "b.json"), (2, 3))]


def test_bad_data_is_one_line_and_exit_1(folder, tmp_path):
    path = folder / "test" / "a.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    result = invoke(folder, "-o", tmp_path / "out", "-q")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert line.startswith(f"genoformer: error: {path} record 1 at byte ")


def test_wrong_usage_is_one_line_and_exit_2(tmp_path):
    result = invoke(tmp_path / "none", "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
