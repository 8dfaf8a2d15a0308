"""Linear maps by oneDNN where it is faster than PyTorch's own float32 product: on x86 CPUs.

PyTorch sends float32 products to MKL, which on processors of other makers than Intel reaches less than half of what
oneDNN does there. `Linear` is for models that learn, `FrozenLinear` for those that only predict: it arranges its
weight once.
"""

from __future__ import annotations

import functools
import platform
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.errors import UsageError

LinearBackend = Literal["auto", "onednn", "torch"]

# With bfloat16 weights, oneDNN computes leftover columns by a path that slows the whole product by a fifth.
_BF16_COLUMNS = 32


def onednn_refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why oneDNN's product cannot be called for weights of `dtype` on `device`; None where it can."""
    if device.type != "cpu":
        return f"weights are on {device.type}, not on the CPU"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"weights are {dtype}, neither float32 nor bfloat16"
    return _processor_refusal(dtype)


@functools.cache
def _processor_refusal(dtype: torch.dtype) -> str | None:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"the processor is {platform.machine()}, not x86-64"
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    if not all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")):
        return f"torch {torch.__version__} lacks the operators"
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "the processor has no bfloat16 instructions that oneDNN uses"
    return None


def _onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """activation(x W^T + b) by oneDNN, with any strides; x [..., D_in], W [D_out, D_in], result [..., D_out]."""
    if not (weight.is_mkldnn or weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # with gaps between rows, oneDNN has but a reference, 100 times as slow
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


def transposed_product(x: Tensor, y: Tensor) -> Tensor:
    """x^T y by oneDNN, [D_x, D_y], of x [n, D_x] and y [n, D_y]; the product copies its first factor: the narrower."""
    if x.shape[1] <= y.shape[1]:
        return _onednn_product(x.t(), y.t())
    return _onednn_product(y.t(), x.t()).t()


class _OneDnnLinear(torch.autograd.Function):
    """x W^T + b of x [n, D_in] and its gradients, all three products by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _onednn_product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = _onednn_product(grad, weight.t()) if ctx.needs_input_grad[0] else None  # [n, D_in]
        grad_weight = transposed_product(grad, x) if ctx.needs_input_grad[1] else None  # [D_out, D_in]
        return grad_x, grad_weight, grad.sum(0) if ctx.has_bias else None


_apply_onednn: Any = _OneDnnLinear.apply  # untyped in torch


def choose_linear_backend(x: Tensor, weight: Tensor, backend: LinearBackend = "auto") -> LinearBackend:
    """The backend that `linear` uses for these tensors, never "auto".

    Raises:
        UsageError: `backend` is "onednn" and cannot be used; the message says why.
    """
    if backend == "torch":
        return "torch"
    reason = onednn_refusal(x.device, weight.dtype)
    if x.dtype != torch.float32 or weight.dtype != torch.float32:
        reason = reason or f"input is {x.dtype} and weights are {weight.dtype}; it is for float32"
    if torch.is_autocast_enabled("cpu"):
        reason = reason or "autocast is on"
    if reason and backend == "onednn":
        raise UsageError(f"linear backend 'onednn' cannot be used: {reason}")
    return "torch" if reason else "onednn"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: LinearBackend = "auto") -> Tensor:
    """x W^T + b; x [..., D_in], W [D_out, D_in], result [..., D_out]; float32 on an x86 CPU by oneDNN.

    Raises:
        UsageError: as `choose_linear_backend`.
    """
    if choose_linear_backend(x, weight, backend) == "torch":
        return F.linear(x, weight, bias)
    y: Tensor = _apply_onednn(x.reshape(-1, x.shape[-1]), weight, bias)  # [n, D_out]
    return y.view(*x.shape[:-1], len(weight))  # [..., D_out]


class Linear(nn.Linear):
    """`torch.nn.Linear` whose float32 products on an x86 CPU, forward and backward, are oneDNN's.

    Attributes:
        backend: "auto", or "torch" or "onednn" to insist on one.
    """

    backend: LinearBackend = "auto"

    def choose_backend(self, x: Tensor) -> LinearBackend:
        """The backend that `forward` uses for x, see `choose_linear_backend`."""
        return choose_linear_backend(x, self.weight, self.backend)

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b; x [..., D_in], result [..., D_out]."""
        return linear(x, self.weight, self.bias, backend=self.backend)


class FrozenLinear:
    """x W^T + b, then ReLU if asked for; for inference only.

    On an x86 CPU the weight is arranged once in oneDNN's blocked layout; elsewhere this is a plain linear map.

    Args:
        weight: [D_out, D_in], in the dtype that the inputs will have.
        bias: [D_out] or None.
        num_rows: how many input vectors a call will have, a hint for the layout.

    Attributes:
        refusal: why it is a plain linear map; None where it is not.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, num_rows: int, relu: bool = False) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.relu, self.num_columns = relu, weight.shape[0]
        self.refusal = onednn_refusal(weight.device, weight.dtype)
        if self.refusal is None:
            spare = -self.num_columns % _BF16_COLUMNS if weight.dtype == torch.bfloat16 else 0
            padded = F.pad(self.weight, (0, 0, 0, spare))  # [D_out + spare, D_in]
            self.weight = torch.ops.mkldnn._reorder_linear_weight(padded, num_rows)
            self.bias = None if self.bias is None else F.pad(self.bias, (0, spare))

    @property
    def backend(self) -> LinearBackend:
        """Either "onednn" or "torch"."""
        return "torch" if self.refusal else "onednn"

    def __call__(self, x: Tensor) -> Tensor:
        """The map of x [..., D_in]: [..., D_out], a view of a wider tensor where columns were added for speed."""
        if self.refusal is None:
            y = _onednn_product(x, self.weight, self.bias, "relu" if self.relu else "none")
            return y if y.shape[-1] == self.num_columns else y[..., : self.num_columns]  # [..., D_out]
        y = F.linear(x, self.weight, self.bias)
        return y.relu_() if self.relu else y
