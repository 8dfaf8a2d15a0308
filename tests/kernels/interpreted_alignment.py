"""The Triton kernel in the interpreter, on a CPU; `test_alignment.py` runs this file in a process of its own.

TRITON_INTERPRET is read when triton decorates a kernel, and each version of triton needs a fresh Python.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
import triton
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genoformer.errors import UsageError
from genoformer.nn.alignment_reference import reference_loss
from genoformer.nn.alignment_wavefront import solve_by_wavefront
from genoformer.nn.losses import BackendChoice, alignment_loss, alignment_posterior, choose_backend
from genoformer_kernels import alignment, launch
from tests.alignment_cases import (
    GOLDEN_CASES,
    GOLDEN_TOLERANCE,
    SHAPES,
    TEMPERATURES,
    brute_force,
    certain_probs,
    hard_posterior,
    random_labels,
    random_probs,
    repeated_columns,
)

# The interpreter takes over a second an example of length 100: two of the 64, or all if asked to.
GOLDEN_EXAMPLES = slice(None) if os.environ.get("GENOFORMER_ALL_GOLDEN") else slice(5, 60, 54)
BLOCK_SHAPES = [*SHAPES, (3, 128), (3, 129), (2, 500), (1, 1024), (40, 3), (501, 3)]


def loss_and_gradient(probs, labels, **settings):
    probs = probs.detach().clone().requires_grad_()
    loss = alignment_loss(probs=probs, labels=labels, backend="triton", **settings)
    (gradient,) = torch.autograd.grad(loss.sum(), probs)
    return loss.detach(), gradient


def truth(probs, labels, *, deletion_cost=10.0, temperature=0.1):
    settings = {"deletion_cost": deletion_cost, "temperature": temperature}
    return solve_by_wavefront(probs.double(), labels, **settings, gradient=True, posterior=True)


def relative(found, wanted):
    found, wanted = found.double(), wanted.double()
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def test_the_wanted_triton_interprets():
    assert triton.__version__ == os.environ["GENOFORMER_EXPECTED_TRITON"]
    assert launch.is_interpreting()
    probs, labels = random_probs(2, 5).float(), random_labels(2, 5)
    assert choose_backend(probs, labels, backend="triton") == BackendChoice("triton", "asked for")


@pytest.mark.parametrize(("temperature", "deletion"), GOLDEN_CASES)
def test_golden_values(shared_data, temperature, deletion):
    with np.load(shared_data / "consensus" / "golden" / "alignment_loss.npz") as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    probs, labels = golden["pred"][GOLDEN_EXAMPLES], golden["labels"][GOLDEN_EXAMPLES].long()
    settings = {"deletion_cost": deletion, "temperature": temperature}
    loss, gradient, posterior = alignment.solve(probs, labels, **settings, gradient=True, posterior=True)
    case = f"wNone_reg{temperature}_del{deletion}"
    torch.testing.assert_close(loss, golden[f"{case}_loss"][GOLDEN_EXAMPLES], rtol=GOLDEN_TOLERANCE, atol=0.0)
    wanted = golden[f"{case}_grad_pred"]
    error = (gradient - wanted[GOLDEN_EXAMPLES]).abs().max()
    assert error <= GOLDEN_TOLERANCE * wanted.abs().max()
    if (temperature, deletion) == (0.1, 10.0):
        matches = golden["matches_wNone_reg0.1_del10"][GOLDEN_EXAMPLES]
        exact = truth(probs, labels, **settings).posterior
        astray = (matches - exact).abs() > GOLDEN_TOLERANCE  # of the original, in float32
        assert (posterior - matches)[~astray].abs().max() <= GOLDEN_TOLERANCE
        assert (posterior - exact).abs().max() <= GOLDEN_TOLERANCE


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("num_bases", "num_columns"), [(0, 2), (1, 1), (3, 1), (1, 3), (3, 4)])
def test_brute_force_over_all_alignments(num_bases, num_columns, temperature):
    probs, labels = random_probs(4, num_columns, sharpness=2.0, seed=3), random_labels(4, num_bases, seed=3)
    settings = {"deletion_cost": 1.3, "temperature": temperature}
    loss, gradient, posterior = alignment.solve(probs.float(), labels, **settings, gradient=True, posterior=True)
    for example in range(4):
        leaf = probs[example].clone().requires_grad_()
        value, shares = brute_force(leaf, labels[example].tolist(), 1.3, temperature)
        (wanted,) = torch.autograd.grad(value, leaf)
        assert loss[example].item() == pytest.approx(value.item(), rel=3e-6, abs=3e-6)
        assert relative(gradient[example], wanted) <= 3e-6
        if temperature is not None:
            torch.testing.assert_close(posterior[example, : len(shares)].double(), shares, rtol=0, atol=3e-6)
        assert not posterior[example, len(shares) :].any()


@pytest.mark.parametrize(("num_bases", "num_columns"), BLOCK_SHAPES)
def test_shapes_around_the_blocks(num_bases, num_columns):
    """More examples than programs where they are short, ragged labels, one temperature a shape."""
    batch = 7 if num_columns < 10 else 2 if num_columns < 200 else 1
    temperature = TEMPERATURES[(num_bases + num_columns) % 3]
    probs, labels = random_probs(batch, num_columns, sharpness=2.0).float(), random_labels(batch, num_bases)
    settings = {"deletion_cost": 2.0, "temperature": temperature}
    exact = truth(probs, labels, **settings)
    loss, gradient, posterior = alignment.solve(probs, labels, **settings, gradient=True, posterior=True)
    torch.testing.assert_close(loss.double(), exact.loss, rtol=2e-6, atol=2e-6)
    assert relative(gradient, exact.gradient) <= 1e-5
    if temperature is not None:
        torch.testing.assert_close(posterior.double(), exact.posterior, rtol=0, atol=5e-6)
    only_loss, nothing, neither = alignment.solve(probs, labels, **settings)
    assert torch.equal(only_loss, loss)
    assert nothing is None
    assert neither is None


@pytest.mark.parametrize(("temperature", "tolerance"), [(0.1, 1e-5), (0.01, 1e-4)])
def test_gradient_error_against_float64_reference_at_length_100(temperature, tolerance):
    labels = random_labels(2, 100)
    probs = torch.stack([random_probs(1, 100)[0], certain_probs(labels, 100, error=1e-4)[1]]).float()
    exact = probs.double().requires_grad_()
    wanted = reference_loss(exact, labels, deletion_cost=10.0, temperature=temperature)
    wanted.sum().backward()
    loss, gradient = loss_and_gradient(probs, labels, temperature=temperature)
    torch.testing.assert_close(loss.double(), wanted.detach(), rtol=2e-6, atol=2e-6)
    for example in range(2):
        assert relative(gradient[example], exact.grad[example]) <= tolerance


def test_a_prediction_that_is_too_long_is_refused():
    probs, labels = torch.ones(1, 1025, 5), torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(UsageError, match="takes predictions of up to 1024 columns; these have 1025"):
        alignment_loss(probs=probs, labels=labels, backend="triton")
    with pytest.raises(ValueError, match=r"alignment kernel: probs are torch.float32 \[1, 1025, 4\]; expected"):
        alignment.alignment_loss(probs[..., :4], labels)
    with pytest.raises(ValueError, match="takes labels of up to 4096 columns; these have 4097"):
        alignment.alignment_loss(probs[:, :3], torch.ones(1, 4097, dtype=torch.long))


def test_an_empty_batch():
    loss, gradient = loss_and_gradient(torch.ones(0, 4, 5), torch.ones(0, 3, dtype=torch.long))
    assert loss.shape == (0,)
    assert gradient.shape == (0, 4, 5)


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_labels_of_gaps_alone_certain_and_wrong_and_ties(temperature):
    probs = random_probs(1, 5).float()
    loss, gradient = loss_and_gradient(probs, torch.zeros(1, 4, dtype=torch.long), temperature=temperature)
    torch.testing.assert_close(loss, -probs[..., 0].log().sum(dim=1), rtol=1e-6, atol=0.0)
    wanted = torch.ones_like(probs)
    wanted[..., 0] -= 1 / probs[..., 0]
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-5)

    certain = torch.zeros(2, 3, 5)
    certain[..., 1] = 1.0
    loss, gradient = loss_and_gradient(certain, torch.tensor([[2, 2, 2], [1, 1, 1]]), temperature=temperature)
    assert loss[0].item() == pytest.approx(-3 * math.log(1e-7), rel=1e-6)
    assert 0 <= loss[1].item() < 1e-6
    assert not gradient.any()

    equal = torch.tensor([[[0.25, 0.5, 0.125, 0.0625, 0.0625]] * 2])
    shares = alignment_posterior(probs=equal, labels=torch.tensor([[1]]), temperature=temperature, backend="triton")
    assert shares.tolist() == [[[0.5, 0.5]]]


@pytest.mark.parametrize(("num_bases", "num_columns", "deletion"), [(3, 5, 10.0), (9, 12, 10.0), (12, 9, 1.3)])
def test_equal_paths_tie_in_whatever_order_they_add_up(num_bases, num_columns, deletion):
    probs, labels = repeated_columns(num_columns), 1 + torch.arange(num_bases)[None] % 2
    _, _, found = alignment.solve(probs.float(), labels, deletion_cost=deletion, temperature=None, posterior=True)
    wanted = hard_posterior(probs[0], labels[0].tolist(), deletion)
    torch.testing.assert_close(found[0].double(), wanted, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, under the interpreter
@pytest.mark.parametrize("temperature", [None, 0.1])
def test_not_a_number_stays_in_its_example(temperature):
    """Example 1 has NaN, 3 an infinity, 5 a symbol that is none; with three programs they share one with others."""
    probs, labels = random_probs(8, 5).float(), random_labels(8, 4)
    clean = alignment.solve(probs, labels, deletion_cost=2.0, temperature=temperature, gradient=True, posterior=True)
    dirty, wrong = probs.clone(), labels.clone()
    dirty[1, 2, 3], dirty[3, 0, 0], wrong[5, 1] = math.nan, math.inf, 7
    found = alignment.solve(dirty, wrong, deletion_cost=2.0, temperature=temperature, gradient=True, posterior=True)
    others = torch.tensor([0, 2, 4, 6, 7])
    for result, unspoilt in zip(found, clean, strict=True):
        assert result[[1, 3, 5]].isnan().all()
        assert torch.equal(result[others], unspoilt[others])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    probs, labels = random_probs(2, 6).to(dtype), random_labels(2, 5)
    loss, gradient = loss_and_gradient(probs, labels)
    wanted_loss, wanted_gradient = loss_and_gradient(probs.float(), labels)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(loss, wanted_loss)
    assert torch.equal(gradient, wanted_gradient.to(dtype))


def test_strides_and_whole_number_types_do_not_matter():
    probs, labels = random_probs(3, 6).float(), random_labels(3, 5)
    wanted = loss_and_gradient(probs, labels)
    for dtype in (torch.int32, torch.int8, torch.uint8):
        assert torch.equal(alignment_loss(probs=probs, labels=labels.to(dtype), backend="triton"), wanted[0])
    views = [probs.permute(1, 2, 0).contiguous().permute(2, 0, 1), torch.stack([probs, probs], dim=1)[:, 1]]
    for view in views:
        leaf = view.detach().requires_grad_()
        loss = alignment_loss(probs=leaf, labels=labels.t().contiguous().t(), backend="triton")
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        assert torch.equal(loss, wanted[0])
        assert torch.equal(gradient, wanted[1])


def test_the_package_alone_gives_loss_and_gradient():
    probs, labels = random_probs(2, 5).float().requires_grad_(), random_labels(2, 4)
    upstream = torch.tensor([2.0, -0.5])
    (alone,) = torch.autograd.grad((alignment.alignment_loss(probs, labels) * upstream).sum(), probs)
    _, gradient = loss_and_gradient(probs, labels)
    torch.testing.assert_close(alone, gradient * upstream[:, None, None])


class _Allocated(TorchDispatchMode):
    """Adds up the bytes of tensors that operations make."""

    def __init__(self):
        super().__init__()
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.sizes[storage.data_ptr()] = storage.nbytes()
        return result


def test_memory_is_two_weights_a_cell():
    """B = 3 programs of one example each at L = 100: what a device with enough room for all examples would take."""
    probs, labels = random_probs(3, 100).float(), torch.zeros(3, 100, dtype=torch.long)
    with _Allocated() as allocated:
        loss, gradient, _ = alignment.solve(probs, labels, deletion_cost=10.0, temperature=0.1, gradient=True)
    taken = sum(allocated.sizes.values()) - 4 * (loss.numel() + gradient.numel())
    limit = 3 * 2 * 200 * 101 * 4
    assert 0.9 * limit <= taken <= 1.2 * limit
