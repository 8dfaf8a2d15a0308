"""The expression model against Enformer itself: DeepMind's code (recorded outputs) and enformer-pytorch (run here).

Every case has weights that matter: output projections away from 0, running means and variances of BatchNorm drawn at
random. Each has a negative control, a plausible mistake that must show.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import genoformer
from genoformer.cli.main import app
from genoformer.config import ExpressionConfig
from genoformer.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from genoformer.models.export_enformer import enformer_pytorch_config, enformer_pytorch_state
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.positions import relative_positions
from tests.expression_reference import random_sequence, random_weights_

TENSORFLOW_TOLERANCE = 5e-6
PYTORCH_TOLERANCE = 1e-5  # of the largest output


@pytest.fixture(scope="module")
def converted(tmp_path_factory, shared_data):
    """The recorded checkpoint, through the command."""
    output = tmp_path_factory.mktemp("parity") / "enformer.safetensors"
    checkpoint = shared_data / "expression" / "tf_golden" / "small_ckpt"
    arguments = ["model", "convert", str(checkpoint), "--set", "target_bins=16", "-o", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return output


@pytest.fixture(scope="module")
def recorded(shared_data):
    """The original's input [1, 6144, 4] and its outputs by species, 16 bins each."""
    arrays = np.load(shared_data / "expression" / "tf_golden" / "enformer_tf_c384_l1.npz")
    sequence = torch.eye(5, 4)[torch.from_numpy(arrays["__seq_idx"]).long()][None]
    return sequence, {species: torch.from_numpy(arrays[f"__{species}"]) for species in ("human", "mouse")}


def largest_error(model, recorded):
    sequence, expected = recorded
    with torch.no_grad():
        found = model(sequence)
    return max((found[species][0] - tracks).abs().max().item() for species, tracks in expected.items())


def test_outputs_of_deepminds_code(converted, recorded):
    model = genoformer.load_model(converted)
    assert model.config.heads == {"human": 12, "mouse": 6}
    assert largest_error(model, recorded) < TENSORFLOW_TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"gamma_over": "features"},  # 6.9e-3 in the original's own arithmetic
        {"position_bins": 1536},  # the features of another length
        {"target_bins": 14},  # begins a bin later
    ],
)
def test_another_config_shows(converted, recorded, change, tmp_path):
    checkpoint = load_checkpoint(converted)
    config = checkpoint.config.model_copy(update=change)
    save_checkpoint(tmp_path / "m", checkpoint.state_dict, config)
    sequence, expected = recorded
    with torch.no_grad():
        found = genoformer.load_model(tmp_path / "m")(sequence)["human"][0]
    num_bins = len(found)
    assert (found - expected["human"][:num_bins]).abs().max() > 100 * TENSORFLOW_TOLERANCE


@pytest.mark.parametrize(
    "mistake",
    [
        lambda model: model.layers[0].attention.content_bias.copy_(model.layers[0].attention.position_bias),
        lambda model: model.layers[0].attention.output.weight.copy_(
            model.layers[0].attention.output.weight.roll(model.config.value_width, dims=1)
        ),
        lambda model: model.stem.pool.logits.weight.copy_(model.stem.pool.logits.weight.T.clone()),
        lambda model: model.tower[0].convolution.convolution.weight.copy_(
            model.tower[0].convolution.convolution.weight.flip(2)
        ),
        lambda model: model.pointwise.norm.running_mean.zero_(),
    ],
    ids=["one bias for both", "heads in another order", "pooling transposed", "kernel reversed", "no running mean"],
)
def test_a_mistake_in_the_weights_shows(converted, recorded, mistake):
    model = genoformer.load_model(converted)
    with torch.no_grad():
        mistake(model)
    assert largest_error(model, recorded) > 20 * TENSORFLOW_TOLERANCE


def settle_norms_(model, sequence):
    """Running means and variances of the tower as training leaves them; with any others all bins come out alike."""
    for part in model.train().modules():
        if isinstance(part, nn.BatchNorm1d):
            part.momentum = 1.0
    with torch.no_grad():
        model.bins(sequence)
    return model.eval()


def twins(config, monkeypatch, *, our_gamma):
    """Our model of random weights, and enformer-pytorch's of the same, with our gamma basis if asked for."""
    enformer_pytorch = pytest.importorskip("enformer_pytorch", reason="the extra `peers` is not installed")
    if our_gamma:

        def gamma(positions, features, seq_len, **_):
            length = (len(positions) + 1) // 2
            return relative_positions(length, 6 * features)[:, 2 * features : 3 * features]

        monkeypatch.setattr(enformer_pytorch.modeling_enformer, "get_positional_features_gamma", gamma)
    ours = random_weights_(ExpressionTransformer(config))
    settle_norms_(ours, random_sequence(1, min(config.window_bp, 16_384), seed=1))
    settings = enformer_pytorch_config(config) | {"use_tf_gamma": False}
    theirs = enformer_pytorch.Enformer.from_hparams(**settings).eval()
    checkpoint = Checkpoint(config, ours.state_dict(), {})
    state = enformer_pytorch_state(checkpoint)
    assert state.keys() == theirs.state_dict().keys()
    theirs.load_state_dict(state)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    return ours, theirs


def outputs_of(model, sequence):
    with torch.inference_mode():
        return model(sequence)


def relative_error(found, expected):
    return max(
        ((found[species] - tracks).abs().max() / tracks.abs().max()).item() for species, tracks in expected.items()
    )


@pytest.mark.filterwarnings("ignore")  # those of the other package
@pytest.mark.parametrize("gamma_over", ["positions", "features"])
def test_outputs_of_enformer_pytorch(monkeypatch, gamma_over):
    config = ExpressionConfig(
        window_bp=1024, target_bins=20, heads={"human": 5, "fly": 3}, stem_width=48, tower_widths=(48, 60, 76, 96),
        num_layers=2, num_heads=4, key_width=16, value_width=24, position_features=24, filter_width=192,
        pointwise_width=192, gamma_over=gamma_over,
    )  # fmt: skip
    ours, theirs = twins(config, monkeypatch, our_gamma=gamma_over == "positions")
    sequence = random_sequence(2, 1024)
    expected = outputs_of(theirs, sequence)
    assert relative_error(outputs_of(ours, sequence), expected) < PYTORCH_TOLERANCE
    other = "features" if gamma_over == "positions" else "positions"
    control = ExpressionTransformer(config.model_copy(update={"gamma_over": other})).eval()
    control.load_state_dict(ours.state_dict())
    assert relative_error(outputs_of(control, sequence), expected) > 20 * PYTORCH_TOLERANCE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_outputs_of_enformer_pytorch_at_full_size(monkeypatch):
    ours, theirs = twins(ExpressionConfig(), monkeypatch, our_gamma=True)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 251_221_292
    sequence = random_sequence(1, 196_608)
    expected = outputs_of(theirs, sequence)
    error = relative_error(outputs_of(ours, sequence), expected)
    with torch.no_grad():
        ours.layers[5].attention.position.weight.zero_()
    control = relative_error(outputs_of(ours, sequence), expected)
    print(f"largest error {error:.1e} of the largest output; without the distances in one layer {control:.1e}")
    assert error < PYTORCH_TOLERANCE
    assert control > 20 * PYTORCH_TOLERANCE
