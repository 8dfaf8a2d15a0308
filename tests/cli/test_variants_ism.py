from pathlib import Path

import genoformer.workflows.ism as ism_module
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.score_options import ScoreSettings
from tests.cli.test_variants import run

SUMMARY = {"changes": 1234, "stretches": 1, "run": {"seconds": 2.0}}


def test_every_flag_arrives(monkeypatch):
    arrived = []
    monkeypatch.setattr(ism_module, "ism", lambda options, on_progress: arrived.append(options) or SUMMARY)
    flags = [
        "--vcf", "a.vcf", "--around", "5", "--scores", "sad,d2", "--species", "fly", "--tracks", "1-2", "--tracks", "x",
        "--rc", "--shifts", "-1..1", "--no-reuse", "--batch-size", "4", "--precision", "bf16", "--logos", "3",
        "--device", "cuda:1", "-t", "2",
    ]  # fmt: skip
    done = run("ism", "g.fa", "-m", "m", "-o", "a.h5", *flags)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "genoformer: 1,234 changes in 1 stretches in 2.0 s\n"
    assert run("ism", "g.fa", "chr1:1-9", "-m", "m", "-o", "a.h5", "-q").stderr == ""
    settings = ScoreSettings(
        scores=("sad", "d2"), species="fly", tracks=("1-2", "x"), rc=True, shifts=(-1, 0, 1), reuse=False, batch_size=4,
        precision="bf16",
    )  # fmt: skip
    assert arrived == [
        IsmOptions(Path("g.fa"), Path("a.h5"), "m", None, "a.vcf", 5, settings, 3, "cuda:1", 2),
        IsmOptions(Path("g.fa"), Path("a.h5"), "m", "chr1:1-9"),
    ]


def test_one_line_for_what_cannot_be_done():
    done = run("ism", "g.fa", "-m", "m", "-o", "a.h5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "genoformer: error: expected a region or --vcf, one of them\n"
