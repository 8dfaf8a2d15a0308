from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import genoformer.workflows.expression_assess as workflow
from genoformer.cli.main import app
from genoformer.workflows.expression_assess import AssessExpressionOptions
from tests.workflows.test_expression_assess import NUM_WINDOWS, save_model, write_shard


def invoke(*arguments):
    return CliRunner().invoke(app, ["expression", "assess", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def arguments(tmp_path):
    threads = torch.get_num_threads()
    write_shard(tmp_path / "test-00001-of-00001.h5", range(NUM_WINDOWS))
    save_model(tmp_path)
    yield [tmp_path / "model.safetensors", "--data", tmp_path, "-o", tmp_path / "r.tsv", "-t", 1, "--device", "cpu"]
    torch.set_num_threads(threads)


def test_assess(arguments, tmp_path):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[0] == "genoformer: split test, head human: 5 windows, 40 bins of 8 bp"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "genoformer: CAGE: 2 tracks",
        "genoformer: DNASE: 1 track",
        "genoformer: all: 3 tracks",
    ]
    assert ", means: pearson_bins " in lines[3]
    assert len((tmp_path / "r.tsv").read_text().splitlines()) == 4
    assert invoke(*arguments, "-q").stderr == ""


def test_one_line_where_it_cannot_work(arguments):
    result = invoke(*arguments, "--split", "valid")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("has no shards valid-*.h5; it has test\n")
    assert result.stderr.count("\n") == 1


def test_every_flag_arrives(monkeypatch, tmp_path):
    arrived = []

    def assess(options, on_progress):
        arrived.append(options)
        averages = {"tracks": 3, "pearson_bins": {"mean": None, "tracks": 2}}
        size = {"split": "s", "species": "fly", "windows": 1, "bins": 2, "bin_bp": 3, "genes": 4}
        return size | {"definitions": ["pearson_bins"], "assays": {}, "all": averages}

    monkeypatch.setattr(workflow, "assess_expression", assess)
    result = invoke(
        "m", "--data", tmp_path, "-o", "r.tsv", "-o", "r.html", "--split", "fold0", "--genes", "g.gtf", "--gene-type",
        "a", "--gene-type", "b", "--species", "fly", "--rc", "--batch-size", 2, "-t", 3, "--device", "cuda:1",
        "--precision", "bf16",
    )  # fmt: skip
    assert arrived == [
        AssessExpressionOptions(
            "m", tmp_path, "fold0", ("r.tsv", "r.html"), species="fly", genes=Path("g.gtf"),
            gene_types=("a", "b"), rc=True, batch_size=2, device="cuda:1", precision="bf16", threads=3,
        )
    ]  # fmt: skip
    assert result.stderr.splitlines() == [
        "genoformer: split s, head fly: 1 window, 2 bins of 3 bp, 4 genes",
        "genoformer: all: 3 tracks, means: pearson_bins -",
        "genoformer: left out of the means, for they never vary, measured or predicted: 1 track",
    ]
