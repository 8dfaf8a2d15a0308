"""Convolution, norm and pooling over [B, L, D] against plain sums, in value and gradient."""

import copy
import math

import pytest
import torch
from torch import nn

from genoformer.nn import convolution as module
from genoformer.nn.convolution import (
    ConvBlock,
    Convolution,
    ScaledBatchNorm,
    SoftmaxPool,
    centre,
    convolve,
    gelu,
    recomputed,
    running_averages_kept,
)
from genoformer.nn.linear import onednn_refusal
from tests import expression_reference as reference


def gradients(function, tensors):
    """Value and gradients of sum(w * function(...)) with fixed uneven weights w."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    found = function(*leaves)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape).to(found.dtype)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), leaves)]


def assert_as_good_as_plain(found, plain, exact):
    """House rule: against float64, at most twice the error of plain PyTorch in float32 (and a few roundings)."""
    for mine, theirs, truth in zip(found, plain, exact, strict=True):
        rounding = torch.finfo(torch.float32).eps * max(truth.abs().max().item(), 1.0)
        error, plain_error = ((t.double() - truth).abs().max().item() for t in (mine, theirs))
        assert error <= 2 * plain_error + 4 * rounding


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_convolution_by_hand():
    # Width 3, one channel in, two out: the sum of neighbours, and the right neighbour plus a bias of 10.
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
    weight = torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]]])
    found = convolve(x, weight, torch.tensor([0.0, 10.0]))
    assert found[0].T.tolist() == [[3, 7, 14, 12], [12, 14, 18, 10]]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("length", "width"), [(1, 3), (2, 15), (7, 5), (40, 15), (9, 1)])
@pytest.mark.parametrize("wide", [False, True])
def test_convolution_value_and_gradient(batch, length, width, wide, monkeypatch):
    reason = onednn_refusal(torch.device("cpu"), torch.float32)
    if wide and reason:
        pytest.skip(reason)
    monkeypatch.setattr(module, "_WIDE", 1 if wide else 256)
    torch.manual_seed(1)
    layer = Convolution(4, 6, width)
    tensors = [draws(batch, length, 4), layer.weight, draws(6, seed=2)]

    def plain(x, weight, bias):
        padded = nn.functional.pad(x, (0, 0, width // 2, width // 2))
        windows = torch.stack([padded[:, i : i + width] for i in range(length)], 1)  # [B, L, width, D_in]
        return torch.einsum("blwi,oiw->blo", windows, weight) + bias

    def ours(x, weight, bias):
        found = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        assert ("WideConvolution" in type(found.grad_fn).__name__) == wide
        return found

    exact = gradients(plain, [t.double() for t in tensors])
    found = gradients(ours, tensors)
    assert found[0].shape == (batch, length, 6)
    assert_as_good_as_plain(found, gradients(plain, tensors), exact)


def test_gelu_by_hand():
    x = [-3.0, 0.0, 0.5, 2.0]
    expected = torch.tensor([value / (1 + math.exp(-1.702 * value)) for value in x])
    torch.testing.assert_close(gelu(torch.tensor(x)), expected)


@pytest.mark.parametrize(
    ("length", "kept", "expected"), [(1536, 896, (320, 1216)), (7, 4, (1, 5)), (4, 4, (0, 4)), (3, 1, (1, 2))]
)
def test_centre(length, kept, expected):
    found = centre(torch.zeros(1, length, 1), kept)
    assert (found.start, found.stop) == expected


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("batch", "length"), [(1, 9), (3, 4)])
def test_batch_norm_is_a_scaled_one_of_torch(training, batch, length):
    torch.manual_seed(0)
    ours, theirs = ScaledBatchNorm(5, 1.5).train(training), nn.BatchNorm1d(5).train(training)
    for tensor in ours.state_dict().values():
        nn.init.uniform_(tensor, 0.5, 2) if tensor.is_floating_point() else None
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    x = draws(batch, length, 5) * 3 + 1
    expected = 1.5 * theirs(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected)
    for name, tensor in ours.state_dict().items():  # moving averages and counter, too
        torch.testing.assert_close(tensor, theirs.state_dict()[name])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize(("batch", "length"), [(2, 7), (1, 12)])
def test_block_value_and_gradient(training, width, batch, length):
    block = reference.random_weights_(ConvBlock(6, 5, width)).train(training)
    names, weights = zip(*block.named_parameters(), strict=True)
    buffers = {f"block.{name}": buffer.clone() for name, buffer in block.named_buffers()}
    x = draws(batch, length, 6)

    def plain(x, *weights):
        named = buffers | {f"block.{name}": weight for name, weight in zip(names, weights, strict=True)}
        return reference.conv_block(x.transpose(1, 2), named, "block", training).transpose(1, 2)

    def ours(x, *weights):
        return torch.func.functional_call(block, dict(zip(names, weights, strict=True)), (x,))

    tensors = [x, *weights]
    exact = gradients(plain, [t.double() for t in tensors])
    assert_as_good_as_plain(gradients(ours, tensors), gradients(plain, tensors), exact)


def test_what_is_recomputed_learns_the_same():
    found = []
    for run in (lambda block, x: block(x), recomputed):
        block = reference.random_weights_(ConvBlock(6, 5, 3)).train()
        x = draws(2, 7, 6).requires_grad_()
        y = run(block, x)
        y.square().sum().backward()
        found.append([y, x.grad, *(weight.grad for weight in block.parameters()), *block.buffers()])
        assert block.norm.num_batches_tracked == 1
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*found, strict=True))


def test_running_averages_can_be_kept():
    norm, x = ScaledBatchNorm(5, 1.5), draws(2, 7, 5)
    before = copy.deepcopy(norm.state_dict())
    with running_averages_kept(nn.Sequential(norm)):
        kept = norm(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    assert torch.equal(norm(x), kept)
    assert norm.num_batches_tracked == 1
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_a_frozen_norm_keeps_its_averages_and_normalises_by_them():
    norm, x = reference.random_weights_(ScaledBatchNorm(5, 1.5)).train(), draws(2, 7, 5)
    norm.weight.requires_grad_(False)
    before = copy.deepcopy(norm.state_dict())
    found = norm(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    assert torch.equal(found, norm.eval()(x))


def test_block_leaves_its_input_alone():
    block, x = ConvBlock(4, 4).eval(), draws(1, 6, 4)
    before = x.clone()
    with torch.no_grad():
        block(x)
    assert torch.equal(x, before)


def test_pool_by_hand():
    # One channel, W = 2: softmax over (2 a, 2 b) weights a and b.
    found = SoftmaxPool(1)(torch.tensor([1.0, 3.0, 5.0, 5.0]).reshape(1, 4, 1))
    weight = math.exp(2) / (math.exp(2) + math.exp(6))
    torch.testing.assert_close(found.flatten(), torch.tensor([weight * 1 + (1 - weight) * 3, 5.0]))


@pytest.mark.parametrize(("batch", "length"), [(1, 2), (3, 10)])
def test_pool_value_and_gradient(batch, length):
    tensors = [draws(batch, length, 6), draws(6, 6, seed=3)]
    layer = SoftmaxPool(6)

    def plain(x, weight):
        return reference.pool(x.transpose(1, 2), weight).transpose(1, 2)

    def ours(x, weight):
        return torch.func.functional_call(layer, {"logits.weight": weight}, (x,))

    exact = gradients(plain, [t.double() for t in tensors])
    assert_as_good_as_plain(gradients(ours, tensors), gradients(plain, tensors), exact)


def test_pool_starts_as_twice_the_identity():
    assert torch.equal(SoftmaxPool(3).logits.weight, 2 * torch.eye(3))
