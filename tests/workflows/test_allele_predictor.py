"""Predictions for alleles against full forward passes of sequences that are put together here by hand."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch

from genoformer.errors import UsageError
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Variant, centred_window, grid_window
from genoformer.models import tower_reuse
from genoformer.workflows import allele_predictor as module
from genoformer.workflows.allele_predictor import AllelePredictor, Comparison, PredictorSettings
from tests.variant_cases import SMALL, TARGET_BINS, WINDOW_BP, fetch_from, letters_of, random_letters, small_model, snv

CONTIG = random_letters(9000)
FETCH = fetch_from({"chr1": CONTIG})
HUMAN = PredictorSettings("human")
FLOAT32_NOISE = 2e-6  # of the largest prediction


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def exact_model():
    return small_model().double()


def forward(model, letters, species="human"):
    """Tracks [N, T] of a window's letters, by one full forward pass."""
    sequence = torch.zeros(1, len(letters), 4)
    for place, letter in enumerate(letters):
        if letter != "N":
            sequence[0, place, "ACGT".index(letter)] = 1
    with torch.no_grad():
        return model(sequence, [species])[species][0].numpy()


def reverse(letters):
    return letters[::-1].translate(str.maketrans("ACGT", "TGCA"))


def with_alt(variant, contig=CONTIG):
    return contig[: variant.start] + variant.alt + contig[variant.end :]


def compare(model, variants, settings=HUMAN, window_of=lambda variant: centred_window(variant, WINDOW_BP)):
    predictor = AllelePredictor(model, FETCH, settings)
    return list(predictor.predict(Comparison(window_of(v), None, v) for v in variants))


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


RESIDUES = [snv(CONTIG, 4480 + residue) for residue in range(128)]  # 4480 = 35 * 128
ENDS = [snv(CONTIG, start) for start in (0, 1, 127, 8998, 8999)]


@pytest.mark.parametrize("variant", [*RESIDUES[::16], *ENDS], ids=str)
def test_substitutions_are_those_of_full_forwards(model, exact_model, variant):
    start = variant.start - WINDOW_BP // 2 + 1
    ref, alt = (letters_of(c, start, start + WINDOW_BP) for c in (CONTIG, with_alt(variant)))
    for network, tolerance in ((model, FLOAT32_NOISE), (exact_model, 1e-12)):
        [found] = compare(network, [variant])
        expected = forward(network, ref), forward(network, alt)
        assert relative(found.ref, expected[0]) < tolerance
        assert relative(found.alt, expected[1]) < tolerance
        assert relative(*expected) > 1e-4  # what is compared differs


def grid(variant):
    return grid_window(variant, WINDOW_BP, 2048)


def test_every_residue_in_one_window(model, exact_model, monkeypatch):
    """In a window of its own, a variant has one residue only; in windows of a grid it has all."""
    references = []
    original = AllelePredictor._reference
    monkeypatch.setattr(AllelePredictor, "_reference", lambda self, w: references.append(w) or original(self, w))
    window = grid(RESIDUES[0])
    for network, tolerance in ((model, FLOAT32_NOISE), (exact_model, 1e-12)):
        for variant, found in zip(RESIDUES, compare(network, RESIDUES, window_of=grid), strict=True):
            alt = with_alt(variant)[window.start : window.end]
            assert relative(found.alt, forward(network, alt)) < tolerance
    assert references == [window, window]  # once for each model


def test_real_substitutions_in_the_real_genome(shared_data, model, exact_model):
    """The eQTLs of `eqtl.vcf` in chr1 of hg38, whose letters come straight from the FASTA file."""
    folder = shared_data / "expression" / "baskerville_tests"
    contig = "".join(gzip.decompress((folder / "hg38_1m.fa.gz").read_bytes()).decode().split("\n")[1:]).upper()
    rows = [line.split("\t") for line in (folder / "snp" / "eqtl.vcf").read_text().splitlines() if line[0] != "#"]
    variants = [Variant(row[0], int(row[1]) - 1, row[3], row[4]) for row in rows]
    assert len(variants) == 8
    for network, tolerance in ((model, FLOAT32_NOISE), (exact_model, 1e-12)):
        predictor = AllelePredictor(network, fetch_from({"chr1": contig}), HUMAN)
        windows = [centred_window(variant, WINDOW_BP) for variant in variants]
        compared = predictor.predict(Comparison(w, None, v) for w, v in zip(windows, variants, strict=True))
        for variant, found in zip(variants, compared, strict=True):
            start = variant.start - WINDOW_BP // 2 + 1
            assert contig[variant.start] == variant.ref
            ref, alt = (c[start : start + WINDOW_BP] for c in (contig, with_alt(variant, contig)))
            expected = forward(network, ref), forward(network, alt)
            assert relative(found.ref, expected[0]) < tolerance
            assert relative(found.alt, expected[1]) < tolerance
            assert relative(*expected) > 1e-4  # what is compared differs


def test_alts_of_one_site_share_the_reference(model, monkeypatch):
    references = []
    original = AllelePredictor._reference
    monkeypatch.setattr(AllelePredictor, "_reference", lambda self, w: references.append(w) or original(self, w))
    one = EDITS[2]
    site = [Variant("chr1", one.start, one.ref, alt) for alt in ("A", "C", "G", "T", one.alt) if alt != one.ref]
    compare(model, [*site, RESIDUES[100]])
    assert references == [centred_window(variant, WINDOW_BP) for variant in (one, RESIDUES[100])]


def test_a_slice_one_bin_too_short_is_seen(exact_model, monkeypatch):
    def shortened(*arguments):
        found = tower_reuse.changed_slice(*arguments)
        return tower_reuse.Slice(found.start + 1, found.end - 1, found.first_changed, found.end_changed)

    monkeypatch.setattr(module, "changed_slice", shortened)
    monkeypatch.setattr(module, "substitution_bins", lambda config: 0)
    variant = RESIDUES[64]
    start = variant.start - WINDOW_BP // 2 + 1
    expected = forward(exact_model, letters_of(with_alt(variant), start, start + WINDOW_BP))
    assert relative(compare(exact_model, [variant])[0].alt, expected) > 1e-9


EDITS = [
    Variant("chr1", 4500, CONTIG[4500:4503], "".join("ACGT"["ACGT".index(x) - 1] for x in CONTIG[4500:4503])),
    Variant("chr1", 4500, CONTIG[4500:4800], random_letters(300, seed=3)),
    Variant("chr1", 4500, CONTIG[4500], CONTIG[4500] + "GATTACA"),
    Variant("chr1", 4500, CONTIG[4500:4511], CONTIG[4500]),
    Variant("chr1", 4500, CONTIG[4500:4700], CONTIG[4500] + "TTT"),
    Variant("chr1", 5, CONTIG[5], CONTIG[5] + "GATTACA"),
    Variant("chr1", 8990, CONTIG[8990:8999], CONTIG[8990]),
]


def by_hand(network, variant, shift=0, is_reverse=False):
    """Tracks [N, 4] of the ALT allele: both ends of the window anchored in turn, joined after the variant's bin."""
    start = variant.start - WINDOW_BP // 2 + 1 + shift
    change = len(variant.alt) - len(variant.ref)
    edited = with_alt(variant)
    parts = []
    for first in (start, start + change):
        letters = letters_of(edited, first, first + WINDOW_BP)
        tracks = forward(network, reverse(letters) if is_reverse else letters)
        parts.append(tracks[::-1, [0, 2, 1, 3]] if is_reverse else tracks)
    cut = (variant.start - start) // 128 - 6 + 1
    return np.concatenate([parts[0][:cut], parts[1][cut:]])


@pytest.mark.parametrize("variant", EDITS, ids=str)
def test_other_variants_are_stitched_after_the_bin_they_start_in(model, exact_model, variant):
    for network, tolerance in ((model, FLOAT32_NOISE), (exact_model, 1e-12)):
        [found] = compare(network, [variant])
        assert relative(found.alt, by_hand(network, variant)) < tolerance


def test_without_stitching_indels_are_anchored_left(exact_model):
    variant = EDITS[2]
    start = variant.start - WINDOW_BP // 2 + 1
    expected = forward(exact_model, letters_of(with_alt(variant), start, start + WINDOW_BP))
    [found] = compare(exact_model, [variant], PredictorSettings("human", stitch=False))
    assert relative(found.alt, expected) < 1e-12
    assert relative(found.alt, by_hand(exact_model, variant)) > 1e-4


@pytest.mark.parametrize("variant", [RESIDUES[3], EDITS[2], EDITS[3]], ids=str)
def test_mean_over_shifts_and_strands(exact_model, variant):
    shifts = (-130, 0, 2)
    [found] = compare(exact_model, [variant], PredictorSettings("human", shifts=shifts, reverse_complement=True))
    views = [by_hand(exact_model, variant, shift, turned) for shift in shifts for turned in (False, True)]
    assert relative(found.alt, np.mean(views, axis=0)) < 1e-12
    unchanged = Variant("chr1", variant.start, "A", "A")
    reference = [
        by_hand(exact_model, unchanged, shift, turned) if CONTIG[variant.start] == "A" else None
        for shift in shifts
        for turned in (False, True)
    ]
    if reference[0] is not None:
        assert relative(found.ref, np.mean(reference, axis=0)) < 1e-12
    assert relative(views[0], views[1]) > 1e-3
    assert relative(views[0], views[2]) > 1e-3


def test_reuse_can_be_switched_off(model):
    variants = [*RESIDUES[:4], *EDITS]
    mine = compare(model, variants, PredictorSettings("human", reverse_complement=True))
    plain = compare(model, variants, PredictorSettings("human", reverse_complement=True, reuse=False))
    for found, expected in zip(mine, plain, strict=True):
        assert relative(found.alt, expected.alt) < FLOAT32_NOISE


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_neighbours_and_order_change_no_bit(device, batch_size):
    variants, network = [*RESIDUES[:5], *EDITS, RESIDUES[2]], small_model().to(device)
    settings = PredictorSettings("human", batch_size=batch_size)
    together = compare(network, variants, settings)
    for variant, found in zip(variants, together, strict=True):
        [alone] = compare(network, [variant], settings)
        assert np.array_equal(alone.alt, found.alt)
        assert np.array_equal(alone.ref, found.ref)
    backwards = compare(network, variants[::-1], settings)[::-1]
    assert all(np.array_equal(a.alt, b.alt) for a, b in zip(together, backwards, strict=True))


def test_batches(model):
    """A CPU computes rows one by one, so to the bit; a GPU is held against it below."""
    variants = [*RESIDUES[:5], *EDITS, RESIDUES[2]]
    for window_of in (grid, lambda variant: centred_window(variant, WINDOW_BP)):
        one = compare(model, variants, window_of=window_of)
        for batch_size in (3, 20):
            found = compare(model, variants, PredictorSettings("human", batch_size=batch_size), window_of)
            for a, b in zip(found, one, strict=True):
                np.testing.assert_array_equal(a.alt, b.alt)
                np.testing.assert_array_equal(a.ref, b.ref)


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_gpu_predicts_what_the_cpu_does(model, batch_size):
    variants = [*RESIDUES[::16], *EDITS, *ENDS]
    settings = PredictorSettings("human", reverse_complement=True, shifts=(-1, 1), batch_size=batch_size)
    expected = compare(model, variants, settings)
    on_gpu = small_model().cuda()
    found = compare(on_gpu, variants, settings)
    without_reuse = compare(on_gpu, variants, replace(settings, reuse=False))
    again = compare(on_gpu, variants, settings)
    for cpu, gpu, full, second in zip(expected, found, without_reuse, again, strict=True):
        assert relative(gpu.alt, cpu.alt) < 2 * FLOAT32_NOISE
        assert relative(gpu.alt, full.alt) < FLOAT32_NOISE
        assert np.array_equal(gpu.alt, second.alt)


def test_tracks_and_species(model):
    variant = RESIDUES[0]
    [everything] = compare(model, [variant])
    [chosen] = compare(model, [variant], PredictorSettings("human", track_indices=(3, 1)))
    assert everything.ref.shape == (TARGET_BINS, 4)
    assert np.array_equal(chosen.alt, everything.alt[:, [3, 1]])
    [mouse] = compare(model, [variant], PredictorSettings("mouse"))
    assert mouse.alt.shape == (TARGET_BINS, 2)
    # Of one strand alone, the other one is needed for the view from the other strand.
    both = PredictorSettings("human", reverse_complement=True)
    [everything] = compare(model, [variant], both)
    [chosen] = compare(model, [variant], PredictorSettings("human", track_indices=(2,), reverse_complement=True))
    assert np.array_equal(chosen.alt, everything.alt[:, [2]])


def test_either_side_may_be_edited(model):
    window = centred_window(RESIDUES[0], WINDOW_BP)
    one, two = RESIDUES[0], RESIDUES[1]
    predictor = AllelePredictor(model, FETCH, HUMAN)
    found = list(
        predictor.predict([Comparison(window, one, two), Comparison(window, None, one), Comparison(window, two, None)])
    )
    assert np.array_equal(found[0].ref, found[1].alt)
    assert np.array_equal(found[0].alt, found[2].ref)
    assert np.array_equal(found[1].ref, found[2].alt)


def test_arithmetic_is_float32_unless_asked(model):
    seen = []

    class Watched(type(model)):
        def bins(self, sequence):
            seen.append(("bins", torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled("cpu")))
            return super().bins(sequence)

        def mix(self, bins):
            seen.append(("mix", torch.backends.cuda.matmul.allow_tf32, torch.is_autocast_enabled("cpu")))
            return super().mix(bins)

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    watched = small_model()
    watched.__class__ = Watched
    tracks = {}
    for precision, tf32, tower, transformer in [
        ("fp32", False, False, False), ("tf32", True, False, False), ("bf16-tower", False, True, False),
        ("bf16", False, True, True),
    ]:  # fmt: skip
        seen.clear()
        [tracks[precision]] = compare(watched, [RESIDUES[0]], PredictorSettings("human", precision=precision))
        assert set(seen) == {("bins", tf32, tower), ("mix", tf32, transformer)}
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
    assert 1e-5 < relative(tracks["bf16-tower"].alt, tracks["fp32"].alt) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PredictorSettings("fly"), "species is 'fly'; the model has human, mouse"),
        (PredictorSettings("human", track_indices=(0, 4)), "track 4 is asked for; 'human' has 4, from 0"),
        (PredictorSettings("human", shifts=()), r"shifts are \[\]; expected at least one, from -1024 to 1024 bp"),
        (PredictorSettings("human", shifts=(1025,)), r"shifts are \[1025\]"),
        (PredictorSettings("human", batch_size=0), "the batch size is 0; expected at least 1"),
        (PredictorSettings("human", precision="fp8"), "the precision is 'fp8'; expected one of fp32, tf32, bf16-tower"),
    ],
)
def test_settings_that_cannot_be(model, settings, message):
    with pytest.raises(UsageError, match=message):
        AllelePredictor(model, FETCH, settings)


def test_a_window_without_a_base(model):
    """What lies past the contig's end is N, and predictions are still numbers."""
    window = Interval("chr1", 20_000, 20_000 + SMALL.window_bp)
    [found] = AllelePredictor(model, FETCH, HUMAN).predict([Comparison(window, None, None)])
    assert np.isfinite(found.ref).all()
