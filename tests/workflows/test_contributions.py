"""Contributions against finite differences of the model itself, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genoformer.errors import UsageError
from genoformer.genome.alphabet import genome_codes, one_hot, reverse_complement
from genoformer.genome.interval import Interval
from genoformer.io.genome_fasta import Genome
from genoformer.io.regions import read_bed
from genoformer.models.checkpoint import load_expression_model
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.contributions import Contributions, ContributionSettings
from tests.expression_reference import TINY, random_weights_
from tests.predict_inputs import TRACKS, sequence_of

DATA = Path(__file__).resolve().parents[2] / "data"
EXAMPLE = DATA / "examples" / "expression"
WINDOW = Interval("chr1", 20, 20 + TINY.window_bp)
BINS, COLUMNS = range(2, 5), [0, 1]
STEP = 1e-6


def fetch(interval):
    return genome_codes(sequence_of(interval.chrom, interval.start, interval.end))


@pytest.fixture(scope="module")
def model():
    return random_weights_(ExpressionTransformer(TINY, TRACKS)).double().eval()


def predicted(model, bases, columns=COLUMNS, bins=BINS):
    """The sum of tracks over bins for bases [L, 4]."""
    with torch.inference_mode():
        return model(torch.from_numpy(bases)[None])["human"][0, bins.start : bins.stop, columns].sum().item()


def differences(function, bases):
    """The gradient [L, 4] of a function by central differences."""
    found = np.zeros_like(bases)
    for place in np.ndindex(bases.shape):
        up, down = bases.copy(), bases.copy()
        up[place] += STEP
        down[place] -= STEP
        found[place] = (function(up) - function(down)) / (2 * STEP)
    return found


def hot(letters):
    return one_hot(genome_codes(letters)).astype(np.float64)


def close(found, expected):
    assert found.dtype == np.float64
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def test_input_times_gradient_is_that_of_finite_differences(model):
    bases = hot(sequence_of("chr1", WINDOW.start, WINDOW.end))
    gradient = differences(lambda x: predicted(model, x), bases)
    found = Contributions(model, "human", COLUMNS, ContributionSettings())(WINDOW, BINS, fetch)
    close(found, (gradient * bases).sum(1))


def test_mean_centred(model):
    bases = hot(sequence_of("chr1", WINDOW.start, WINDOW.end))
    gradient = differences(lambda x: predicted(model, x), bases)
    centred = gradient - gradient.mean(1, keepdims=True)
    found = Contributions(model, "human", COLUMNS, ContributionSettings(mean_centred=True))(WINDOW, BINS, fetch)
    close(found, (centred * bases).sum(1))


def test_strands_and_shifts_are_those_of_the_averaged_prediction(model):
    """Bases of the window and one more on either side; tracks 0 and 2 are the strands of one experiment."""
    settings = ContributionSettings(reverse_complement=True, shifts=(-1, 1))
    bases = hot(sequence_of("chr1", WINDOW.start - 1, WINDOW.end + 1))
    mirrored = range(TINY.target_bins - BINS.stop, TINY.target_bins - BINS.start)

    def averaged(x):
        views = [x[: WINDOW.length], x[2:]]
        forward = [predicted(model, view) for view in views]
        return np.mean(forward + [predicted(model, view[::-1, ::-1].copy(), [2, 1], mirrored) for view in views])

    found = Contributions(model, "human", COLUMNS, settings)(WINDOW, BINS, fetch)
    close(found, (differences(averaged, bases) * bases).sum(1))


def test_reverse_complement_of_the_sequence_has_the_contributions_backwards(model):
    """With both strands averaged, a mirrored genome gives mirrored contributions."""
    settings = ContributionSettings(reverse_complement=True)

    def fetch_mirrored(_):
        return genome_codes(reverse_complement(sequence_of("chr1", WINDOW.start, WINDOW.end)))

    forward = Contributions(model, "human", [0, 1, 2], settings)(WINDOW, BINS, fetch)
    mirrored = range(TINY.target_bins - BINS.stop, TINY.target_bins - BINS.start)
    backward = Contributions(model, "human", [0, 1, 2], settings)(WINDOW, mirrored, fetch_mirrored)
    np.testing.assert_allclose(backward[::-1], forward, rtol=0, atol=1e-12)


def test_noise_is_averaged_over_and_its_seed_counts(model):
    settings = ContributionSettings(num_noisy=2, noise=0.2, seed=7)
    bases = hot(sequence_of("chr1", WINDOW.start, WINDOW.end))
    rng = np.random.default_rng([7, WINDOW.start, *b"chr1"])
    noisy = [bases + 0.2 * rng.standard_normal(bases.shape, dtype=np.float32).astype(np.float64) for _ in range(2)]
    gradient = np.mean([differences(lambda x: predicted(model, x), x) for x in noisy], axis=0)
    found = Contributions(model, "human", COLUMNS, settings)(WINDOW, BINS, fetch)
    close(found, (gradient * bases).sum(1))
    other = Contributions(model, "human", COLUMNS, replace(settings, seed=8))(WINDOW, BINS, fetch)
    assert not np.allclose(found, other)


def test_n_and_what_is_out_of_reach_contribute_nothing(model):
    window = Interval("chr2", 350, 350 + TINY.window_bp)  # N from 400 on
    found = Contributions(model, "human", COLUMNS, ContributionSettings(mean_centred=True))(window, BINS, fetch)
    assert (found[:50] != 0).all()
    assert (found[50:] == 0).all()


def test_planted_sites_stand_out_on_a_contig_that_the_model_was_not_trained_on():
    """AUROC of the magnitudes of 200 bases around each of the first 12 elements of the example genome's chr3."""
    model = load_expression_model(DATA / "checkpoints" / "expression-demo.safetensors", "cpu")
    (species,) = model.config.heads
    is_site = np.zeros(32_000, bool)
    for region in read_bed(EXAMPLE / "sites.bed"):
        if region.interval.chrom == "chr3":
            is_site[region.interval.start : region.interval.end] = True
    engine = Contributions(model, species, range(len(model.tracks[species])), ContributionSettings(mean_centred=True))
    elements = [r.interval for r in read_bed(EXAMPLE / "elements.bed") if r.interval.chrom == "chr3"]
    found, truth = [], []
    with Genome(EXAMPLE / "genome.fa") as genome:
        for element in [one for one in elements if 600 < one.start < 31_000][:12]:
            window = element.resized(model.config.window_bp)
            middle, place = slice(window.length // 2 - 100, window.length // 2 + 100), element.resized(200)
            centre = model.config.target_bins // 2
            found.append(np.abs(engine(window, range(centre, centre + 1), genome.codes)[middle]))
            truth.append(is_site[place.start : place.end])
    values, inside = np.concatenate(found), np.concatenate(truth)
    assert (values[inside][:, None] > values[~inside]).mean() >= 0.9


def test_the_weights_get_no_gradients(model):
    Contributions(model, "human", COLUMNS, ContributionSettings())(WINDOW, BINS, fetch)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (ContributionSettings(shifts=()), r"--shifts is \[\]; expected different numbers"),
        (ContributionSettings(shifts=(1, 1)), r"--shifts is \[1, 1\]; expected different numbers"),
        (ContributionSettings(num_noisy=-1), "--smooth is -1 and --seed 0; expected at least 0"),
        (ContributionSettings(noise=float("nan")), "--noise is nan; expected a number above 0"),
    ],
)
def test_settings_that_cannot_be(settings, text):
    with pytest.raises(UsageError, match=text):
        settings.check()
