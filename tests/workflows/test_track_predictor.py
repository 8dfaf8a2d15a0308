"""Tracks predicted from genome codes, held against the model called by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genoformer.datasets.expression import one_hot
from genoformer.errors import CheckpointError, UsageError
from genoformer.genome.alphabet import reverse_complement_codes
from genoformer.genome.track import Track, are_numbered
from genoformer.io.expression_examples import WindowShape
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.track_predictor import TrackPredictor, load_track_model, window_shape
from tests.expression_reference import TINY, random_weights_

PAIRS = (1, 0, 2)
TRACKS = tuple(Track(f"t{place}", "CAGE:x", "", "sum", 1.0, None, None, pair) for place, pair in enumerate(PAIRS))


@pytest.fixture
def predictor():
    model = random_weights_(ExpressionTransformer(TINY)).eval()
    return TrackPredictor(model, "human", TRACKS, torch.device("cpu"))


def codes(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 5, (2, TINY.window_bp), dtype=np.uint8))


def test_it_is_the_model(predictor):
    with torch.no_grad():
        expected = predictor.model(one_hot(codes()))["human"]
    assert torch.equal(predictor(codes()), expected)
    assert window_shape(TINY) == WindowShape(96, 8, 7)


def test_both_strands_are_read_and_turned_back(predictor):
    both = replace(predictor, both_strands=True)
    forward = predictor(codes())
    turned = torch.from_numpy(np.stack([reverse_complement_codes(row) for row in codes().numpy()]))
    backward = predictor(turned).numpy()[:, ::-1][..., list(PAIRS)]
    np.testing.assert_allclose(both(codes()), (forward.numpy() + backward) / 2, rtol=1e-6)
    np.testing.assert_allclose(both(turned), both(codes()).numpy()[:, ::-1][..., list(PAIRS)], rtol=1e-5)
    assert not torch.allclose(both(codes()), forward, rtol=1e-2)


def test_bf16_is_close_but_not_the_same(predictor):
    half = replace(predictor, precision="bf16")(codes())
    assert half.dtype == torch.float32
    difference = (half - predictor(codes())).abs().max()
    assert 0 < difference < 0.05 * predictor(codes()).abs().max()


def test_a_model_of_a_file(predictor, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, predictor.model.state_dict(), TINY)
    threads = torch.get_num_threads()
    try:
        model = load_track_model(path, "cpu", 1)
        assert not model.training
        assert are_numbered(model.tracks["human"])
        assert not are_numbered(TRACKS)
        with pytest.raises(UsageError, match="--threads is 0; expected at least 1"):
            load_track_model(path, "cpu", 0)
        with pytest.raises(CheckpointError, match=r"none.safetensors: cannot be read"):
            load_track_model(tmp_path / "none.safetensors", None, None)
    finally:
        torch.set_num_threads(threads)
