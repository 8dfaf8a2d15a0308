"""Transformer layers against the same sums written out in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from genoformer.nn.attention import RelativeAttention
from genoformer.nn.blocks import EncoderLayer, FeedForward, RelativeEncoderLayer
from tests import expression_reference as reference


def by_hand(x, named, *, num_heads, rezero, window=None):
    """One encoder layer from its weights by name, as the papers write it; in float32, with torch's own LayerNorm."""

    def norm(x, name):
        if x.dtype == torch.float32:
            return F.layer_norm(x, x.shape[-1:], named[f"{name}.weight"], named[f"{name}.bias"], 1e-6)
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)
        return scaled * named[f"{name}.weight"] + named[f"{name}.bias"]

    def attend(x):
        width = x.shape[-1] // num_heads
        mixed = []
        for head in range(num_heads):
            own = slice(head * width, (head + 1) * width)
            query, key, value = (x @ named[f"attention.{n}.weight"][own].T for n in ("query", "key", "value"))
            scores = query @ key.transpose(1, 2) / math.sqrt(width)
            position = torch.arange(x.shape[1])
            if window is not None:
                scores = scores.masked_fill((position[:, None] - position).abs() > window, -1e9)
            mixed.append(torch.softmax(scores, -1) @ value)
        return torch.cat(mixed, -1) @ named["attention.output.weight"].T

    def feed_forward(x):
        hidden = x @ named["feed_forward.hidden.weight"].T + named["feed_forward.hidden.bias"]
        return hidden.clamp(min=0) @ named["feed_forward.output.weight"].T + named["feed_forward.output.bias"]

    for name, sub in (("attention", attend), ("feed_forward", feed_forward)):
        x = x + named[f"{name}_scale"] * sub(x) if rezero else x + sub(norm(x, f"{name}_norm"))
    return x


def random_layer(*, rezero, window=None, **dropout):
    torch.manual_seed(4)
    layer = EncoderLayer(12, 3, 20, rezero=rezero, window=window, **dropout)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def gradients(function, x, named):
    leaves = {"x": x, **named}
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in leaves.items()}
    found = function(leaves["x"], {name: leaf for name, leaf in leaves.items() if name != "x"})
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape).to(found.dtype)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), list(leaves.values()))]


@pytest.mark.parametrize("rezero", [True, False])
@pytest.mark.parametrize(("length", "window"), [(1, None), (17, 3), (40, 12), (9, None)])
def test_value_and_gradient_in_training_mode(rezero, length, window):
    layer = random_layer(rezero=rezero, window=window).train()
    x = torch.randn(2, length, 12)
    named = dict(layer.named_parameters())

    def hand(x, named):
        return by_hand(x, named, num_heads=3, rezero=rezero, window=window)

    def ours(x, named):
        return torch.func.functional_call(layer, named, (x,))

    exact = gradients(hand, x.double(), {name: p.double() for name, p in named.items()})
    plain, found = gradients(hand, x, named), gradients(ours, x, named)
    for mine, theirs, truth in zip(found, plain, exact, strict=True):
        error, plain_error = ((t.double() - truth).norm().item() for t in (mine, theirs))
        size = max(truth.norm().item(), 1.0)
        # The gradient of a single number is one draw of the rounding noise of a sum that nearly cancels.
        assert error <= (2 * plain_error + 2**-22 * size if truth.dim() else 1e-5 * size)


def test_names_of_the_weights():
    shared = {f"attention.{n}.weight" for n in ("query", "key", "value", "output")}
    shared |= {f"feed_forward.{n}.{p}" for n in ("hidden", "output") for p in ("weight", "bias")}
    norms = {f"{n}_norm.{p}" for n in ("attention", "feed_forward") for p in ("weight", "bias")}
    scales = {"attention_scale", "feed_forward_scale"}
    assert set(random_layer(rezero=True).state_dict()) == shared | scales
    assert set(random_layer(rezero=False).state_dict()) == shared | norms


def test_rezero_starts_as_the_identity_and_can_leave_it():
    layer = EncoderLayer(12, 3, 20, rezero=True)
    x = torch.randn(2, 5, 12)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.attention_scale.grad != 0
    assert layer.feed_forward_scale.grad != 0


@pytest.mark.parametrize("place", ["attention_dropout", "relu_dropout", "residual_dropout"])
def test_every_dropout_acts_in_training_only(place):
    layer = random_layer(rezero=False, **{place: 0.5})
    x = torch.randn(2, 5, 12)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_residual_dropout_leaves_the_stream_alone():
    layer = random_layer(rezero=True, residual_dropout=0.999999).train()
    x = torch.randn(2, 5, 12)
    assert torch.equal(layer(x), x)


def test_initial_weights_are_glorot_uniform():
    torch.manual_seed(5)
    network = FeedForward(280, 2048)
    limit = math.sqrt(6 / (280 + 2048))
    for linear in (network.hidden, network.output):
        assert linear.weight.abs().max() <= limit
        assert linear.weight.abs().max() > 0.999 * limit
        assert linear.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.01)
        assert not linear.bias.any()
    attention = EncoderLayer(280, 2, 8, rezero=True).attention
    assert attention.query.weight.abs().max() <= math.sqrt(6 / 560)
    assert attention.output.weight.std().item() == pytest.approx(math.sqrt(2 / 560), rel=0.02)


def relative_layer(**dropout):
    torch.manual_seed(4)
    attention = RelativeAttention(12, 3, key_width=4, value_width=5, num_features=6)
    layer = RelativeEncoderLayer(12, attention, FeedForward(12, 20), **dropout)
    return reference.random_weights_(layer)


@pytest.mark.parametrize("rows", [slice(None), slice(2, 7)])
def test_relative_layer_value_and_gradient(rows):
    layer = relative_layer().train()
    x, positions = torch.randn(2, 9, 12), torch.randn(17, 6)
    config = reference.TINY.model_copy(update={"num_heads": 3, "key_width": 4, "value_width": 5})

    def hand(x, named):
        named = {f"layer.{name}": tensor for name, tensor in named.items()}
        return reference.encoder_layer(x, positions.to(x.dtype), named, "layer", config)[:, rows]

    def ours(x, named):
        return torch.func.functional_call(layer, named, (x, positions, rows))

    named = dict(layer.named_parameters())
    exact = gradients(hand, x.double(), {name: p.double() for name, p in named.items()})
    for mine, theirs, truth in zip(gradients(ours, x, named), gradients(hand, x, named), exact, strict=True):
        error, plain_error = ((t.double() - truth).norm().item() for t in (mine, theirs))
        assert error <= 2 * plain_error + 2**-22 * max(truth.norm().item(), 1.0)


def test_relative_layer_drops_in_training_only():
    layer, x, positions = relative_layer(residual_dropout=0.5), torch.randn(1, 9, 12), torch.randn(17, 6)
    assert not torch.equal(layer.train()(x, positions), layer(x, positions))
    assert torch.equal(layer.eval()(x, positions), layer(x, positions))
