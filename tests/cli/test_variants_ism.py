from pathlib import Path

import h5py

import genoformer.workflows.ism as ism_module
import genoformer.workflows.join_mutagenesis as join_module
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.score_options import ScoreSettings
from tests.cli.test_variants import run

SUMMARY = {"counts": {"bases": 1234, "stretches": 2}, "run": {"seconds": 2.0}}


def test_every_flag_arrives(monkeypatch):
    arrived = []
    monkeypatch.setattr(ism_module, "ism", lambda options, on_progress: arrived.append(options) or SUMMARY)
    flags = [
        "--vcf", "a.vcf", "--around", "5", "--scores", "sad,d2", "--species", "fly", "--tracks", "1-2", "--tracks", "x",
        "--rc", "--shifts", "-1..1", "--no-reuse", "--batch-size", "4", "--precision", "bf16", "--logos", "3",
        "--device", "cuda:1", "-t", "2", "--shard", "2/3", "--resume",
    ]  # fmt: skip
    done = run("ism", "g.fa", "-m", "m", "-o", "a.h5", *flags)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "genoformer: 1,234 bases of 2 stretches changed in 2.0 s\n"
    assert run("ism", "g.fa", "chr1:1-9", "-m", "m", "-o", "a.h5", "-q").stderr == ""
    settings = ScoreSettings(
        scores=("sad", "d2"), species="fly", tracks=("1-2", "x"), rc=True, shifts=(-1, 0, 1), reuse=False, batch_size=4,
        precision="bf16",
    )  # fmt: skip
    assert arrived == [
        IsmOptions(Path("g.fa"), Path("a.h5"), "m", None, "a.vcf", 5, settings, 3, "cuda:1", 2, (2, 3), True),
        IsmOptions(Path("g.fa"), Path("a.h5"), "m", "chr1:1-9"),
    ]


def test_shards_are_joined_whatever_they_hold(monkeypatch, tmp_path):
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file.attrs["kind"] = "saturation mutagenesis"
    arrived = []
    monkeypatch.setattr(
        join_module,
        "join_mutagenesis",
        lambda *arguments, resume: arrived.append((*arguments, resume)) or {"counts": SUMMARY["counts"]},
    )
    done = run("join", tmp_path / "1.h5", "2.h5", "-o", "all.h5", "--resume")
    assert (done.exit_code, done.stderr) == (0, "genoformer: 1,234 bases of 2 stretches changed\n")
    assert arrived == [([str(tmp_path / "1.h5"), "2.h5"], Path("all.h5"), True)]
    done = run("join", tmp_path / "1.h5", "2.h5", "-o", "all.h5", "-o", "all.tsv")
    assert done.exit_code == 2
    assert "shards of 'ism' make one .h5 file" in done.stderr


def test_one_line_for_what_cannot_be_done():
    done = run("ism", "g.fa", "-m", "m", "-o", "a.h5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "genoformer: error: expected a region or --vcf, one of them\n"
