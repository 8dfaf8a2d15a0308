from pathlib import Path

import genoformer.workflows.attribute as attribute_module
from genoformer.workflows.attribute_options import AttributeOptions
from genoformer.workflows.contributions import ContributionSettings
from tests.cli.test_expression_predict import invoke
from tests.predict_inputs import write_inputs


def test_attribute(tmp_path):
    options = write_inputs(tmp_path)
    base = ["attribute", options.genome, "chr2:101-120", "-m", options.model, "--species", "human", "-t", 1]
    result = invoke(*base, "-o", tmp_path / "out", "--logos", 0)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("genoformer: contributions of 20 bases in 1 region\n")
    assert len(list((tmp_path / "out").glob("*.bw"))) == 1
    assert invoke(*base, "-o", tmp_path / "a.h5", "-q").stderr == ""


def test_every_flag_arrives(monkeypatch):
    arrived, summary = [], {"counts": {"bins": 1, "regions": 1}}
    monkeypatch.setattr(attribute_module, "attribute", lambda options, on_progress: arrived.append(options) or summary)
    flags = [
        "--species", "fly", "--tracks", "CAGE:*", "--tracks", "1-2", "--bins", "3", "--span", "2kb", "--mean-centred",
        "--rc", "--shifts", "-1..1", "--smooth", "9", "--noise", "0.3", "--seed", "4", "--logos", "5", "--device",
        "cuda:1", "-t", "3", "--shard", "2/9", "--resume",
    ]  # fmt: skip
    assert invoke("attribute", "g.fa", "r.bed", "-m", "m", "-o", "out.h5", *flags).exit_code == 0
    assert invoke("attribute", "g.fa", "chr1:1-9", "-m", "m", "-o", "out").exit_code == 0
    settings = ContributionSettings(True, (-1, 0, 1), True, 9, 0.3, 4)
    assert arrived == [
        AttributeOptions(
            Path("g.fa"), "r.bed", Path("out.h5"), "m", "fly", ("CAGE:*", "1-2"), "cuda:1", 3, (2, 9), True,
            settings, 3, 2000, 5,
        ),
        AttributeOptions(Path("g.fa"), "chr1:1-9", Path("out"), "m"),
    ]  # fmt: skip


def test_one_line_for_what_cannot_be_done(tmp_path):
    options = write_inputs(tmp_path)
    result = invoke("attribute", options.genome, "chr2:1-9", "-m", options.model, "-o", tmp_path / "a.bw")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("a.bw'; expected a folder for a bigWig a track, or a .h5 file\n")
