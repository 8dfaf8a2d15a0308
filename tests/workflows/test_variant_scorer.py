"""Variants scored from predictions that are written out by hand: which bins, which order, which notes and columns."""

import json
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import numpy as np
import pytest

from genoformer import __version__
from genoformer.errors import DataError, UsageError
from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Variant
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.workflows.allele_predictor import AlleleTracks, Comparison
from genoformer.workflows.gene_scores import GeneScorer
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.track_model import Outputs
from genoformer.workflows.variant_scorer import NOISE, Scoring, VariantScorer, make_scorer, make_scoring, score_table
from genoformer.workflows.variant_source import PlacedVariant
from tests.score_rows import TABLE, VARIANTS, Rows
from tests.variant_cases import SMALL, TRACKS, fetch_from, random_letters, small_model

# Of a window of 4,096 bp the 20 bins of 128 bp from 768 on are predicted. A variant at base 2,047 of it, left of the
# middle, is in bin (2047 - 768) // 128 = 9 of these; at 2,048, in bin 10.
OUTPUTS = Outputs("human", TRACKS["human"], {1: TRACKS["human"][1], 3: TRACKS["human"][3]})
SITE = Variant("chr1", 5000, "A", "C", "rs1")
PLAIN = PlacedVariant(4, SITE, None, SITE)
NUM_BINS = 20


def at_bins(values):
    """Predictions of two tracks: `values` by bin, and ten times as much."""
    track = np.zeros(NUM_BINS, np.float32)
    for place, value in values.items():
        track[place] = value
    return np.stack([track, 10 * track], axis=1)


NOTHING = np.zeros((NUM_BINS, 2), np.float32)
POWERS = at_bins({7: 1, 8: 10, 9: 100, 10: 1000, 11: 10000})


class WrittenOut:
    """Gives alleles that are written out, in the place of a model, and keeps what it was asked for."""

    def __init__(self, *alleles):
        self.alleles, self.asked = alleles, []

    def covered(self, window):
        return Interval(window.chrom, window.start + 768, window.end - 768)

    def predict(self, comparisons):
        waiting = iter(self.alleles)
        for comparison in list(comparisons):  # a batch at a time, as a model
            self.asked.append(comparison)
            yield AlleleTracks(*next(waiting))


def scored(placed, alleles, settings=None, **of_scoring):
    """The rows of variants with these predictions, and what the model was asked for."""
    predictor = WrittenOut(*alleles)
    scoring = Scoring(SMALL, OUTPUTS, settings or ScoreSettings(species="human"), **of_scoring)
    return list(VariantScorer(predictor, scoring).score(placed)), predictor.asked


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 11111),
        ({"scores": ("sad_centre",)}, 1110),  # bins 8 to 10
        ({"scores": ("sad_centre",), "centre": "right"}, 11100),  # bins 9 to 11
        ({"scores": ("sad_centre",), "centre_bins": 1}, 100),
        ({"scores": ("sad_centre",), "centre_bins": 2}, 110),  # one more before it
        ({"scores": ("sad_mean",)}, 11111 / 20),
        ({"scores": ("max",)}, 10000),
        # Base 5000 is in the cell from 4608 to 5120, whose window begins at 2816: bin (5000 - 3584) // 128 = 11.
        ({"scores": ("sad_centre",), "grid_bp": 512}, 11000),
    ],
)
def test_bins_around_the_variant(settings, expected):
    (row,), _ = scored([PLAIN], [(NOTHING, POWERS)], ScoreSettings(**{"species": "human", **settings}))
    np.testing.assert_allclose(row.values, [[expected, 10 * expected]], rtol=1e-6)
    assert row.values.dtype == np.float32
    assert (row.predictions, row.genes) == (None, None)


def test_windows_and_alleles_that_a_model_is_asked_for():
    other = Variant("chr1", 5000, "A", "G")
    placed = [
        PLAIN,
        PlacedVariant(5, SITE, SITE.flipped(), None),
        PlacedVariant(6, SITE, other, SITE),
    ]
    rows, asked = scored(placed, [(NOTHING, POWERS), (POWERS, NOTHING), (NOTHING, NOTHING)])
    window = Interval("chr1", 5000 - 2047, 5000 + 2049)
    assert asked == [
        Comparison(window, None, SITE),
        Comparison(window, SITE.flipped(), None),
        Comparison(window, other, SITE),
    ]
    assert [(row.head.record, row.head.variant, row.head.note) for row in rows] == [
        (4, SITE, ""),
        (5, SITE, "flipped"),
        (6, SITE, "trusted"),
    ]
    assert [row.values[0, 0] for row in rows] == [11111, -11111, 0]


def test_scores_stand_in_the_order_that_is_asked_for():
    ref, alt = at_bins({0: 3}), at_bins({0: 1, 19: 5})
    settings = ScoreSettings(species="human", scores=("d1", "sad", "d2", "sar", "max"))
    (row,), _ = scored([PLAIN], [(ref, alt)], settings)
    expected = [[7, 70], [3, 30], [np.sqrt(29), np.sqrt(2900)], np.log2([7 / 4, 61 / 31]), [5, 50]]
    np.testing.assert_allclose(row.values, expected, rtol=1e-6)


def test_predictions_are_kept_where_they_are_wanted():
    (row,), _ = scored([PLAIN], [(NOTHING, POWERS)], ScoreSettings(species="human", keep_predictions=True))
    np.testing.assert_array_equal(row.predictions, np.stack([NOTHING, POWERS]))


def test_genes_around_the_variant():
    """Bins begin at 5000 - 2047 + 768 = 3721; a start of transcription at 4900 is in bin 9, one at 3720 in none."""
    genes = [
        Gene(f"G{i}", "", "", "+", Interval("chr1", tss, tss + 9), (tss,), (Interval("chr1", tss, tss + 9),))
        for i, tss in enumerate((4900, 3720))
    ]
    scorer = GeneScorer(genes, "tss", 128)
    (row,), _ = scored([PLAIN], [(NOTHING, POWERS)], genes=scorer)
    numbers, values = row.genes
    assert list(numbers) == [0]
    np.testing.assert_allclose(values, [np.log2([101, 1001])], rtol=1e-6)


@pytest.fixture
def background(tmp_path):
    """Scores of other variants on the tracks of the model."""
    tracks = dict(enumerate(OUTPUTS.tracks))
    table = TABLE.__class__(
        ("sad_sum", "js"), tracks, attributes=dict(TABLE.attributes) | {"scores": '["sad_sum","js"]'}
    )
    rows = Rows(VARIANTS * 10, table)
    write_score_hdf5(tmp_path / "others.h5", rows)
    return tmp_path / "others.h5", np.array([row.values for row in rows.rows()], np.float64)  # [n, 2, 4]


def test_a_background_adds_its_columns_at_the_end(background):
    path, others = background
    settings = ScoreSettings(species="human", scores=("js", "sad"))
    scoring = make_scoring(SMALL, OUTPUTS, settings, "cpu", path)
    assert scoring.own_scores == ("js", "sad_sum")
    assert scoring.scores == ("js", "sad_sum", "js_z", "sad_sum_z", "js_percentile", "sad_sum_percentile")
    alleles = (NOTHING, at_bins({3: 0.125}))
    (row,), _ = scored([PLAIN], [alleles], settings, background=scoring.background)
    js, sad = row.values[:2]
    np.testing.assert_array_equal(sad, [0.125, 1.25])
    chosen = others[:, :, [1, 3]]
    for place, values, of_others in ((2, js, chosen[:, 1]), (3, sad, chosen[:, 0])):
        np.testing.assert_allclose(row.values[place], (values - of_others.mean(0)) / of_others.std(0), rtol=1e-5)
        below = 100 * (of_others < values).mean(0)
        np.testing.assert_allclose(row.values[place + 2], below, atol=3)


def test_what_does_not_fit_the_model_or_the_background(background):
    with pytest.raises(UsageError, match="--centre-bins is 21; the model predicts 20"):
        make_scoring(SMALL, OUTPUTS, ScoreSettings(centre_bins=21), "cpu")
    with pytest.raises(UsageError, match="score 'sax'"):
        make_scoring(SMALL, OUTPUTS, ScoreSettings(scores=("sax",)), "cpu")
    with pytest.raises(DataError, match="has no percentiles of 'd2_sum'; make the background with the same --scores"):
        make_scoring(SMALL, OUTPUTS, ScoreSettings(scores=("d2",)), "cpu", background[0])
    mouse = Outputs("mouse", TRACKS["mouse"], dict(enumerate(TRACKS["mouse"])))
    with pytest.raises(DataError, match="has no track 'MUS0'"):
        make_scoring(SMALL, mouse, ScoreSettings(), "cpu", background[0])


@pytest.mark.parametrize(
    ("precision", "device", "said"),
    [
        ("fp32", "cpu", None),
        ("fp32", "cuda:0", None),
        ("tf32", "cpu", "scoring in fp32: a CPU has no tf32"),
        (
            "tf32",
            "cuda:0",
            "scoring in tf32, not fp32: away from a variant its rounding may be larger than the effects",
        ),
        ("bf16", "cpu", "scoring in bf16, not fp32: away from a variant its rounding may be larger than the effects"),
    ],
)
def test_less_than_fp32_is_said(caplog, precision, device, said):
    make_scoring(SMALL, OUTPUTS, ScoreSettings(precision=precision), device)
    assert caplog.messages == ([said] if said else [])


def test_what_goes_to_other_processes_and_into_the_identity(background):
    settings = ScoreSettings(species="human", rc=True, shifts=(-1, 0, 1), grid_bp=512, centre="right")
    made = make_scoring(SMALL, OUTPUTS, settings, "cpu", background[0])
    scoring = ForkingPickler.loads(ForkingPickler.dumps(made))
    assert scoring.scores == ("sad_sum", "sad_sum_z", "sad_sum_percentile")
    for kind, batch_size in (("cpu", 1), ("cuda", 8)):
        given = scoring.predictor_settings(kind)
        assert (given.species, given.track_indices, given.reverse_complement, given.shifts) == (
            "human",
            (1, 3),
            True,
            (-1, 0, 1),
        )
        assert given.batch_size == batch_size
        identity = scoring.identity(kind)
        assert json.loads(json.dumps(identity)) == identity
        assert (identity["batch_size"], identity["centre"], identity["grid_bp"]) == (batch_size, None, 512)


def test_a_command_line_has_what_changes_a_score_only():
    plain = make_scoring(SMALL, OUTPUTS, ScoreSettings(species="human", batch_size=7), "cpu")
    assert " ".join(plain.flags()) == "--scores sad_sum --species human"
    settings = ScoreSettings(
        ("js",), "human", ("CAGE:*",), True, (-1, 1), "right", 512, 5, True, False, "skip", False, None, "bf16"
    )
    assert " ".join(make_scoring(SMALL, OUTPUTS, settings, "cpu").flags()) == (
        "--scores js --species human --tracks 'CAGE:*' --shifts -1,1 --window-grid 512 --centre right --centre-bins 5 "
        "--ref-mismatch skip --precision bf16 --rc --no-stitch --no-reuse --predictions"
    )


def test_what_all_rows_have_in_common(tmp_path):
    genome = SimpleNamespace(path=tmp_path / "hg38.fa", lengths={"chr1": 9000})
    table = score_table(make_scoring(SMALL, OUTPUTS, ScoreSettings(grid_bp=512), "cpu"), genome, {"model": "m"})
    assert (table.scores, table.tracks, table.num_bins) == (("sad_sum",), OUTPUTS.chosen, 0)
    assert (table.genes, table.gene_score, table.contigs) == ((), "", {"chr1": 9000})
    assert table.attributes == {
        "version": __version__, "model": "m", "genome": "hg38.fa", "species": "human", "precision": "fp32",
        "noise": NOISE, "scores": '["sad_sum"]', "window_bp": 4096, "bin_bp": 128, "centre": "left", "grid_bp": 512,
    }  # fmt: skip
    assert list(table.attributes) == sorted(table.attributes)
    gene = Gene("G1", "ABC", "", "+", Interval("chr1", 5, 9), (5,), (Interval("chr1", 5, 9),))
    settings = ScoreSettings(keep_predictions=True, precision="bf16-tower")
    scoring = make_scoring(SMALL, OUTPUTS, settings, "cpu", genes=GeneScorer([gene], "exons", 128))
    table = score_table(scoring, genome, {})
    assert (table.num_bins, table.genes, table.gene_score) == (20, (("G1", "ABC"),), "exons_sum_logfc")
    assert table.attributes["noise"] == "that of bf16-tower"


def test_a_model_scores_what_its_two_forward_passes_differ_by():
    """The whole sequence of either allele through the model, without the shortcut."""
    import torch

    letters, model = random_letters(9000, seed=1), small_model()
    site = Variant("chr1", 5000, letters[5000], "A" if letters[5000] != "A" else "C")
    scoring = make_scoring(SMALL, OUTPUTS, ScoreSettings(species="human"), "cpu")
    scorer = make_scorer(model, fetch_from({"chr1": letters}), scoring)
    (row,) = scorer.score([PlacedVariant(1, site, None, site)])
    with torch.inference_mode():
        sums = []
        for allele in (letters, letters[:5000] + site.alt + letters[5001:]):
            codes = ["ACGT".index(letter) for letter in allele[5000 - 2047 : 5000 + 2049]]
            sequence = torch.nn.functional.one_hot(torch.tensor([codes]), 4).float()
            sums.append(model(sequence, ["human"])["human"][0][:, [1, 3]].double().sum(0).numpy())
    assert np.abs(row.values).min() > 1e-3
    np.testing.assert_allclose(row.values[0], sums[1] - sums[0], rtol=1e-3, atol=1e-5)
