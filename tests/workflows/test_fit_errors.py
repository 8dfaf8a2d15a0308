"""Error models fitted to simulated reads whose model is known, and to the real reads of the shipped one."""

import json
from array import array
from dataclasses import replace

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.genome.error_model import TABLES
from genoformer.genome.random_genome import random_genome
from genoformer.io.error_tables import read_error_model
from genoformer.io.fasta import read_fasta, write_fasta
from genoformer.workflows import fit_errors as module
from genoformer.workflows.align import AlignOptions, align
from genoformer.workflows.fit_errors import FitOptions, fit_errors, shipped_error_model
from genoformer.workflows.simulate_zmw import ZmwName, simulate_subreads
from tests.align_inputs import write_raw
from tests.bam_builder import UNMAPPED, Read, ccs_read, write_bam
from tests.real_truth import write_reads_to_truth

pytest.importorskip("mappy")
pytest.importorskip("edlib")


def raw_read(read):
    values = {tag: value.tolist() if hasattr(value, "tolist") else value for tag, _, value in read.tags}
    arrays = {tag: array(code, values[tag]) for tag, code in (("pw", "B"), ("ip", "B"), ("sn", "f"))}
    return Read(read.name, read.sequence.decode(), flag=UNMAPPED, tags=values | arrays)


def simulate(folder, model, num_zmws=12, length_bp=2500):
    """Subreads aligned to their molecules, and these."""
    rng = np.random.default_rng(3)
    reads, molecules = [], {}
    for zmw in range(1, num_zmws + 1):
        molecules[zmw] = random_genome(length_bp, rng)
        reads += simulate_subreads(molecules[zmw], 4, ZmwName("m1", zmw), model, rng)
    write_raw(folder / "raw.bam", [raw_read(one) for one in reads])
    write_bam(
        folder / "truth.bam",
        [replace(ccs_read(zmw, letters.decode()), name=f"m1/{zmw}/ccs") for zmw, letters in molecules.items()],
    )
    write_fasta(folder / "truth.fa", ((f"m1/{zmw}/ccs", letters) for zmw, letters in molecules.items()))
    align(AlignOptions(*(str(folder / name) for name in ("raw.bam", "truth.bam", "reads.bam")), threads=1))
    return folder / "reads.bam", folder / "truth.fa"


@pytest.fixture(scope="module")
def other_model():
    """Twice the substitutions, half the copies, and pulses three codes wider than shipped."""
    shipped = shipped_error_model()
    return replace(
        shipped, substitution=shipped.substitution * 2, copy=shipped.copy / 2, pw=np.minimum(shipped.pw + 3, 255)
    )


@pytest.fixture(scope="module")
def fitted(other_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    summary = fit_errors(FitOptions(*simulate(folder, other_model), folder / "model.json"))
    return folder, summary, read_error_model(folder / "model.json")


def test_the_model_of_simulated_reads_comes_back(other_model, fitted):
    """Rates in total, before an aligner hid part of them."""
    _, _, found = fitted
    for name in ("substitution", "insertion"):
        assert getattr(found, name).sum() == pytest.approx(getattr(other_model, name).sum(), rel=0.15)
    for name in ("deletion", "copy"):  # long homopolymers are rare
        assert getattr(found, name)[:, :2].sum() == pytest.approx(getattr(other_model, name)[:, :2].sum(), rel=0.2)
    assert np.median(found.pw[0] - shipped_error_model().pw[0]) == pytest.approx(3, abs=1)


def test_what_was_counted(fitted):
    folder, summary, _ = fitted
    assert (summary.num_reads, summary.num_skipped, summary.has_kinetics) == (48, 0, True)
    assert 0.02 < summary.rates[0] < 0.05
    assert json.loads((folder / "model.json").read_text())["origin"] == {
        "command": "genoformer consensus fit-errors reads.bam --ref truth.fa --seed 0",
        "version": module.__version__, "reads": 48, "template_bases": summary.num_bases, "kinetics": True,
    }  # fmt: skip


def rewritten(path, change):
    """A copy of a BAM file whose records `change` has altered, or left out where it returns None."""
    copy = path.with_name("changed.bam")
    with pysam.AlignmentFile(str(path)) as source, pysam.AlignmentFile(str(copy), "wb", template=source) as target:
        for record in filter(None, map(change, source)):
            target.write(record)
    return copy


def test_reads_without_kinetics_keep_the_shipped_ones(fitted, tmp_path, monkeypatch):
    """As minimap2 writes them, M for = and X; also, only the first reads are taken."""
    monkeypatch.setattr(module, "NUM_ROUNDS", 1)
    folder, _, _ = fitted

    def bare(record):
        for tag in ("pw", "ip", "sn"):
            record.set_tag(tag, None)
        record.cigartuples = [(0 if op in (7, 8) else op, length) for op, length in record.cigartuples]
        return record

    reads = rewritten(folder / "reads.bam", bare)
    summary = fit_errors(FitOptions(reads, folder / "truth.fa", tmp_path / "model.json", limit=7))
    assert (summary.num_reads, summary.has_kinetics) == (7, False)
    found, shipped = read_error_model(tmp_path / "model.json"), shipped_error_model()
    for name in ("pw", "ip", "merged", "kinetics_spread", "sn_log_mean", "sn_log_sd", "sn_correlation"):
        assert (getattr(found, name) == getattr(shipped, name)).all()


def test_what_cannot_be_used_is_left_out(fitted, tmp_path, monkeypatch):
    """Secondary and unmapped records do not count; a read over N is skipped."""
    monkeypatch.setattr(module, "NUM_ROUNDS", 0)
    folder, _, _ = fitted
    flags = iter([0x100, 4])

    def change(record):
        record.flag |= next(flags, 0)
        return record

    molecules = read_fasta(folder / "truth.fa")
    molecules["m1/12/ccs"] = molecules["m1/12/ccs"][:1000] + b"N" + molecules["m1/12/ccs"][1001:]
    write_fasta(tmp_path / "truth.fa", molecules.items())
    reads = rewritten(folder / "reads.bam", change)
    summary = fit_errors(FitOptions(reads, tmp_path / "truth.fa", tmp_path / "model.json"))
    assert summary.num_skipped in (3, 4)  # full passes, and the partial one if it is long
    assert summary.num_reads == 46 - summary.num_skipped


def test_a_reference_that_does_not_fit(fitted, tmp_path):
    folder, _, _ = fitted
    write_fasta(tmp_path / "other.fa", [("chr1", b"ACGT")])
    with pytest.raises(DataError, match=r"other.fa: has no sequence 'm1/1/ccs', which .*reads.bam is aligned to"):
        fit_errors(FitOptions(folder / "reads.bam", tmp_path / "other.fa", tmp_path / "model.json"))
    rng = np.random.default_rng(9)
    write_fasta(tmp_path / "wrong.fa", ((f"m1/{zmw}/ccs", random_genome(2500, rng)) for zmw in range(1, 13)))
    with pytest.raises(
        AlignmentError, match=r"none of its 48 aligned reads can be used; check that .*wrong.fa is what"
    ):
        fit_errors(FitOptions(folder / "reads.bam", tmp_path / "wrong.fa", tmp_path / "model.json"))
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, "--limit is 0; expected at least 1"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_options_that_cannot_work(tmp_path, changes, message):
    options = FitOptions(tmp_path / "a.bam", tmp_path / "a.fa", tmp_path / "a.json")
    with pytest.raises(UsageError, match=message):
        fit_errors(replace(options, **changes))
    with pytest.raises(UsageError, match="is an input too"):
        fit_errors(replace(options, output=tmp_path / "a.bam"))


@pytest.mark.slow
def test_the_shipped_model_is_what_the_command_makes_of_real_reads(shared_data, tmp_path):
    reads, reference = write_reads_to_truth(shared_data, tmp_path)
    summary = fit_errors(FitOptions(reads, reference, tmp_path / "model.json"))
    assert (summary.num_reads, summary.num_bases) == (84, 965_874)
    found, shipped = read_error_model(tmp_path / "model.json"), shipped_error_model()
    for name in TABLES:
        np.testing.assert_allclose(getattr(found, name), getattr(shipped, name), rtol=1e-3, atol=1e-6, err_msg=name)
