"""Convolutions over sequences: blocks of norm, GELU and convolution, pooling of neighbours, and the centre crop.

Everything here keeps a sequence as [B, L, D], which a convolution sees as an image in channels-last layout: on a CPU
oneDNN's fastest in float32 and bfloat16 alike, on a GPU the one that needs no transposes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genoformer.nn.initialisers import fan_in_normal_
from genoformer.nn.linear import Linear, choose_linear_backend, linear, transposed_product

_WIDE = 256  # input channels from which oneDNN's weight gradient falls behind; at 96 it does not
GELU_SLOPE = 1.702  # x * sigmoid(1.702 x) approximates GELU


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution along the sequence with zeros beyond its ends.

    Args:
        x: [B, L, D_in].
        weight: [D_out, D_in, width], width odd.
        bias: [D_out] or None.
    Returns:
        [B, L, D_out].
    """
    is_wide = weight.shape[1] >= _WIDE and choose_linear_backend(x, weight) == "onednn"
    return (_apply_wide if is_wide else _convolve)(x, weight, bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    image = x.transpose(1, 2).unsqueeze(2)  # [B, D_in, 1, L], channels last
    kernel = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # [D_out, D_in, 1, width]
    y = F.conv2d(image, kernel, bias, padding=(0, weight.shape[-1] // 2))  # [B, D_out, 1, L]
    return y.squeeze(2).transpose(1, 2)  # [B, L, D_out]


class _WideConvolution(torch.autograd.Function):
    """`_convolve` whose weight gradient is a product for each place of the kernel.

    oneDNN's own, in float32 and channels-last layout, takes four times as long for 768 channels.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _convolve(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = _convolve(grad, weight.transpose(0, 1).flip(2), None) if ctx.needs_input_grad[0] else None
        grad_weight = _weight_gradient(x, grad, weight.shape[2]) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, grad.sum((0, 1)) if ctx.has_bias else None


_apply_wide: Any = _WideConvolution.apply  # untyped in torch


def _weight_gradient(x: Tensor, grad: Tensor, width: int) -> Tensor:
    """The gradient [D_out, D_in, width] of a kernel; x [B, L, D_in], and the gradient of its output, [B, L, D_out]."""
    found, length = x.new_zeros(grad.shape[2], x.shape[2], width), x.shape[1]
    for place in range(width):
        shift = place - width // 2  # output i reads input i + shift
        first, end = max(0, -shift), length - max(0, shift)
        if first < end:
            for window, its_grad in zip(x, grad, strict=True):
                found[:, :, place] += transposed_product(its_grad[first:end], window[first + shift : end + shift])
    return found


def gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the GELU of Enformer, which is neither erf's nor tanh's."""
    return F.silu(GELU_SLOPE * x) / GELU_SLOPE


def centre(x: Tensor, num_kept: int) -> slice:
    """The middle `num_kept` of the positions of x [B, L, D]; of an odd rest one more is cut off at the end."""
    start = (x.shape[1] - num_kept) // 2
    return slice(start, start + num_kept)


class Convolution(nn.Conv1d):
    """A convolution of [B, L, D_in] to [B, L, D_out] with zeros beyond the ends; weight [D_out, D_in, width].

    Args:
        width_in, width_out: D_in, D_out.
        width: of the kernel, in positions; odd.
    """

    def __init__(self, width_in: int, width_out: int, width: int) -> None:
        super().__init__(width_in, width_out, width, padding=width // 2)

    def reset_parameters(self) -> None:
        """Draws weights as Sonnet does."""
        fan_in_normal_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x [B, L, D_in]: [B, L, D_out]."""
        return convolve(x, self.weight, self.bias)


def pointwise(width_in: int, width_out: int) -> Linear:
    """A linear map of every position with the initial weights of a convolution of width 1."""
    layer = Linear(width_in, width_out)
    fan_in_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ScaledBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of [B, L, D], times a constant, in one pass over x.

    Where its weight is frozen, it normalises by its running mean and variance in training too, and leaves them alone:
    else a frozen model would drift with the data of fine-tuning.

    Args:
        width: D.
        scale: the constant.

    Attributes:
        moves_averages: whether a forward pass in training moves the running mean and variance.
    """

    moves_averages = True

    def __init__(self, width: int, scale: float) -> None:
        super().__init__(width)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """scale * BatchNorm(x); x and result [B, L, D]."""
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        by_batch = self.training and self.weight.requires_grad
        if by_batch and self.moves_averages:
            self.num_batches_tracked.add_(1)
        y = F.batch_norm(
            x.transpose(1, 2).unsqueeze(2),  # [B, D, 1, L], channels last
            self.running_mean,
            self.running_var,
            self.scale * self.weight,
            self.scale * self.bias,
            by_batch,
            self.momentum if self.moves_averages else 0.0,
            self.eps,
        )
        return y.squeeze(2).transpose(1, 2)  # [B, L, D]


@contextlib.contextmanager
def running_averages_kept(module: nn.Module) -> Iterator[None]:
    """Within it, a training forward pass leaves the running averages of the norms in `module` as they are."""
    norms = [part for part in module.modules() if isinstance(part, ScaledBatchNorm)]
    for norm in norms:
        norm.moves_averages = False
    try:
        yield
    finally:
        for norm in norms:
            norm.moves_averages = True


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """module(x) without keeping what is inside for the backward pass, which computes it once more.

    Outputs, gradients and running averages are those of module(x). For modules without dropout.

    Args:
        module: from one tensor to one; its norms are `ScaledBatchNorm`.
    Source:
        Chen et al. 2016 (arXiv 1604.06174).
    """

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), running_averages_kept(module)

    return checkpoint(module, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


class ConvBlock(nn.Module):
    """BatchNorm, GELU and a convolution.

    With 1.702 in the norm's scale and in the convolution's weight, GELU is one SiLU.

    Args:
        width_in, width_out: D_in, D_out.
        width: of the kernel, in positions; odd. With 1, the convolution is a `Linear`.
    Source:
        Avsec et al. 2021 (Enformer), extended data figure 1.
    """

    def __init__(self, width_in: int, width_out: int, width: int = 1) -> None:
        super().__init__()
        self.norm = ScaledBatchNorm(width_in, GELU_SLOPE)
        if width == 1:
            self.convolution: Linear | Convolution = pointwise(width_in, width_out)
        else:
            self.convolution = Convolution(width_in, width_out, width)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output; x [B, L, D_in], result [B, L, D_out]."""
        hidden = F.silu(self.norm(x), inplace=True)  # 1.702 * GELU(BatchNorm(x))
        weight, bias = self.convolution.weight / GELU_SLOPE, self.convolution.bias
        return (linear if weight.dim() == 2 else convolve)(hidden, weight, bias)


class SoftmaxPool(nn.Module):
    """Every two neighbours as one: their mean, weighted for each channel by a softmax over the two.

    With logits W x, the softmax over two positions a and b is the sigmoid of W (a - b), which halves the work.

    Args:
        width: D.
    Source:
        Avsec et al. 2021 (Enformer), attention pooling with pool size 2; W starts as twice the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.logits = Linear(width, width, bias=False)
        with torch.no_grad():
            nn.init.eye_(self.logits.weight).mul_(2)

    def forward(self, x: Tensor) -> Tensor:
        """The pooled sequence; x [B, L, D] with L even, result [B, L/2, D]."""
        first, second = x[:, 0::2], x[:, 1::2]
        difference = first - second  # [B, L/2, D]
        return torch.addcmul(second, self.logits(difference).sigmoid_(), difference)
