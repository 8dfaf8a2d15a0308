"""Transformer layers: attention, feed-forward network, and how they join the residual stream."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.nn.attention import MultiHeadAttention, RelativeAttention
from genoformer.nn.linear import Linear

NORM_EPS = 1e-6  # of every LayerNorm of the consensus model, as in the original


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them, the same for every position.

    Args:
        width: D.
        filter_width: of the hidden layer.
        dropout: of the hidden layer, in training.
    """

    def __init__(self, width: int, filter_width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = Linear(width, filter_width)
        self.output = Linear(filter_width, width)
        for linear in (self.hidden, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The network's output; x and result [B, L, D]."""
        hidden = F.relu(self.hidden(x))  # [B, L, filter_width]
        return self.output(F.dropout(hidden, self.dropout, self.training))  # [B, L, D]


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward network, each added to its input.

    With `rezero`, x + scale * sub(x) with a learned scale that starts at 0; without, x + sub(LayerNorm(x)).

    Args:
        width: D.
        num_heads, window, attention_dropout: see `MultiHeadAttention`.
        filter_width, relu_dropout: see `FeedForward`.
        rezero: ReZero instead of pre-norm.
        residual_dropout: of each sub-layer's output before it is added, in training.
    Source:
        ReZero: Bachlechner et al. 2020 (arXiv 2003.04887), equation 3. Pre-norm: Xiong et al. 2020, figure 1b.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        filter_width: int,
        *,
        rezero: bool,
        window: int | None = None,
        attention_dropout: float = 0.0,
        relu_dropout: float = 0.0,
        residual_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.rezero, self.residual_dropout = rezero, residual_dropout
        self.attention = MultiHeadAttention(width, num_heads, window=window, dropout=attention_dropout)
        self.feed_forward = FeedForward(width, filter_width, dropout=relu_dropout)
        if rezero:
            self.attention_scale = nn.Parameter(torch.zeros(()))
            self.feed_forward_scale = nn.Parameter(torch.zeros(()))
        else:
            self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
            self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output; x and result [B, L, D]."""
        if self.rezero:
            x = x + self.attention_scale * self._drop(self.attention(x))
            return x + self.feed_forward_scale * self._drop(self.feed_forward(x))
        x = x + self._drop(self.attention(self.attention_norm(x)))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.residual_dropout, self.training)


class RelativeEncoderLayer(nn.Module):
    """x + attention(LayerNorm(x)), then x + feed_forward(LayerNorm(x)), with attention by contents and distances.

    Args:
        width: D.
        attention, feed_forward: of that width.
        residual_dropout: of each sub-layer's output before it is added, in training.
    Source:
        Avsec et al. 2021 (Enformer), extended data figure 1.
    """

    def __init__(
        self, width: int, attention: RelativeAttention, feed_forward: FeedForward, *, residual_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.residual_dropout = residual_dropout
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, positions: Tensor, rows: slice = slice(None)) -> Tensor:
        """The layer's output at the positions in `rows`; x [B, L, D], result [B, R, D], rest as `RelativeAttention`."""
        x = x[:, rows] + self._drop(self.attention(self.attention_norm(x), positions, rows))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.residual_dropout, self.training)
