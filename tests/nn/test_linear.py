"""Linear maps by oneDNN against float64 sums, and against what plain PyTorch gives in the same dtype."""

import platform

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from genoformer.errors import UsageError
from genoformer.nn import linear as module
from genoformer.nn.linear import FrozenLinear, Linear, linear, onednn_refusal

needs_onednn = pytest.mark.skipif(
    onednn_refusal(torch.device("cpu"), torch.float32) is not None, reason="no oneDNN operators for this processor"
)
# rows, inputs, outputs: one, odd, multiples of nothing, and wider than any block
SHAPES = [(1, 1, 1), (3, 5, 7), (33, 65, 31), (100, 280, 5), (130, 17, 300)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_as_good_as_plain(found, plain, exact):
    for mine, theirs, truth in zip(found, plain, exact, strict=True):
        rounding = torch.finfo(mine.dtype).eps * truth.abs().max().item()
        error, plain_error = ((t.double() - truth).abs().max().item() for t in (mine, theirs))
        assert error <= 2 * plain_error + 2 * rounding


def gradients(function, tensors):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    found = function(*leaves)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape).to(found.dtype)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), leaves)]


@needs_onednn
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("num_rows", "num_inputs", "num_outputs"), SHAPES)
def test_value_and_gradient(num_rows, num_inputs, num_outputs, with_bias):
    layer = Linear(num_inputs, num_outputs, bias=with_bias)
    tensors = [numbers(2, num_rows, num_inputs), numbers(num_outputs, num_inputs, seed=1)]
    tensors += [numbers(num_outputs, seed=2)] if with_bias else []

    def ours(x, *weights):
        named = dict(zip(("weight", "bias"), weights, strict=False))
        found = torch.func.functional_call(layer, named, (x,))
        # gradients() multiplies and sums; the function before that is ours
        assert "OneDnnLinear" in type(found.grad_fn.next_functions[0][0]).__name__
        return found

    exact = gradients(F.linear, [t.double() for t in tensors])
    assert layer.choose_backend(tensors[0]) == "onednn"
    assert_as_good_as_plain(gradients(ours, tensors), gradients(F.linear, tensors), exact)


@needs_onednn
def test_only_the_gradients_that_are_needed():
    layer = Linear(3, 2)
    layer.weight.requires_grad_(False)
    x = numbers(4, 3).requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, 3))
    torch.testing.assert_close(layer.bias.grad, torch.full((2,), 4.0))
    assert layer.weight.grad is None


class Products(TorchDispatchMode):
    """Notes the weights that oneDNN's products get."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.mkldnn._linear_pointwise.default:
            self.weights.append(args[1])
        return func(*args, **(kwargs or {}))


@needs_onednn
def test_weights_with_gaps_are_closed_up():
    # For weights with gaps between rows or columns, oneDNN has but a reference, over 100 times as slow.
    head = numbers(9, 4, 6)[:, 1]  # [L, K] of [L, H, K]
    for weight in (head, head.t(), numbers(6, 4).t()):
        x = numbers(5, weight.shape[1])
        with torch.no_grad(), Products() as products:
            found = linear(x, weight)
        (used,) = products.weights
        assert used.is_contiguous() or used.t().is_contiguous()
        torch.testing.assert_close(found, F.linear(x, weight))


def test_without_rows_and_without_batch():
    layer = Linear(3, 2)
    assert layer(torch.zeros(0, 5, 3)).shape == (0, 5, 2)
    torch.testing.assert_close(layer(torch.zeros(3)), layer.bias)


def test_what_goes_to_torch_and_why(monkeypatch):
    layer = Linear(3, 2)
    assert layer.double().choose_backend(torch.zeros(1, 3, dtype=torch.float64)) == "torch"
    layer = layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.choose_backend(torch.zeros(1, 3)) == "torch"
        assert layer(torch.zeros(1, 3)).dtype == torch.bfloat16
    assert layer.to("meta").choose_backend(torch.zeros(1, 3, device="meta")) == "torch"
    layer = Linear(3, 2)
    layer.backend = "torch"
    assert "OneDnn" not in type(layer(torch.zeros(1, 3)).grad_fn).__name__
    layer.backend = "onednn"
    monkeypatch.setattr(module, "_processor_refusal", lambda dtype: "the processor is riscv64, not x86-64")
    with pytest.raises(UsageError, match="linear backend 'onednn' cannot be used: the processor is riscv64"):
        layer(torch.zeros(1, 3))


def test_refusals():
    assert onednn_refusal(torch.device("cuda"), torch.float32) == "weights are on cuda, not on the CPU"
    assert "neither float32 nor bfloat16" in onednn_refusal(torch.device("cpu"), torch.float16)
    if platform.machine() not in ("x86_64", "AMD64"):
        assert "not x86-64" in onednn_refusal(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("backend", ["onednn", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("num_rows", "num_inputs", "num_outputs"), SHAPES)
def test_frozen(num_rows, num_inputs, num_outputs, relu, dtype, backend, monkeypatch):
    if backend == "torch":
        monkeypatch.setattr(module, "_processor_refusal", lambda dtype: "told so")
    elif onednn_refusal(torch.device("cpu"), dtype):
        pytest.skip(onednn_refusal(torch.device("cpu"), dtype))
    x, weight = numbers(2, num_rows, num_inputs).to(dtype), numbers(num_outputs, num_inputs, seed=1).to(dtype)
    for bias in (None, numbers(num_outputs, seed=2).to(dtype)):
        frozen = FrozenLinear(weight, bias, num_rows=2 * num_rows, relu=relu)
        assert frozen.backend == backend
        assert frozen.weight.is_mkldnn == (backend == "onednn")
        exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        plain = F.linear(x, weight, bias)
        exact, plain = (exact.relu(), plain.relu()) if relu else (exact, plain)
        found = frozen(x)
        assert found.dtype == dtype
        assert_as_good_as_plain([found], [plain], [exact])
        # another number of rows than the layout was arranged for
        torch.testing.assert_close(frozen(x[:1, :1]), found[:1, :1])
