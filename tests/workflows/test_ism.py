"""Saturation mutagenesis against full forward passes, one by one."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
import torch

from genoformer.errors import DataError, UsageError
from genoformer.genome.alphabet import genome_codes, one_hot
from genoformer.genome.interval import Interval
from genoformer.workflows.ism import ism
from genoformer.workflows.ism_options import IsmOptions
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
        case.genome, folder / "ism.h5", str(case.model), "chr1:3,001-3,004", settings=SETTINGS, num_logos=0,
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
    assert (summary["changes"], summary["stretches"]) == (12, 1)


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
    ism(dataclasses.replace(options, output=tmp_path / "a.h5", num_logos=1))
    assert [path.name for path in tmp_path.glob("*.png")] == ["a_logo_0001_chr1_3001-3004.png"]


def test_nothing_is_left_of_a_run_that_fails(options, tmp_path):
    def stop(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ism(dataclasses.replace(options, output=tmp_path / "a.h5"), stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"region": None}, UsageError, "expected a region or --vcf, one of them"),
        ({"vcf": "a.vcf"}, UsageError, "expected a region or --vcf, one of them"),
        ({"output": "a.tsv"}, UsageError, "--output is 'a.tsv'; expected a .h5 file"),
        ({"region": "chr1:1-2,561"}, UsageError, "2,561 bases are to be changed in one window; .* predicts 2,560"),
        ({"region": "chr1:8999-9001"}, DataError, "region: chr1:8999-9001 reaches past the end of chr1"),
        ({"region": "chr1"}, UsageError, "expected chrom:first-last"),
    ],
)
def test_what_cannot_be_done_is_said(options, changes, error, text):
    from pathlib import Path

    if "output" in changes:
        changes = changes | {"output": Path(changes["output"])}
    with pytest.raises(error, match=text):
        ism(dataclasses.replace(options, **changes))


def test_a_region_of_n_is_changed_into_all_letters(tmp_path, case, options):
    genome = tmp_path / "n.fa"
    genome.write_text(">chr1\n" + "N" * 20 + "\n")
    changed = dataclasses.replace(options, genome=genome, region="chr1:5-5", output=tmp_path / "n.h5")
    assert ism(changed)["changes"] == 4
    assert Interval("chr1", 4, 5).length == 1
