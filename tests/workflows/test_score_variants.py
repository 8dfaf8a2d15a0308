"""`genoformer.score_variants`: the same scores as the command, in memory."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import genoformer
from genoformer.errors import DataError, UsageError
from genoformer.genome.variant import Variant
from tests.variant_cases import small_model, write_case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"), num_each=1)


@pytest.fixture(scope="module")
def scores(case):
    return genoformer.score_variants(
        case.model, case.genome, case.vcf, species="human", scores=["sad", "js"], device="cpu"
    )


def test_scores_by_name(case, scores):
    assert scores.variants == case.variants
    assert scores["sad_sum"].shape == (3, 4)
    assert scores["sad_sum"].dtype == np.float32
    assert scores.counts == {"SNV": 1, "insertion": 1, "deletion": 1, "overlapped": 1, "symbolic": 1}
    with pytest.raises(KeyError, match="sad_mean"):
        scores["sad_mean"]


def test_a_model_and_variants_at_hand(case, scores):
    found = genoformer.score_variants(small_model(), str(case.genome), case.variants, species="human", tracks=["RNA:*"])
    np.testing.assert_array_equal(found["sad_sum"], scores["sad_sum"][:, [1, 2]])
    nothing = genoformer.score_variants(small_model(), case.genome, [], species="mouse")
    assert nothing["sad_sum"].shape == (0, 2)


def test_table(case, scores):
    table = scores.to_table()
    assert {len(column) for column in table.values()} == {12}
    assert table["pos"].tolist() == [v.start + 1 for v in case.variants for _ in range(4)]
    assert table["identifier"].tolist() == ["ENC0", "ENC1", "ENC2", "ENC3"] * 3
    np.testing.assert_array_equal(table["js"].reshape(3, 4), scores["js"])


def test_file(tmp_path, scores):
    scores.to_hdf5(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(file["SAD"], scores["sad_sum"])
        assert len(file.attrs["model_sha256"]) == 64


def test_what_cannot_be(case):
    with pytest.raises(DataError, match=r"variants: 1 of 1 ALT with a REF that is not in .*genome\.fa"):
        genoformer.score_variants(case.model, case.genome, [case.variants[0].flipped()], species="human", device="cpu")
    with pytest.raises(UsageError, match="score_variants: unknown setting 'speces'"):
        genoformer.score_variants(case.model, case.genome, [Variant("chr1", 0, "A", "C")], speces="human")
    with pytest.raises(UsageError, match=r"variants: found \('chr1', 0, 'A', 'C'\); expected a VCF file or genoformer"):
        genoformer.score_variants(case.model, case.genome, [("chr1", 0, "A", "C")], species="human", device="cpu")


def test_the_demo_model_tells_broken_sites_from_neutral_variants():
    """By the largest fall of a track; AUROC by counting pairs. tests/models/test_expression_demo.py has it in full."""
    data = Path(__file__).resolve().parents[2] / "data"
    folder = data / "examples" / "expression"
    calls = folder / "variants.vcf"
    scores = genoformer.score_variants("expression-demo", folder / "genome.fa", calls, scores=["sar"], device="cpu")
    lines = [line for line in calls.read_text().splitlines() if not line.startswith("#")]
    breaks = np.array(["BREAKS=." not in line for line in lines])
    fall = -scores["sar_sum"].min(axis=1)
    assert breaks.sum() == (~breaks).sum() == 55
    assert (fall[breaks][:, None] > fall[~breaks][None]).mean() >= 0.95
