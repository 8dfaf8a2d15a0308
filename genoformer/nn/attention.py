"""Multi-head attention, full, banded or relative, behind one signature and several backends.

    flash     flash-attn's sliding window; CUDA, half precision, no bias; optional, used where importable
    sdpa      torch's scaled_dot_product_attention; everywhere
    product   softmax of plain batched products, cut along the band; the fastest for short inputs on a CPU

`choose_backend` says which one runs.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.errors import UsageError
from genoformer.nn.initialisers import variance_scaling_
from genoformer.nn.linear import Linear, linear

Backend = Literal["auto", "flash", "sdpa", "product"]

_FLASH_MAX_HEAD_WIDTH = 256
_FLASH_HEAD_MULTIPLE = 8
_PRODUCT_MAX_LENGTH = 256  # up to here a head's scores stay in a core's cache and plain products win
_RELATIVE_BLOCK = 256  # queries whose scores against 1,536 keys stay in a core's cache
_PRODUCT_BLOCK = 32  # queries that share their keys within a band: about 2.5 bands of 12


def refusal(backend: Backend, query: Tensor, value: Tensor, *, bias: Tensor | None = None) -> str | None:
    """Why `backend` cannot compute attention of these tensors; None where it can."""
    if backend != "flash":
        return None
    if not query.is_cuda:
        return f"flash-attn runs on CUDA; the tensors are on {query.device.type}"
    if query.dtype not in (torch.float16, torch.bfloat16):
        return f"flash-attn needs float16 or bfloat16; the tensors are {query.dtype}"
    if bias is not None:
        return "flash-attn takes no additive bias"
    if query.shape[-1] != value.shape[-1]:
        return f"flash-attn needs keys and values of one width; they have {query.shape[-1]} and {value.shape[-1]}"
    if query.shape[-1] > _FLASH_MAX_HEAD_WIDTH:
        return f"flash-attn's heads are at most {_FLASH_MAX_HEAD_WIDTH} wide; these have {query.shape[-1]}"
    if not _flash_is_importable():
        return "flash-attn is not importable; install it with `pip install 'genoformer[gpu]'`"
    return None


@functools.cache
def _flash_is_importable() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def choose_backend(query: Tensor, value: Tensor, *, bias: Tensor | None = None, backend: Backend = "auto") -> Backend:
    """The backend that `attention` uses for these tensors, never "auto".

    Args:
        backend: "auto" for the fastest that works, or the name of one to insist on.
    Raises:
        UsageError: `backend` is unknown or cannot be used here; the message says why.
    """
    if backend not in get_args(Backend):
        raise UsageError(f"attention backend is '{backend}'; expected one of {', '.join(get_args(Backend))}")
    if backend != "auto":
        reason = refusal(backend, query, value, bias=bias)
        if reason:
            raise UsageError(f"attention backend '{backend}' cannot be used: {reason}")
        return backend
    if refusal("flash", query, value, bias=bias) is None:
        return "flash"
    learning = torch.is_grad_enabled() and query.requires_grad
    if query.device.type == "cpu" and query.shape[-2] <= _PRODUCT_MAX_LENGTH and not learning:
        return "product"
    return "sdpa"


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    window: int | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    backend: Backend = "auto",
) -> Tensor:
    """softmax(scale * query key^T + bias) value, within a band of positions, for each head.

    Args:
        query: [B, H, R, K], any strides; R = L with a window, any number without.
        key: [B, H, L, K].
        value: [B, H, L, V].
        window: position i attends to the positions j with |i - j| <= window; None: to all.
        bias: added to the scaled scores, broadcastable to [B, H, R, L], for relative positions; any strides.
        scale: of the scores; None: K^-0.5.
        dropout: probability of dropping an attention weight; pass 0 outside training.
        backend: see `choose_backend`.
    Returns:
        [B, H, R, V], dtype of the inputs.
    Raises:
        UsageError: the wanted backend cannot be used.
    Source:
        Vaswani et al. 2017, equation 1; the band as in DeepConsensus v1.1, which sets scores outside it to -1e9
        where this leaves them out (the weights are 0 either way).
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    chosen = choose_backend(query, value, bias=bias, backend=backend)
    if chosen == "flash":
        return _flash_attention(query, key, value, window, scale, dropout)
    mask = _score_mask(query, window, bias)
    if chosen == "product":
        return _product_attention(query, key, value, mask, window, scale, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale)


def _score_mask(query: Tensor, window: int | None, bias: Tensor | None) -> Tensor | None:
    """What is added to the scores: the bias, and -inf outside the band; [L, L] or the bias's shape."""
    if bias is not None:
        # CUDA's kernels load rows of the bias as aligned vectors.
        bias = bias.to(query.dtype).contiguous() if bias.is_cuda else bias.to(query.dtype)
    if window is None:
        return bias
    far = query.new_full((query.shape[-2], query.shape[-2]), float("-inf"))  # [L, L]
    outside = far.triu(window + 1) + far.tril(-window - 1)  # 0 within the band
    return outside if bias is None else bias + outside


def _product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, window: int | None, scale: float, dropout: float
) -> Tensor:
    """Attention by two products a head and block of queries; each block meets only the keys within its band."""
    (batch, num_heads, length, _), num_keys = query.shape, key.shape[2]
    mask = (query.new_zeros(()) if mask is None else mask).expand(batch, num_heads, length, num_keys)
    # A half-precision product on a CPU has a high fixed cost, so there the band is not worth cutting out.
    num_blocks = max(1, length // _PRODUCT_BLOCK) if window is not None and query.dtype == torch.float32 else 1
    size = max(1, -(-length // num_blocks))
    mixed = value.new_empty(batch, length, num_heads, value.shape[-1])  # heads side by side, as the next layer reads
    for start in range(0, length, size):
        stop = min(start + size, length)
        low, high = (0, num_keys) if window is None else (max(0, start - window), min(length, stop + window))
        for head in range(num_heads):
            keys = key[:, head, low:high].transpose(1, 2)  # [B, K, l]
            added = mask[:, head, start:stop, low:high]  # [B, block, l]
            scores = torch.baddbmm(added, query[:, head, start:stop], keys, alpha=scale)  # [B, block, l]
            weights = F.dropout(torch.softmax(scores, dim=-1), dropout)
            mixed[:, start:stop, head] = torch.bmm(weights, value[:, head, low:high])  # [B, block, V]
    return mixed.transpose(1, 2)  # [B, H, L, V]


def _flash_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float, dropout: float
) -> Tensor:
    """Attention by flash-attn; head widths that its kernels lack are padded with zeros, which add nothing."""
    from flash_attn import flash_attn_func

    width = query.shape[-1]
    spare = -width % _FLASH_HEAD_MULTIPLE
    query, key, value = (F.pad(t.transpose(1, 2), (0, spare)) for t in (query, key, value))  # [B, L, H, K + spare]
    band = (-1, -1) if window is None else (window, window)
    mixed = flash_attn_func(query, key, value, dropout_p=dropout, softmax_scale=scale, window_size=band)
    return mixed[..., :width].transpose(1, 2)  # [B, H, L, K]


def split_heads(projected: Tensor, num_heads: int) -> Tensor:
    """Heads of a projection [B, L, H*K] whose columns h*K .. (h+1)*K belong to head h, as a view [B, H, L, K]."""
    return projected.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # [B, H, L, K]


class MultiHeadAttention(nn.Module):
    """Self-attention with projections without bias, full or banded.

    Args:
        width: D, a multiple of num_heads.
        num_heads: H; head h owns rows h*K .. (h+1)*K of the query, key and value weights.
        window: band half-width in positions, or None for full attention.
        dropout: of the attention weights, in training.
        backend: see `choose_backend`.
    Source:
        Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        window: int | None = None,
        dropout: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise UsageError(f"width {width} is not a multiple of {num_heads} heads; change one of them")
        self.num_heads, self.window, self.dropout, self.backend = num_heads, window, dropout, backend
        self.query = Linear(width, width, bias=False)
        self.key = Linear(width, width, bias=False)
        self.value = Linear(width, width, bias=False)
        self.output = Linear(width, width, bias=False)
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Every position's mixture of the others; x and result [B, L, D], bias as in `attention`."""
        heads = (split_heads(project(x), self.num_heads) for project in (self.query, self.key, self.value))
        query, key, value = heads  # each [B, H, L, K]
        dropout = self.dropout if self.training else 0.0
        mixed = attention(
            query, key, value, window=self.window, bias=bias, dropout=dropout, backend=self.backend
        )  # [B, H, L, K]
        return self.output(mixed.transpose(1, 2).flatten(2))  # [B, L, D]


def relative_bias(query: Tensor, key: Tensor, *, first: int = 0) -> Tensor:
    """Scores of queries against keys that stand for distances: what `attention` adds to those against contents.

    Args:
        query: [B, H, R, K], those of positions first .. first + R - 1 among L.
        key: [H, 2L - 1, K], of the distances -(L - 1) .. L - 1 from a query to what it attends to.
    Returns:
        [B, H, R, L]: entry i, j is query i times the key of distance j - (first + i). It is a view whose rows share
        memory: a product with all distances, read along its diagonals, so the rows are never shifted.
    Source:
        Dai et al. 2019 (Transformer-XL), appendix B, by strides instead of their padding and reshaping.
    """
    nearby = _nearby_distances(key, first, query.shape[2])  # [H, R + L - 1, K]
    return _diagonals(torch.matmul(query, nearby.transpose(1, 2)))  # [B, H, R, L]


def _nearby_distances(key: Tensor, first: int, num_rows: int) -> Tensor:
    """Of keys [..., 2L - 1, K] for all distances those that `num_rows` queries need, [..., R + L - 1, K]."""
    length = (key.shape[-2] + 1) // 2
    start = length - first - num_rows
    return key[..., start : start + length + num_rows - 1, :]


def _diagonals(scores: Tensor) -> Tensor:
    """Entries i, R - 1 - i + j of contiguous scores [..., R, R + L - 1] as a view [..., R, L]."""
    num_rows, width = scores.shape[-2:]
    shape, strides = (*scores.shape[:-1], width - num_rows + 1), (*scores.stride()[:-2], width - 1, 1)
    return scores.as_strided(shape, strides, num_rows - 1)


def _attend_in_blocks(
    content: Tensor, place: Tensor, key: Tensor, value: Tensor, distance: Tensor, first: int
) -> Tensor:
    """Relative attention of a head and a block of queries at a time: scores that stay in cache, and no gradients.

    Args:
        content, place: [B, H, R, K], queries for contents and for distances, scaled, biases added.
        key, value: [B, H, L, K], [B, H, L, V].
        distance, first: see `relative_bias`.
    Returns:
        [B, H, R, V].
    """
    batch, num_heads, num_rows, _ = content.shape
    mixed = value.new_empty(batch, num_rows, num_heads, value.shape[-1])  # as the next layer reads it
    distance = distance.contiguous()
    for window, head in itertools.product(range(batch), range(num_heads)):
        keys, values = key[window, head].contiguous(), value[window, head].t().contiguous()  # [L, K], [V, L]
        for start in range(0, num_rows, _RELATIVE_BLOCK):
            rows = slice(start, min(start + _RELATIVE_BLOCK, num_rows))
            nearby = _nearby_distances(distance[head], first + start, rows.stop - start)
            scores = linear(content[window, head, rows], keys)  # [block, L]
            scores += _diagonals(linear(place[window, head, rows], nearby))
            mixed[window, rows, head] = linear(torch.softmax(scores, dim=-1), values)  # [block, V]
    return mixed.transpose(1, 2)  # [B, H, R, V]


class RelativeAttention(nn.Module):
    """Self-attention in which a score depends on both contents and on the distance from query to key.

    score = (q + content_bias) k + (q + position_bias) r, with q scaled by K^-0.5 before the biases are added and r a
    projection of the features of the distance.

    Args:
        width: D.
        num_heads: H; head h owns rows h*K .. (h+1)*K of the projections' weights.
        key_width, value_width: K and V of a head.
        num_features: F, of a distance.
        dropout: of the attention weights, in training.
        position_dropout: of the features of the distances, in training.
        backend: see `choose_backend`; "auto" computes heads one by one on a CPU where no gradient is wanted.
    Source:
        Dai et al. 2019 (Transformer-XL), section 3.3, as Avsec et al. 2021 (Enformer) compute it.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        key_width: int,
        value_width: int,
        num_features: int,
        dropout: float = 0.0,
        position_dropout: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.position_dropout = num_heads, dropout, position_dropout
        self.backend: Backend = backend
        self.query = Linear(width, num_heads * key_width, bias=False)
        self.key = Linear(width, num_heads * key_width, bias=False)
        self.value = Linear(width, num_heads * value_width, bias=False)
        self.position = Linear(num_features, num_heads * key_width, bias=False)
        self.content_bias = nn.Parameter(torch.empty(num_heads, key_width))
        self.position_bias = nn.Parameter(torch.empty(num_heads, key_width))
        self.output = Linear(num_heads * value_width, width)
        for projection in (self.query, self.key, self.value, self.position):
            variance_scaling_(projection.weight, projection.in_features, 2.0)
        for bias in (self.content_bias, self.position_bias):
            variance_scaling_(bias, num_heads, 2.0)  # the original counts the heads as inputs
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, positions: Tensor, rows: slice = slice(None)) -> Tensor:
        """The mixture of all positions at each of those in `rows`.

        Args:
            x: [B, L, D].
            positions: [2L - 1, F], features of the distances -(L - 1) .. L - 1.
            rows: R of the L positions, one after the other.
        Returns:
            [B, R, D].
        """
        query = split_heads(self.query(x[:, rows]), self.num_heads)  # [B, H, R, K]
        key = split_heads(self.key(x), self.num_heads)  # [B, H, L, K]
        value = split_heads(self.value(x), self.num_heads)  # [B, H, L, V]
        query = query * query.shape[-1] ** -0.5
        features = F.dropout(positions, self.position_dropout, self.training)
        distance = self.position(features).unflatten(-1, (self.num_heads, -1)).transpose(0, 1)  # [H, 2L - 1, K]
        content, place = ((query + bias[:, None]).to(key.dtype) for bias in (self.content_bias, self.position_bias))
        first = range(x.shape[1])[rows][0]
        if self.backend == "auto" and x.device.type == "cpu" and not (self.training or torch.is_grad_enabled()):
            mixed = _attend_in_blocks(content, place, key, value, distance, first)  # [B, H, R, V]
        else:
            bias = relative_bias(place, distance, first=first)  # [B, H, R, L]
            dropout = self.dropout if self.training else 0.0
            mixed = attention(content, key, value, bias=bias, scale=1.0, dropout=dropout, backend=self.backend)
        return self.output(mixed.transpose(1, 2).flatten(2))  # [B, R, D]
