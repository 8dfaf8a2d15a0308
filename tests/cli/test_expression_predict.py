import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import genoformer.workflows.predict as predict_module
from genoformer.cli.main import app
from genoformer.workflows.predict_options import PredictOptions
from tests.predict_inputs import write_inputs

SUMMARY = {"counts": {"tracks": 1, "bins": 2, "regions": 3}}


def invoke(*arguments):
    return CliRunner().invoke(app, ["expression", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def test_predict_and_join(options, tmp_path):
    base = ["predict", options.genome, options.regions, "-m", options.model, "--species", "human", "-t", 1]
    for index in (1, 2):
        result = invoke(*base, "-o", tmp_path / f"{index}.h5", "--shard", f"{index}/2")
        assert (result.exit_code, result.stdout) == (0, "")
    result = invoke("join", tmp_path / "2.h5", tmp_path / "1.h5", "-o", tmp_path / "out", "-t", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    said = r"genoformer: 3 tracks of 87 bins in 8 regions in \d+\.\d s of 2 shards\n"
    assert re.fullmatch(said, result.stderr)
    assert len(list((tmp_path / "out").glob("*.bw"))) == 3
    assert invoke(*base, "-o", tmp_path / "a.h5", "-q").stderr == ""


def test_every_flag_arrives(monkeypatch):
    arrived = []
    monkeypatch.setattr(predict_module, "predict", lambda options, on_progress: arrived.append(options) or SUMMARY)
    flags = [
        "--species", "fly", "--tracks", "CAGE:*", "--tracks", "1-2", "--rc", "--shifts", "-3..3", "--overlap", "5",
        "--batch-size", "2", "--device", "cuda:1", "--precision", "bf16", "-t", "3", "--shard", "2/9", "--resume",
    ]  # fmt: skip
    assert invoke("predict", "g.fa", "r.bed", "-m", "m", "-o", "out.h5", *flags).exit_code == 0
    assert invoke("predict", "g.fa", "chr1:1-9", "-m", "m", "-o", "out").exit_code == 0
    shifts = (-3, -2, -1, 0, 1, 2, 3)
    assert arrived == [
        PredictOptions(
            Path("g.fa"), "r.bed", Path("out.h5"), "m", "fly", ("CAGE:*", "1-2"), "cuda:1", 3, (2, 9), True, True,
            shifts, 5, 2, "bf16",
        ),
        PredictOptions(Path("g.fa"), "chr1:1-9", Path("out"), "m"),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [("0", (0,)), ("-1,0,+1", (-1, 0, 1)), ("5..5", (5,))])
def test_shifts(monkeypatch, text, expected):
    arrived = []
    monkeypatch.setattr(predict_module, "predict", lambda options, on_progress: arrived.append(options) or SUMMARY)
    invoke("predict", "g.fa", "r.bed", "-m", "m", "-o", "out.h5", "--shifts", text)
    assert arrived[0].shifts == expected


@pytest.mark.parametrize("text", ["3..-3", "a", "1..", "1;2", ""])
def test_what_are_no_shifts(text):
    result = invoke("predict", "g.fa", "r.bed", "-m", "m", "-o", "out.h5", "--shifts", text)
    assert result.exit_code == 2
    assert "expected for instance -3..3" in result.stderr


def test_one_line_for_what_cannot_be_done(options, tmp_path):
    result = invoke(
        "predict", options.genome, "chr3:1-9", "-m", options.model, "--species", "fly", "-o", tmp_path / "a"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].endswith("genome.fa: has no contig 'chr3'; it has chr2, chr10, chr1")
