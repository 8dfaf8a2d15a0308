"""Multi-head attention, full or banded, behind one signature and several backends.

    flash     flash-attn's sliding window; CUDA, half precision, no bias; optional, used where importable
    sdpa      torch's scaled_dot_product_attention; everywhere
    product   softmax of plain batched products, cut along the band; the fastest for short inputs on a CPU

`choose_backend` says which one runs.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.errors import UsageError
from genoformer.nn.linear import Linear

Backend = Literal["auto", "flash", "sdpa", "product"]

_FLASH_MAX_HEAD_WIDTH = 256
_FLASH_HEAD_MULTIPLE = 8
_PRODUCT_MAX_LENGTH = 256  # up to here a head's scores stay in a core's cache and plain products win
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
        query, key: [B, H, L, K], any strides.
        value: [B, H, L, V].
        window: position i attends to the positions j with |i - j| <= window; None: to all.
        bias: added to the scaled scores, broadcastable to [B, H, L, L], for relative positions.
        scale: of the scores; None: K^-0.5.
        dropout: probability of dropping an attention weight; pass 0 outside training.
        backend: see `choose_backend`.
    Returns:
        [B, H, L, V], dtype of the inputs.
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
    bias = None if bias is None else bias.to(query.dtype)
    if window is None:
        return bias
    far = query.new_full((query.shape[-2], query.shape[-2]), float("-inf"))  # [L, L]
    outside = far.triu(window + 1) + far.tril(-window - 1)  # 0 within the band
    return outside if bias is None else bias + outside


def _product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, window: int | None, scale: float, dropout: float
) -> Tensor:
    """Attention by two products a head and block of queries; each block meets only the keys within its band."""
    batch, num_heads, length, _ = query.shape
    mask = (query.new_zeros(()) if mask is None else mask).expand(batch, num_heads, length, length)
    # A half-precision product on a CPU has a high fixed cost, so there the band is not worth cutting out.
    num_blocks = max(1, length // _PRODUCT_BLOCK) if window is not None and query.dtype == torch.float32 else 1
    size = max(1, -(-length // num_blocks))
    mixed = value.new_empty(batch, length, num_heads, value.shape[-1])  # heads side by side, as the next layer reads
    for start in range(0, length, size):
        stop = min(start + size, length)
        low, high = (0, length) if window is None else (max(0, start - window), min(length, stop + window))
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
