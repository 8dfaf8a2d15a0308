"""Saturation mutagenesis against full forward passes, one by one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.alphabet import genome_codes, one_hot
from genoformer.io.reads import read_json
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.ism import ism
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.join_mutagenesis import join_mutagenesis
from genoformer.workflows.output import journal_path, summary_path
from genoformer.workflows.score_options import ScoreSettings
from tests.variant_cases import WINDOW_BP, letters_of, small_model, write_case, write_vcf

SETTINGS = ScoreSettings(scores=("sad", "max_centre"), species="human", tracks=("0-2",))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("ism"))


@pytest.fixture(scope="module")
def options(case):
    folder = case.model.parent
    return IsmOptions(
        case.genome, folder / "ism.h5", str(case.model), "chr1:3,001-3,004", settings=SETTINGS, wanted_logos=0,
        device="cpu", threads=1,
    )  # fmt: skip


def predict(model, letters):
    with torch.inference_mode():
        bases = torch.from_numpy(one_hot(genome_codes(letters.encode())))[None]
        return model(bases, ["human"])["human"][0, :, :3].numpy().astype(np.float64)


def by_hand(case, start, length, window_start, chrom="chr1"):
    """Sums of ALT - REF, [length, 4, 3], by full forward passes."""
    model, found = small_model(), np.zeros((length, 4, 3))
    letters = letters_of(case.contigs[chrom], window_start, window_start + WINDOW_BP)
    ref = predict(model, letters)
    for place in range(length):
        at = start + place - window_start
        for code, letter in enumerate("ACGT"):
            if letters[at] != letter:
                found[place, code] = (predict(model, letters[:at] + letter + letters[at + 1 :]) - ref).sum(0)
    return found


def test_a_region_against_full_forward_passes(case, options):
    """A region of 4 bases from base 3000 on stands in the middle of its window."""
    summary = ism(options)
    expected = by_hand(case, 3000, 4, 3002 - WINDOW_BP // 2)
    with h5py.File(options.output) as file:
        assert file["SAD"].shape == file["SAX_centre"].shape == (1, 4, 4, 3)
        assert np.abs(expected).max() > 2e-3  # a hundred times the tolerance
        np.testing.assert_allclose(file["SAD"][0], expected, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(file["seqs"][0], one_hot(genome_codes(case.contigs["chr1"][3000:3004].encode())))
        assert (file["SAD"][0][file["seqs"][0]] == 0).all()
        assert (file["chr"][0], file["start"][0], file["end"][0], file["strand"][0]) == (b"chr1", 3000, 3004, b"+")
        assert file["target_ids"][:].tolist() == [b"ENC0", b"ENC1", b"ENC2"]
        assert file["SAX_centre"].attrs["score"] == "max_centre"
        assert file.attrs["kind"] == "saturation mutagenesis"
        assert json.loads(file.attrs["identity"]) == summary["identity"]
        assert file.attrs["command"] == (
            "genoformer variants ism genome.fa chr1:3001-3004 -m model.safetensors --scores sad_sum,max_centre "
            "--species human --tracks '0-2'"
        )
        assert file.attrs["model_sha256"] == hashlib.sha256(case.model.read_bytes()).hexdigest()
    assert summary["counts"] == {"stretches": 1, "bases": 4, "tracks": 3}
    assert summary["run"]["changes"] == 12
    assert summary == read_json(summary_path(options.output))


def test_around_variants(case, options, tmp_path):
    """The first base of a variant stands at WINDOW_BP / 2 - 1; the third variant lies at a contig's end."""
    one, two = case.contigs["chr1"], case.contigs["chr2"]
    variants = [
        dataclasses.replace(case.variants[0], name="rs1"),
        dataclasses.replace(case.variants[0], alt="N", name="same place"),
        dataclasses.replace(case.variants[0], chrom="chr2", start=0, ref=two[0], alt="ACGT"["TGCA".index(two[0])]),
    ]
    write_vcf(tmp_path / "calls.vcf", variants)
    changed = dataclasses.replace(
        options, region=None, vcf=str(tmp_path / "calls.vcf"), around_bp=1, output=tmp_path / "a.h5"
    )
    ism(changed)
    start = variants[0].start
    with h5py.File(changed.output) as file:
        assert file["name"][:].tolist() == [b"rs1", b"chr2:1"]
        assert file["start"][:].tolist() == [start - 1, -1]
        window_start = start - (WINDOW_BP // 2 - 1)
        np.testing.assert_allclose(file["SAD"][0], by_hand(case, start - 1, 3, window_start), rtol=0, atol=2e-5)
        assert not file["SAD"][1, 0].any()
        assert file["seqs"][1].sum() == 2
        assert len(one) == 9000


def test_the_same_without_the_shortcut(options, tmp_path):
    full = dataclasses.replace(options, output=tmp_path / "a.h5", settings=dataclasses.replace(SETTINGS, reuse=False))
    ism(full)
    with h5py.File(full.output) as file, h5py.File(options.output) as other:
        np.testing.assert_allclose(file["SAD"][:], other["SAD"][:], rtol=0, atol=2e-5)


def test_logos(options, tmp_path):
    pytest.importorskip("logomaker")
    ism(dataclasses.replace(options, output=tmp_path / "a.h5", wanted_logos=1))
    assert [path.name for path in tmp_path.glob("*.png")] == ["a_logo_0001_chr1_3001-3004.png"]


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def around(case, tmp_path_factory):
    """Options for five sites, and the bytes of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("around")
    options = IsmOptions(
        case.genome, folder / "whole.h5", str(case.model), vcf=str(case.vcf), around_bp=2, settings=SETTINGS,
        wanted_logos=0, device="cpu", threads=1,
    )  # fmt: skip
    summary = ism(options)
    assert summary["counts"]["stretches"] == 6
    return options, options.output.read_bytes()


@pytest.mark.parametrize("num_bases", [1, 5, 13, 30])
def test_a_stopped_run_goes_on(around, tmp_path, num_bases):
    options, whole = around
    options = dataclasses.replace(options, output=tmp_path / "a.h5")

    def stop(done, _):
        if done == num_bases:
            raise StoppedError

    with pytest.raises(StoppedError):
        ism(options, stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5.journal.json", "a.h5.partial"]
    other = dataclasses.replace(options, around_bp=3, settings=dataclasses.replace(SETTINGS, rc=True), resume=True)
    with pytest.raises(OutputError, match=r"is of another run \(around: 2 there, 3 here; rc: False there, True here\)"):
        ism(other)
    done = []
    again = dataclasses.replace(options, resume=True)
    summary = ism(again, lambda count, total: done.append((count, total)))
    assert done == [(count, 30) for count in range(num_bases + 1, 31)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.h5.summary.json"]
    assert options.output.read_bytes() == whole
    assert ism(again, lambda *_: pytest.fail("nothing is left to do")) == summary
    with pytest.raises(OutputError, match=r"a\.h5: is whole, but of another run \(around: 2 there, 3 here; rc"):
        ism(other)
    assert options.output.read_bytes() == whole


def test_a_run_that_fails_at_once_leaves_nothing(options, tmp_path, monkeypatch):
    monkeypatch.setattr("genoformer.workflows.allele_predictor.AllelePredictor.predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ism(dataclasses.replace(options, output=tmp_path / "a.h5"))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from genoformer.workflows import filled_output
from genoformer.workflows.ism import ism
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.score_options import ScoreSettings
filled_output.COMMIT_SECONDS = 0
genome, output, model, vcf = sys.argv[1:]
settings = ScoreSettings(scores=("sad", "max_centre"), species="human", tracks=("0-2",))
ism(IsmOptions(Path(genome), Path(output), model, vcf=vcf, around_bp=2, settings=settings, wanted_logos=0,
               device="cpu", threads=1, resume=True), lambda *_: time.sleep(0.1))
"""


def test_killed_at_random_moments(around, tmp_path):
    """Each run goes on where the one before was killed, and is killed within the next six bases."""
    options, whole = around
    output, rng, num_done = tmp_path / "a.h5", random.Random("ism"), 0
    arguments = [str(options.genome), str(output), options.model, options.vcf]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], env=environment)
        target, deadline = num_done + rng.randrange(1, 6), time.monotonic() + 100
        while not journal_path(output).exists() or read_json(journal_path(output))["num_done"] < target:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not output.exists()
        num_done = read_json(journal_path(output))["num_done"]
        assert num_done < 30
    ism(dataclasses.replace(options, output=output, resume=True))
    assert output.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.h5.summary.json"]


@pytest.mark.parametrize("count", [2, 8])
def test_shards_of_sites_joined_are_one_run(around, tmp_path, count):
    options, whole = around
    shards = [tmp_path / f"{index}.h5" for index in range(1, count + 1)]
    for index, shard in enumerate(shards, 1):
        ism(dataclasses.replace(options, output=shard, shard=(index, count)))
    summary = join_mutagenesis([str(shard) for shard in reversed(shards)], tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == whole
    of_one_run = read_json(summary_path(options.output))
    assert summary == {key: of_one_run[key] for key in of_one_run if key != "run"}


@pytest.mark.parametrize(("count", "batch_size"), [(3, None), (5, None), (2, 5)])
def test_shards_of_a_region_joined_are_one_run(options, tmp_path, count, batch_size):
    """A region of 4 bases; of 5 shards one has no base."""
    options = dataclasses.replace(options, settings=dataclasses.replace(SETTINGS, batch_size=batch_size, rc=True))
    ism(dataclasses.replace(options, output=tmp_path / "whole.h5"))
    shards = [tmp_path / f"{index}.h5" for index in range(1, count + 1)]
    for index, shard in enumerate(shards, 1):
        ism(dataclasses.replace(options, output=shard, shard=(index, count)))
    join_mutagenesis([str(shard) for shard in shards], tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_one_reference_for_all_changes_of_a_stretch(options, tmp_path, monkeypatch):
    """The genome's window is read once, in full; of each of the 12 changes a short slice, on a CPU one by one."""
    shapes, bins = [], ExpressionTransformer.bins
    monkeypatch.setattr(
        ExpressionTransformer, "bins", lambda self, bases: shapes.append(tuple(bases.shape[:2])) or bins(self, bases)
    )
    settings = dataclasses.replace(SETTINGS, batch_size=3)
    ism(dataclasses.replace(options, output=tmp_path / "a.h5", settings=settings))
    assert shapes[0] == (1, WINDOW_BP)
    assert len(shapes) == 13
    assert all(rows == 1 and length < WINDOW_BP / 2 for rows, length in shapes[1:])


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"shard": (3, 2)}, UsageError, "--shard is 3/2; expected i/N"),
        ({"region": None, "vcf": "-", "resume": True}, UsageError, "--resume needs a VCF file"),
        ({"region": None}, UsageError, "expected a region or --vcf, one of them"),
        ({"vcf": "a.vcf"}, UsageError, "expected a region or --vcf, one of them"),
        ({"output": "a.tsv"}, UsageError, "--output is 'a.tsv'; expected a .h5 file"),
        ({"region": "chr1:1-2,561"}, UsageError, "2,561 bases are to be changed in one window; .* predicts 2,560"),
        ({"region": "chr1:8999-9001"}, DataError, "region: chr1:8999-9001 reaches past the end of chr1"),
        ({"region": "chr1"}, UsageError, "expected chrom:first-last"),
    ],
)
def test_what_cannot_be_done_is_said(options, changes, error, text):
    if "output" in changes:
        changes = changes | {"output": Path(changes["output"])}
    with pytest.raises(error, match=text):
        ism(dataclasses.replace(options, **changes))


def test_a_region_of_n_is_changed_into_all_letters(tmp_path, case, options):
    genome = tmp_path / "n.fa"
    genome.write_text(">chr1\n" + "N" * 20 + "\n")
    changed = dataclasses.replace(options, genome=genome, region="chr1:5-5", output=tmp_path / "n.h5")
    assert ism(changed)["run"]["changes"] == 4
