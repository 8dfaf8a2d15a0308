from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import genoformer.workflows.expression_examples as from_bigwigs
import genoformer.workflows.import_basenji as from_tfrecords
from genoformer.cli.main import app
from tests.basenji_builder import write_basenji
from tests.bigwig_builder import write_bigwig

SUMMARY = {"n_examples": 1, "n_examples_train": 1}


def invoke(*arguments):
    return CliRunner().invoke(app, ["expression", "examples", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "genome.fa").write_text(">chr1\n" + "ACGTACGTAC" * 60 + "\n")
    (tmp_path / "regions.bed").write_text("chr1\t0\t256\ttrain\nchr1\t256\t512\tvalid\n")
    (tmp_path / "targets.txt").write_text("\tidentifier\tfile\n0\ta\ta.bw\n")
    write_bigwig(tmp_path / "a.bw", {"chr1": np.ones(600)})
    return tmp_path / "genome.fa", tmp_path / "targets.txt", "--regions", tmp_path / "regions.bed"


def test_from_bigwigs(files, tmp_path):
    result = invoke(*files, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "genoformer: 2 examples: 1 train, 1 valid\n"
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "out").iterdir()) == ["examples", "train", "valid"]
    assert invoke(*files, "-o", tmp_path / "out", "-q").stderr == ""


def test_from_tfrecords(tmp_path):
    folder = write_basenji(tmp_path / "data", {"train": 3, "valid": 1})
    result = invoke("--from-tfrecords", folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "genoformer: 4 examples: 3 train, 1 valid\n")


def capture(monkeypatch, module, name):
    arrived = []
    monkeypatch.setattr(module, name, lambda options, on_progress: arrived.append(options) or SUMMARY)
    return arrived


COMMON = ["--sequence-length", "196kb", "--valid", "f1", "--valid", "f2", "--test", "f3", "--shard", "2/3", "-t", "3"]


def test_every_flag_arrives_for_bigwigs(tmp_path, monkeypatch):
    arrived = capture(monkeypatch, from_bigwigs, "make_expression_examples")
    own = ["--bin", "32", "--crop", "64", "--blacklist", "b", "--interpolate", "--borzoi", "--float16"]
    assert invoke("g", "t", "--regions", "r", "-o", "out", *COMMON, *own).exit_code == 0
    assert invoke("g", "t", "--regions", "r", "-o", "out").exit_code == 0
    files = Path("g"), Path("t"), Path("r"), Path("out")
    assert arrived == [
        from_bigwigs.ExpressionExamplesOptions(
            *files, 196_000, 32, 64, ("f1", "f2"), ("f3",), Path("b"), True, True, "float16", (2, 3), 2
        ),
        from_bigwigs.ExpressionExamplesOptions(*files),
    ]


def test_every_flag_arrives_for_tfrecords(monkeypatch):
    arrived = capture(monkeypatch, from_tfrecords, "import_basenji")
    assert invoke("g", "--from-tfrecords", "d", "-o", "out", *COMMON).exit_code == 0
    assert invoke("--from-tfrecords", "d", "-o", "out").exit_code == 0
    files = Path("d"), Path("out")
    assert arrived == [
        from_tfrecords.ImportBasenjiOptions(*files, Path("g"), 196_000, ("f1", "f2"), ("f3",), (2, 3), 2),
        from_tfrecords.ImportBasenjiOptions(*files),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["g", "t"], "expected GENOME, TARGETS and --regions, or --from-tfrecords"),
        (["g", "--regions", "r"], "expected GENOME, TARGETS and --regions, or --from-tfrecords"),
        (
            ["g", "t", "--from-tfrecords", "d"],
            "TARGETS and --from-tfrecords exclude each other: the data set has its own",
        ),
        (["--from-tfrecords", "d", "--bin", "32"], "--bin and --from-tfrecords exclude each other"),
        (["--from-tfrecords", "d", "--float16"], "--float16 and --from-tfrecords exclude each other"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, message):
    result = invoke(*arguments, "-o", "out")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert line.startswith(f"genoformer: error: {message}")


def test_bad_data_is_one_line_and_exit_1(files, tmp_path):
    (tmp_path / "regions.bed").write_text("chr1\t500\t756\ttrain\n")
    result = invoke(*files, "-o", tmp_path / "out", "-q")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert line.startswith(
        f"genoformer: error: {tmp_path / 'regions.bed'} line 1: chr1:501-756 reaches past the end of "
    )
