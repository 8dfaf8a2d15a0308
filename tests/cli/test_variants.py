"""The commands `variants score` and `join`, as a user calls them."""

import re

import h5py
import pytest
from typer.testing import CliRunner

from genoformer.cli.main import app
from tests.variant_cases import write_case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"), num_each=1)


HUMAN = ["--species", "human", "--device", "cpu", "-t", "1"]


def run(*words):
    return CliRunner().invoke(app, ["variants", *map(str, words)])


def test_score_and_join(case, tmp_path):
    common = ["score", case.vcf, case.genome, "-m", case.model, *HUMAN]
    common += ["--scores", "sad,js", "--tracks", "CAGE:*", "--tracks", "3", "--rc", "--shifts", "-1,0,1"]
    for i in (1, 2):
        done = run(*common, "--shard", f"{i}/2", "-o", tmp_path / f"{i}.h5")
        assert done.exit_code == 0, done.output
    assert "genoformer: 1 variant scored (deletion 1, overlapped 1, symbolic 1) in " in done.stderr
    outputs = [word for name in ("all.h5", "all.tsv.gz", "all.vcf.gz") for word in ("-o", tmp_path / name)]
    done = run("join", tmp_path / "1.h5", tmp_path / "2.h5", *outputs, "--vcf", case.vcf)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "3 variants scored (SNV 1, deletion 1, insertion 1, overlapped 1, symbolic 1)" in done.stderr
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["SAD"].shape == (3, 2)
        assert file["target_index"][:].tolist() == [0, 3]
        assert file.attrs["command"].endswith("--tracks 'CAGE:*' --tracks '3' --shifts -1,0,1 --rc")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--scores", "sax", "-o", "s.h5"], 2, "score 'sax': expected sad, logsad"),
        (["-o", "s.bed"], 2, "output 's.bed': expected a name ending in"),
        (["-o", "s.h5", "--shifts", "1;2"], 2, "expected for instance -3..3 or -1,0,1"),
        (["-o", "s.h5", "--tracks", "CAGE:brain"], 2, "none has such an identifier or description"),
    ],
)
def test_wrong_usage(case, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    done = run("score", case.vcf, case.genome, "-m", case.model, *HUMAN, *words)
    assert done.exit_code == code
    assert message in " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
    assert not list(tmp_path.iterdir())


def test_bad_data_is_one_line(case, tmp_path):
    (tmp_path / "bad.vcf").write_text("chr1\t0\t.\tA\tC\n")
    done = run("score", tmp_path / "bad.vcf", case.genome, "-m", case.model, *HUMAN, "-q", "-o", tmp_path / "s.h5")
    assert done.exit_code == 1
    complaint = "bad.vcf record 1 (line 1): POS is '0'; expected a whole number from 1 to 2147483647"
    assert done.stderr == f"genoformer: error: {tmp_path}/{complaint}\n"
