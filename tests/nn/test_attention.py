"""Attention against plain float64 sums: every backend, value and gradient, bands, biases and odd lengths."""

import math
import sys
import types

import pytest
import torch

from genoformer.errors import UsageError
from genoformer.nn import attention as module
from genoformer.nn.attention import (
    MultiHeadAttention,
    RelativeAttention,
    attention,
    choose_backend,
    refusal,
    relative_bias,
    split_heads,
)

BACKENDS = ["sdpa", "product"]
# length, window: odd, one, around and above the product's block of 32 queries, windows beyond the length
LENGTHS = [(1, None), (1, 0), (2, 1), (31, 3), (64, 12), (65, 12), (100, 12), (101, None), (100, 0), (13, 40)]


def naive(query, key, value, window=None, bias=None, scale=None):
    """The definition, in the dtype of its inputs."""
    length, width = query.shape[-2:]
    scores = query @ key.transpose(-1, -2) * (width**-0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if window is not None:
        far = [[abs(i - j) > window for j in range(length)] for i in range(length)]
        scores = scores.masked_fill(torch.tensor(far, device=query.device), -math.inf)
    return torch.softmax(scores, dim=-1) @ value


def inputs(length, *, batch=2, num_heads=3, width=7, value_width=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = (width, width, value_width)
    # Sharp enough for the weights to matter; laid out as [B, L, H, K] like projections.
    tensors = [torch.randn(batch, length, num_heads, w, generator=generator) * 2 for w in widths]
    return [tensor.to(dtype).transpose(1, 2) for tensor in tensors]


def gradients(function, tensors):
    """Value and gradients of sum(w * function(...)) with fixed uneven weights w."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    found = function(*leaves)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape).to(found.dtype)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), leaves)]


def assert_as_good_as_plain(found, plain, exact):
    """House rule: against float64, at most twice the error of plain PyTorch in the same dtype (and a few roundings)."""
    for mine, theirs, truth in zip(found, plain, exact, strict=True):
        rounding = torch.finfo(mine.dtype).eps * max(truth.abs().max().item(), 1e-3)
        error, plain_error = ((t.double() - truth).abs().max().item() for t in (mine, theirs))
        assert error <= 2 * plain_error + 2 * rounding


@pytest.fixture
def calls(monkeypatch):
    """Names of the backends that ran, in order."""
    ran = []

    def spy(name, function):
        def spied(*args, **kwargs):
            ran.append(name)
            return function(*args, **kwargs)

        return spied

    monkeypatch.setattr(module, "_product_attention", spy("product", module._product_attention))
    monkeypatch.setattr(module, "_flash_attention", spy("flash", module._flash_attention))
    sdpa = spy("sdpa", module.F.scaled_dot_product_attention)
    monkeypatch.setattr(module.F, "scaled_dot_product_attention", sdpa)
    return ran


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_scores_average_the_band_by_hand(backend, calls):
    zero = torch.zeros(1, 1, 3, 1)
    value = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
    found = attention(zero, zero, value, window=1, backend=backend)
    torch.testing.assert_close(found.flatten(), torch.tensor([3 / 2, 7 / 3, 6 / 2]))
    torch.testing.assert_close(attention(zero, zero, value, backend=backend).flatten(), torch.full((3,), 7 / 3))
    assert calls == [backend, backend]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("length", "window"), LENGTHS)
def test_value_and_gradient(length, window, backend, calls):
    tensors = inputs(length)
    exact = gradients(lambda *t: naive(*t, window=window), [t.double() for t in tensors])
    plain = gradients(lambda *t: naive(*t, window=window), tensors)
    found = gradients(lambda *t: attention(*t, window=window, backend=backend), tensors)
    assert calls == [backend]
    assert_as_good_as_plain(found, plain, exact)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("shape", [(40, 40), (3, 40, 40), (2, 3, 40, 40), (2, 1, 40, 40)])
def test_bias_and_its_gradient(shape, window, backend, calls):
    tensors = [*inputs(40), torch.randn(shape, generator=torch.Generator().manual_seed(5))]

    def plain(query, key, value, bias):
        return naive(query, key, value, window=window, bias=bias, scale=0.25)

    def ours(query, key, value, bias):
        return attention(query, key, value, window=window, bias=bias, scale=0.25, backend=backend)

    exact = gradients(plain, [t.double() for t in tensors])
    found = gradients(ours, tensors)
    assert calls == [backend]
    assert found[-1].shape == shape
    assert_as_good_as_plain(found, gradients(plain, tensors), exact)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("window", [None, 12])
def test_bfloat16(window, backend):
    tensors = inputs(100, dtype=torch.bfloat16)
    exact = naive(*(t.double() for t in tensors), window=window)
    found = attention(*tensors, window=window, backend=backend)
    assert found.dtype == torch.bfloat16
    assert_as_good_as_plain([found], [naive(*tensors, window=window)], [exact])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_drops_weights_and_scales_the_rest(backend):
    torch.manual_seed(1)
    query = torch.zeros(64, 2, 4, 3)
    found = attention(query, query, torch.ones(64, 2, 4, 1), dropout=0.5, backend=backend)
    # Four weights of 1/4, each dropped or doubled: a sum of 0, 1/2, ... 2, on average 1.
    assert set(found.flatten().tolist()) == {0.0, 0.5, 1.0, 1.5, 2.0}
    assert found.mean().item() == pytest.approx(1.0, abs=0.1)  # standard deviation 0.022


def test_empty_batch():
    for backend in BACKENDS:
        found = attention(*(t[:0] for t in inputs(9)), window=2, backend=backend)
        assert found.shape == (0, 3, 9, 5)


def test_auto_takes_products_for_short_inputs_without_gradient(calls):
    query, key, value = inputs(100)
    attention(query, key, value, window=12)
    attention(query.requires_grad_(), key, value, window=12)
    with torch.no_grad():
        attention(query, key, value, window=12)
        assert choose_backend(query, value) == "product"
        assert choose_backend(*(torch.zeros(1, 1, 257, 2),) * 2) == "sdpa"
    assert calls == ["product", "sdpa", "product"]


def test_forced_flash_says_why_it_cannot_run():
    query, key, value = inputs(10)
    with pytest.raises(UsageError, match="'flash' cannot be used: flash-attn runs on CUDA; the tensors are on cpu"):
        attention(query, key, value, backend="flash")
    with pytest.raises(UsageError, match="attention backend is 'fast'; expected one of auto, flash, sdpa, product"):
        attention(query, key, value, backend="fast")


@pytest.mark.parametrize(
    ("width", "value_width", "dtype", "bias", "importable", "reason"),
    [
        (140, 140, torch.float32, None, True, "needs float16 or bfloat16; the tensors are torch.float32"),
        (140, 140, torch.bfloat16, torch.zeros(1), True, "takes no additive bias"),
        (64, 192, torch.bfloat16, None, True, "keys and values of one width; they have 64 and 192"),
        (264, 264, torch.float16, None, True, "at most 256 wide; these have 264"),
        (140, 140, torch.bfloat16, None, False, "not importable; install it with `pip install 'genoformer[gpu]'`"),
        (140, 140, torch.bfloat16, None, True, None),
    ],
)
def test_why_flash_is_refused_on_a_gpu(monkeypatch, width, value_width, dtype, bias, importable, reason):
    monkeypatch.setattr(module, "_flash_is_importable", lambda: importable)
    shapes = [(1, 2, 100, width), (1, 2, 100, value_width)]
    query, value = (types.SimpleNamespace(is_cuda=True, dtype=dtype, shape=shape) for shape in shapes)
    found = refusal("flash", query, value, bias=bias)
    assert found is None if reason is None else reason in found
    if reason is None:
        assert choose_backend(query, value) == "flash"


@pytest.mark.parametrize("window", [None, 12])
def test_what_flash_is_called_with(monkeypatch, window):
    seen = {}

    def flash_attn_func(query, key, value, *, dropout_p, softmax_scale, window_size):
        seen.update(shape=tuple(query.shape), dropout=dropout_p, window=window_size)
        band = None if window_size == (-1, -1) else window_size[0]
        heads_first = (t.transpose(1, 2) for t in (query, key, value))
        return naive(*heads_first, window=band, scale=softmax_scale).transpose(1, 2)

    monkeypatch.setitem(sys.modules, "flash_attn", types.SimpleNamespace(flash_attn_func=flash_attn_func))
    tensors = inputs(20, width=140, value_width=140)
    found = module._flash_attention(*tensors, window, 140**-0.5, 0.1)
    torch.testing.assert_close(found, naive(*tensors, window=window))
    expected = (-1, -1) if window is None else (12, 12)
    assert seen == {"shape": (2, 20, 3, 144), "dropout": 0.1, "window": expected}


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 12])
def test_flash_against_sdpa_on_a_gpu(window, calls):
    if not module._flash_is_importable():
        pytest.skip("flash-attn not importable")
    tensors = [t.cuda() for t in inputs(100, width=140, value_width=140, dtype=torch.bfloat16)]
    exact = gradients(lambda *t: naive(*t, window=window), [t.double() for t in tensors])
    found = gradients(lambda *t: attention(*t, window=window, backend="flash"), tensors)
    plain = gradients(lambda *t: attention(*t, window=window, backend="sdpa"), tensors)
    assert calls == ["flash", "sdpa"]
    assert choose_backend(tensors[0], tensors[2]) == "flash"
    assert_as_good_as_plain(found, plain, exact)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 12])
def test_sdpa_on_a_gpu(window, dtype, calls):
    tensors = [t.cuda() for t in inputs(100, width=140, value_width=140, dtype=dtype)]
    exact = gradients(lambda *t: naive(*t, window=window), [t.double() for t in tensors])
    plain = gradients(lambda *t: naive(*t, window=window), tensors)
    found = gradients(lambda *t: attention(*t, window=window, backend="sdpa"), tensors)
    assert calls == ["sdpa"]
    assert_as_good_as_plain(found, plain, exact)


def test_split_heads_by_hand():
    projected = torch.arange(12).reshape(1, 2, 6)  # [B, L, H*K] with 3 heads of 2
    found = split_heads(projected, 3)
    assert found.tolist() == [[[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]]
    assert found.data_ptr() == projected.data_ptr()


@pytest.mark.parametrize("window", [None, 3])
def test_module_value_and_gradient_in_training_mode(window, calls):
    torch.manual_seed(2)
    layer = MultiHeadAttention(12, 3, window=window).train()
    x = torch.randn(2, 11, 12)
    names, weights = zip(*layer.named_parameters(), strict=True)
    assert names == ("query.weight", "key.weight", "value.weight", "output.weight")

    def by_hand(x, wq, wk, wv, wo):
        query, key, value = (split_heads(x @ w.T, 3) for w in (wq, wk, wv))
        return naive(query, key, value, window=window).transpose(1, 2).flatten(2) @ wo.T

    def ours(x, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    tensors = [x, *(w.detach() * 3 for w in weights)]
    exact = gradients(by_hand, [t.double() for t in tensors])
    assert_as_good_as_plain(gradients(ours, tensors), gradients(by_hand, tensors), exact)
    assert calls == ["sdpa"]


def test_module_drops_in_training_only():
    torch.manual_seed(3)
    layer = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(1, 9, 8)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_module_takes_a_bias_and_a_backend(calls):
    layer = MultiHeadAttention(8, 2, backend="product")
    far_left = torch.full((5, 5), -math.inf)
    far_left[:, 0] = 0.0  # every position may look at the first only
    found = layer(torch.randn(1, 5, 8), far_left)
    torch.testing.assert_close(found, found[:, :1].expand_as(found))
    assert calls == ["product"]


def test_width_must_split_into_heads():
    with pytest.raises(UsageError, match="width 10 is not a multiple of 3 heads"):
        MultiHeadAttention(10, 3)


# length, first row, rows: all of them, some in the middle, the last alone, one position
RELATIVE = [(9, 0, 9), (9, 2, 5), (12, 11, 1), (1, 0, 1), (6, 0, 1)]


@pytest.mark.parametrize(("length", "first", "num_rows"), RELATIVE)
def test_relative_bias_and_its_gradient(length, first, num_rows):
    query = torch.randn(2, 3, num_rows, 4, generator=torch.Generator().manual_seed(0))
    key = torch.randn(3, 2 * length - 1, 4, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([[length - 1 + j - (first + i) for j in range(length)] for i in range(num_rows)])

    def plain(query, key):
        return torch.einsum("bhik,hijk->bhij", query, key[:, rows])

    def ours(query, key):
        return relative_bias(query, key, first=first)

    found = gradients(ours, [query, key])
    assert found[0].shape == (2, 3, num_rows, length)
    exact = gradients(plain, [query.double(), key.double()])
    assert_as_good_as_plain(found, gradients(plain, [query, key]), exact)


def test_relative_bias_is_no_copy():
    query, key = torch.randn(1, 2, 40, 4), torch.randn(2, 79, 4)
    found = relative_bias(query, key)
    assert found.untyped_storage().nbytes() == 4 * 2 * 40 * 79


@pytest.mark.parametrize("backend", BACKENDS)
def test_fewer_queries_than_keys(backend, calls):
    query, key, value = inputs(70)
    bias = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(5))
    found = attention(query[:, :, 20:50], key, value, bias=bias[:, :, 20:50], backend=backend)
    assert calls == [backend]
    torch.testing.assert_close(found, naive(query, key, value, bias=bias)[:, :, 20:50])


def relative_layer(**options):
    """Attention of 3 heads over 12 columns with every weight away from 0."""
    torch.manual_seed(6)
    layer = RelativeAttention(12, 3, key_width=4, value_width=5, num_features=6, **options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def relative_by_hand(x, positions, rows, named):
    """The score of query i and key j, one by one."""
    length, mixed = x.shape[1], []
    for head in range(3):
        keys, values = slice(4 * head, 4 * head + 4), slice(5 * head, 5 * head + 5)
        query, key = (x @ named[f"{name}.weight"][keys].T for name in ("query", "key"))
        distance = positions @ named["position.weight"][keys].T
        row = torch.tensor([[length - 1 + j - i for j in range(length)] for i in range(length)])
        content = (query / 2 + named["content_bias"][head]) @ key.transpose(1, 2)
        place = ((query / 2 + named["position_bias"][head])[:, :, None] * distance[row]).sum(-1)
        weights = torch.softmax(content + place, dim=-1)
        mixed.append(weights @ (x @ named["value.weight"][values].T))
    return (torch.cat(mixed, -1) @ named["output.weight"].T + named["output.bias"])[:, rows]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rows", [slice(None), slice(3, 8)])
def test_relative_attention_value_and_gradient(training, rows):
    layer = relative_layer().train(training)
    names, weights = zip(*layer.named_parameters(), strict=True)
    tensors = [torch.randn(2, 11, 12), torch.randn(21, 6), *weights]

    def by_hand(x, positions, *weights):
        return relative_by_hand(x, positions, rows, dict(zip(names, weights, strict=True)))

    def ours(x, positions, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, positions, rows))

    exact = gradients(by_hand, [t.double() for t in tensors])
    assert_as_good_as_plain(gradients(ours, tensors), gradients(by_hand, tensors), exact)


def test_relative_attention_without_gradient_is_the_same():
    layer, x, positions = relative_layer().eval(), torch.randn(2, 11, 12), torch.randn(21, 6)
    with torch.no_grad():
        found = layer(x, positions, slice(2, 9))
    named = dict(layer.named_parameters())
    torch.testing.assert_close(found, relative_by_hand(x, positions, slice(2, 9), named).detach())


@pytest.mark.parametrize("option", ["dropout", "position_dropout"])
def test_relative_attention_drops_in_training_only(option):
    layer, x, positions = relative_layer(**{option: 0.5}), torch.randn(1, 9, 12), torch.randn(17, 6)
    assert not torch.equal(layer.train()(x, positions), layer(x, positions))
    assert torch.equal(layer.eval()(x, positions), layer(x, positions))


def test_relative_attention_starts_by_adding_nothing():
    layer = RelativeAttention(12, 3, key_width=4, value_width=5, num_features=6)
    assert torch.equal(layer(torch.randn(1, 9, 12), torch.randn(17, 6)), torch.zeros(1, 9, 12))
    assert layer.query.weight.abs().max() > 0
