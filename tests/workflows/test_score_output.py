"""What a run of scores leaves behind, in every format, whole or not: made-up rows, read back by others' programs."""

import csv
import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pysam
import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.io.reads import read_json
from genoformer.io.vcf import VcfPart
from genoformer.workflows import score_output
from genoformer.workflows.score_output import (
    HDF5,
    PARQUET,
    TABLE,
    VCF,
    ScoreOutput,
    check_outputs,
    finished_summary,
    genes_path,
    score_format,
    write_outputs,
)
from tests.score_rows import TABLE as ALL_ROWS
from tests.score_rows import VARIANTS, Rows
from tests.test_architecture import CHECKOUT
from tests.variant_cases import write_vcf

FORMATS = ("s.h5", "s.tsv", "s.tsv.gz", "s.vcf", "s.vcf.gz")
IDENTITY = {"model": "sha256:1", "scores": ["sad_sum"], "shard": [1, 1]}
EXPECTED = np.array([row.values for row in Rows().rows()])  # [4, scores, T]


@pytest.fixture
def part(tmp_path_factory):
    """The file of the made-up variants, one a record."""
    path = tmp_path_factory.mktemp("vcf") / "calls.vcf"
    write_vcf(path, VARIANTS)
    return VcfPart(path, "calls.vcf")


@pytest.fixture
def whole(tmp_path_factory, part):
    """Outputs of all formats that were written at once."""
    folder = tmp_path_factory.mktemp("whole")
    write_outputs([str(folder / name) for name in FORMATS], Rows(), part)
    return folder


def test_formats_by_name():
    names = {
        "a.h5": HDF5, "b/a.hdf5": HDF5, "a.tsv": TABLE, "a.tsv.gz": TABLE, "a.vcf": VCF, "a.b.vcf.gz": VCF,
        "a.parquet": PARQUET,
    }  # fmt: skip
    assert {name: score_format(name) for name in names} == names
    for name in ("a", "a.csv", "a.h5.gz", "a.VCF", "vcf"):
        with pytest.raises(UsageError, match=f"output '{name}': expected a name ending in .h5, .hdf5"):
            score_format(name)


def test_outputs_that_cannot_be_are_refused_before_scoring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.h5").mkdir()
    for outputs, message in (
        ([], "expected at least one output"),
        (["s.h5", "./s.h5"], "each with a name of its own"),
        (["s.tsv", "folder.h5"], r"folder\.h5': expected a file in a folder that is there"),
        (["none/s.h5"], r"none/s\.h5': expected a file in a folder that is there"),
        (["s.tsv", "s.txt"], r"output 's\.txt': expected a name ending in"),
    ):
        with pytest.raises(UsageError, match=message):
            check_outputs(outputs, keep_predictions=False)
    with pytest.raises(UsageError, match="predictions of every bin go into HDF5 only"):
        check_outputs(["s.tsv", "s.vcf"], keep_predictions=True)
    check_outputs(["s.tsv", "s.h5"], keep_predictions=True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="Parquet needs pyarrow"):
        check_outputs(["s.parquet"], keep_predictions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.h5"]


def columns_of(path):
    """Scores of a table by name, [variants, T]."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = list(csv.DictReader((line for line in text.splitlines() if not line.startswith("# ")), delimiter="\t"))
    return {name: np.array([row[name] for row in rows], np.float32).reshape(4, 2) for name in ALL_ROWS.scores}


def test_all_formats_have_the_same_numbers(whole):
    with h5py.File(whole / "s.h5") as file:
        found = np.stack([file[name][:] for name in ("SAD", "JS", "SAD_z")], axis=1)
        np.testing.assert_array_equal(found, EXPECTED)
        assert file["genes/si"][:].tolist() == [1, 2, 2, 3]
    for name in ("s.tsv", "s.tsv.gz"):
        for place, values in enumerate(columns_of(whole / name).values()):
            np.testing.assert_array_equal(values, EXPECTED[:, place])
    for name in ("s.vcf", "s.vcf.gz"):
        with pysam.VariantFile(str(whole / name)) as file:
            found = [[record.info[score.upper()] for score in ALL_ROWS.scores] for record in file]
        np.testing.assert_array_equal(np.float32(found), EXPECTED)


def test_parquet_has_them_too(tmp_path, part):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_outputs([str(tmp_path / "s.parquet")], Rows(), part)
    table = parquet.read_table(tmp_path / "s.parquet")
    for place, score in enumerate(ALL_ROWS.scores):
        np.testing.assert_array_equal(table[score].to_numpy().reshape(4, 2), EXPECTED[:, place])


def test_genes_stand_beside_tables_only(whole, tmp_path, part):
    assert genes_path("a/s.tsv") == "a/s.genes.tsv"
    assert genes_path("a.tsv/s.tsv.gz") == "a.tsv/s.genes.tsv.gz"
    beside = {"s.genes.tsv", "s.genes.tsv.gz", "s.vcf.gz.tbi"}
    assert {path.name for path in whole.iterdir()} == set(FORMATS) | beside
    assert (whole / "s.genes.tsv").read_text().count("ENSG2\tXYZ") == 2 * 2  # variants 3 and 4, two tracks
    without = Rows(table=dataclasses.replace(ALL_ROWS, genes=(), gene_score=""))
    write_outputs([str(tmp_path / "s.tsv")], without, part)
    assert [path.name for path in tmp_path.iterdir()] == ["s.tsv"]


@pytest.fixture
def output_in(part):
    """Opens the outputs of a run in a folder; what a test leaves open is closed at its end."""
    opened = []

    def open_output(folder, *, names=FORMATS, resume=False, identity=IDENTITY, part=part):
        output = ScoreOutput([str(folder / name) for name in names], ALL_ROWS, identity, part, resume=resume)
        opened.append(output)
        return output

    yield open_output
    for output in opened:
        output._spool.raw.close()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".json")}


@pytest.mark.parametrize("num_done", [1, 3, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(whole, tmp_path, caplog, num_done, output_in):
    caplog.set_level("INFO")
    rows = list(Rows().rows())
    output = output_in(tmp_path)
    for row in rows[:num_done]:
        output.add(row)
    output.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"s.h5.journal.json", "s.h5.spool.partial"}
    again = output_in(tmp_path, resume=True)
    assert again.num_done == num_done
    assert caplog.messages == [f"{tmp_path}/s.h5: resuming after {num_done} variants"]
    for row in rows[num_done:]:
        again.add(row)
    summary = again.finish({"counts": {"SNV": 4}})
    assert contents(tmp_path) == contents(whole)
    assert summary == read_json(tmp_path / "s.h5.summary.json")
    assert summary == {
        "format_version": 1, "identity": IDENTITY, "outputs": list(FORMATS), "variants": 4, "counts": {"SNV": 4},
    }  # fmt: skip
    assert finished_summary(again.outputs, IDENTITY) == summary


def test_what_was_not_committed_is_cut_off(whole, tmp_path, output_in):
    """A machine that stops leaves half a row behind the last commit."""
    rows = list(Rows().rows())
    output = output_in(tmp_path)
    output.add(rows[0])
    output.commit()
    output.add(rows[1])
    output._spool.raw.flush()  # as the kernel may write it out at any time
    spool = tmp_path / "s.h5.spool.partial"
    os.truncate(spool, spool.stat().st_size - 3)
    again = output_in(tmp_path, resume=True)
    assert again.num_done == 1
    for row in rows[1:]:
        again.add(row)
    again.finish({})
    assert contents(tmp_path) == contents(whole)


KILLED = """
import os, signal, sys
from genoformer.io.vcf import VcfPart
from genoformer.workflows import score_output
from tests.score_rows import TABLE, Rows
from pathlib import Path
score_output.COMMIT_SECONDS = 0
output = score_output.ScoreOutput(sys.argv[2:], TABLE, {IDENTITY}, VcfPart(Path(sys.argv[1]), "calls.vcf"), resume=True)
for row in list(Rows().rows())[output.num_done:]:
    output.add(row)
    os.kill(os.getpid(), signal.SIGKILL)
score_output.write_score_vcf = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
output.finish({})
"""


def test_killed_after_every_variant_and_while_it_writes(whole, tmp_path, part, output_in):
    script = KILLED.replace("{IDENTITY}", repr(IDENTITY))
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'kernels'}"}
    outputs = [str(tmp_path / name) for name in FORMATS]
    for num_done in (1, 2, 3, 4):
        done = subprocess.run([sys.executable, "-c", script, str(part.path), *outputs], env=environment, check=False)
        assert done.returncode == -signal.SIGKILL
        assert read_json(tmp_path / "s.h5.journal.json")["num_done"] == num_done
    done = subprocess.run([sys.executable, "-c", script, str(part.path), *outputs], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert finished_summary(outputs, IDENTITY) is None
    assert output_in(tmp_path, resume=True).finish({})["variants"] == 4
    assert contents(tmp_path) == contents(whole)


def test_journals_that_do_not_belong_to_the_run(tmp_path, output_in):
    output = output_in(tmp_path)
    output.add(next(Rows().rows()))
    output.stop()
    other = IDENTITY | {"scores": ["js"]}
    with pytest.raises(OutputError, match=r"journal\.json: is of another run \(scores: \['sad_sum'\] there"):
        output_in(tmp_path, resume=True, identity=other)
    spool, journal = tmp_path / "s.h5.spool.partial", tmp_path / "s.h5.journal.json"
    size = spool.stat().st_size
    os.truncate(spool, 10)
    with pytest.raises(OutputError, match=rf"spool\.partial: has 10 bytes, the journal says {size}; start"):
        output_in(tmp_path, resume=True)
    journal.write_text("{")
    with pytest.raises(OutputError, match=r"journal\.json: cannot be read as JSON"):
        output_in(tmp_path, resume=True)
    fresh = output_in(tmp_path, identity=other)  # without --resume, nothing of the old run counts
    assert (fresh.num_done, journal.exists(), spool.stat().st_size) == (0, False, 0)


@pytest.mark.parametrize("gone", ["s.h5.spool.partial", "s.h5.journal.json"])
def test_half_of_what_an_unfinished_run_needs_starts_anew(tmp_path, caplog, gone, output_in):
    caplog.set_level("INFO")
    output = output_in(tmp_path)
    output.add(next(Rows().rows()))
    output.stop()
    (tmp_path / gone).unlink()
    assert output_in(tmp_path, resume=True).num_done == 0
    assert caplog.messages == [f"{tmp_path}/s.h5: nothing to resume; starting from the beginning"]


def test_rows_are_committed_as_time_goes(tmp_path, monkeypatch, output_in):
    now = iter([0, 1, 3, 3, 4, 9, 9]).__next__  # a start; then a look at each row, and one more at each commit
    monkeypatch.setattr(score_output.time, "monotonic", now)
    output, journal = output_in(tmp_path), tmp_path / "s.h5.journal.json"
    done = []
    for row in Rows().rows():
        output.add(row)
        done.append(read_json(journal)["num_done"] if journal.exists() else 0)
    assert done == [0, 2, 2, 4]


def test_a_run_without_variants(tmp_path, part, output_in):
    output_in(tmp_path).stop()
    assert list(tmp_path.iterdir()) == []
    empty = VcfPart(part.path, part.name, range(1, 1))
    summary = output_in(tmp_path, part=empty).finish({"records": 0})
    assert (summary["variants"], summary["records"]) == (0, 0)
    with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as file:
        assert list(file) == []


def test_whole_outputs_are_known_by_their_summary(tmp_path, output_in):
    output = output_in(tmp_path, names=("s.h5", "s.tsv"))
    for row in Rows().rows():
        output.add(row)
    summary = output.finish({})
    outputs = output.outputs
    assert finished_summary(outputs, IDENTITY) == summary
    assert finished_summary(outputs[:1], IDENTITY) is None  # others were asked for then
    with pytest.raises(OutputError, match=r"s\.h5\.summary\.json: is of another run \(model: 'sha256:1' there"):
        finished_summary(outputs, IDENTITY | {"model": "sha256:2"})
    (tmp_path / "s.h5.spool.partial").touch()  # of a later run, not finished
    assert finished_summary(outputs, IDENTITY) is None
    (tmp_path / "s.h5.spool.partial").unlink()
    (tmp_path / "s.tsv").unlink()
    assert finished_summary(outputs, IDENTITY) is None


def test_a_vcf_file_that_changed_keeps_the_scores_for_later(tmp_path, part, output_in):
    """The rows are safe: with the file as it was, the run ends."""
    output = output_in(tmp_path, names=("s.vcf",))
    for row in Rows().rows():
        output.add(row)
    text = part.path.read_text()
    part.path.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match=r"calls\.vcf: does not have the records that were scored, from record 4 on"):
        output.finish({})
    output.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"s.vcf.journal.json", "s.vcf.spool.partial"}
    part.path.write_text(text)
    output_in(tmp_path, names=("s.vcf",), resume=True).finish({})
    assert json.loads((tmp_path / "s.vcf.summary.json").read_text())["variants"] == 4
