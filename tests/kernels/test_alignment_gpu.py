"""The Triton kernel on a CUDA device: values, gradients, determinism and memory. `make gpu` runs this file."""

from __future__ import annotations

import math

import pytest
import torch

from genoformer.nn.alignment_wavefront import solve_by_wavefront
from genoformer.nn.losses import BackendChoice, alignment_loss, alignment_posterior, choose_backend
from tests.alignment_cases import (
    SHAPES,
    TEMPERATURES,
    certain_probs,
    hard_posterior,
    random_labels,
    random_probs,
    repeated_columns,
)

pytestmark = pytest.mark.gpu
LONG_SHAPES = [(100, 100), (127, 129), (129, 128), (200, 256), (300, 257), (500, 500), (40, 1024), (1024, 1000)]


def loss_and_gradient(probs, labels, **settings):
    probs = probs.detach().clone().requires_grad_()
    loss = alignment_loss(probs=probs, labels=labels, backend="triton", **settings)
    (gradient,) = torch.autograd.grad(loss.sum(), probs)
    return loss.detach(), gradient


def truth(probs, labels, **settings):
    """Float64 on the CPU."""
    return solve_by_wavefront(probs.cpu().double(), labels.cpu(), **settings, gradient=True, posterior=True)


def relative(found, wanted):
    found, wanted = found.cpu().double(), wanted.double()
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("num_bases", "num_columns"), SHAPES + LONG_SHAPES)
def test_loss_gradient_and_posterior(num_bases, num_columns, temperature):
    probs = random_probs(9, num_columns, sharpness=2.0).float().cuda()
    labels = random_labels(9, num_bases).cuda()
    settings = {"deletion_cost": 2.0, "temperature": temperature}
    exact = truth(probs, labels, **settings)
    loss, gradient = loss_and_gradient(probs, labels, **settings)
    torch.testing.assert_close(loss.cpu().double(), exact.loss, rtol=2e-6, atol=2e-6)
    assert relative(gradient, exact.gradient) <= 1e-5
    if temperature is not None:
        posterior = alignment_posterior(probs=probs, labels=labels, backend="triton", **settings)
        torch.testing.assert_close(posterior.cpu().double(), exact.posterior, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("temperature", "tolerance"), [(0.1, 1e-5), (0.01, 1e-4)])
@pytest.mark.parametrize("kind", ["untrained", "sharp", "trained"])
def test_gradient_error_at_length_100(kind, temperature, tolerance):
    labels = random_labels(64, 100)
    probs = {
        "untrained": random_probs(64, 100),
        "sharp": random_probs(64, 100, sharpness=4.0),
        "trained": certain_probs(labels, 100, error=1e-4),
    }[kind].float()
    exact = truth(probs, labels, deletion_cost=10.0, temperature=temperature)
    _, gradient = loss_and_gradient(probs.cuda(), labels.cuda(), temperature=temperature)
    assert relative(gradient, exact.gradient) <= tolerance


@pytest.mark.parametrize(("num_bases", "num_columns", "deletion"), [(9, 12, 10.0), (12, 9, 1.3), (83, 100, 10.0)])
def test_equal_paths_tie_in_whatever_order_they_add_up(num_bases, num_columns, deletion):
    probs, labels = repeated_columns(num_columns), 1 + torch.arange(num_bases)[None] % 2
    found = alignment_posterior(
        probs=probs.float().cuda(), labels=labels.cuda(), deletion_cost=deletion, temperature=None, backend="triton"
    )
    wanted = hard_posterior(probs[0], labels[0].tolist(), deletion)
    torch.testing.assert_close(found[0].cpu().double(), wanted, rtol=0, atol=1e-5)


def test_auto_takes_triton_and_many_examples_share_programs():
    probs, labels = random_probs(5000, 20).float().cuda(), random_labels(5000, 20).cuda()
    assert choose_backend(probs, labels) == BackendChoice("triton", "the fastest on cuda")
    exact = truth(probs, labels, deletion_cost=10.0, temperature=0.1)
    loss, gradient = loss_and_gradient(probs, labels)
    torch.testing.assert_close(loss.cpu().double(), exact.loss, rtol=2e-6, atol=2e-6)
    assert relative(gradient, exact.gradient) <= 1e-5


def test_runs_agree_in_every_bit():
    probs, labels = random_probs(3000, 100).float().cuda(), random_labels(3000, 100).cuda()
    first = loss_and_gradient(probs, labels)
    for _ in range(5):
        again = loss_and_gradient(probs, labels)
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
    loss, gradient = loss_and_gradient(probs[1234:1235], labels[1234:1235])
    assert torch.equal(loss, first[0][1234:1235])
    assert torch.equal(gradient, first[1][1234:1235])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast_on_load(dtype):
    probs, labels = random_probs(40, 100).to(dtype).cuda(), random_labels(40, 100).cuda()
    loss, gradient = loss_and_gradient(probs, labels)
    wanted_loss, wanted_gradient = loss_and_gradient(probs.float(), labels)
    assert torch.equal(loss, wanted_loss)
    assert torch.equal(gradient, wanted_gradient.to(dtype))


def test_strides_do_not_matter():
    probs, labels = random_probs(6, 33).float().cuda(), random_labels(6, 30).cuda()
    wanted = loss_and_gradient(probs, labels)
    view = probs.permute(1, 2, 0).contiguous().permute(2, 0, 1).requires_grad_()
    loss = alignment_loss(probs=view, labels=labels.t().contiguous().t(), backend="triton")
    (gradient,) = torch.autograd.grad(loss.sum(), view)
    assert torch.equal(loss, wanted[0])
    assert torch.equal(gradient, wanted[1])


def test_not_a_number_and_unknown_symbols_stay_in_their_example():
    probs, labels = random_probs(6, 50).float().cuda(), random_labels(6, 40).cuda()
    wanted = loss_and_gradient(probs, labels)
    dirty, wrong = probs.clone(), labels.clone()
    dirty[1, 7, 2], wrong[4, 3] = math.nan, 9
    loss, gradient = loss_and_gradient(dirty, wrong)
    others = torch.tensor([0, 2, 3, 5], device="cuda")
    for found, unspoilt in ((loss, wanted[0]), (gradient, wanted[1])):
        assert found[[1, 4]].isnan().all()
        assert torch.equal(found[others], unspoilt[others])


def test_memory_is_at_most_two_weights_a_cell():
    batch = 4096
    probs, labels = random_probs(batch, 100).float().cuda().requires_grad_(), random_labels(batch, 100).cuda()
    alignment_loss(probs=probs, labels=labels, backend="triton").sum().backward()
    probs.grad = None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loss = alignment_loss(probs=probs, labels=labels, backend="triton")
    loss.sum().backward()
    torch.cuda.synchronize()
    outputs = 4 * (loss.numel() + probs.numel())
    taken = torch.cuda.max_memory_allocated() - before - outputs
    assert 0 < taken <= 1.2 * 2 * 200 * 101 * 4 * batch
