"""The alignment loss: a soft Needleman-Wunsch between predicted class probabilities and a label, by several backends.

    reference   the recursion cell by cell, any dtype, autograd; slow, the truth for tests
    wavefront   plain torch, an anti-diagonal and all examples at a time; everywhere
    native      C++ compiled on first use, an example in each lane of a vector; CPU
    triton      one launch for loss and gradient; CUDA

All but the reference give the gradient in the pass that computes the loss, from saved softmin weights.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from genoformer.errors import UsageError
from genoformer.nn.alignment_reference import NUM_CLASSES, reference_loss, reference_posterior
from genoformer.nn.alignment_wavefront import AlignmentResult, solve_by_wavefront
from genoformer_kernels import arguments

Backend = Literal["auto", "reference", "wavefront", "native", "triton"]
Reduction = Literal["none", "mean", "sum"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendChoice:
    """The backend that computes a loss, never "auto", and why it was taken."""

    name: Backend
    reason: str


def refusal(
    backend: Backend, probs: Tensor, labels: Tensor, *, deletion_cost: float, temperature: float | None
) -> str | None:
    """Why `backend` cannot align these tensors; None where it can."""
    if backend not in ("native", "triton"):
        return None
    if probs.dtype == torch.float64:
        return "it computes in float32; the probabilities are torch.float64"
    if reason := arguments.out_of_range(probs, labels, deletion_cost=deletion_cost, temperature=temperature):
        return reason
    if backend == "native":
        from genoformer_kernels import native

        return native.refusal(probs)
    if not _triton_is_importable():
        return "triton is not importable; it comes with torch's CUDA builds for Linux"
    from genoformer_kernels import alignment

    return alignment.refusal(probs, labels)


@functools.cache
def _triton_is_importable() -> bool:
    return importlib.util.find_spec("triton") is not None


def choose_backend(
    probs: Tensor,
    labels: Tensor,
    *,
    deletion_cost: float = 10.0,
    temperature: float | None = 0.1,
    backend: Backend = "auto",
) -> BackendChoice:
    """The backend that `alignment_loss` and `alignment_posterior` use for these arguments.

    Args:
        backend: "auto" for triton on CUDA and native on a CPU, or wavefront where they cannot be used;
            or the name of one to insist on.
    Raises:
        UsageError: `backend` is unknown or cannot be used here; the message says why.
    """
    if backend not in get_args(Backend):
        raise UsageError(f"alignment backend is '{backend}'; expected one of {', '.join(get_args(Backend))}")
    settings: dict[str, Any] = {"deletion_cost": deletion_cost, "temperature": temperature}
    if backend != "auto":
        reason = refusal(backend, probs, labels, **settings)
        if reason:
            raise UsageError(f"alignment backend '{backend}' cannot be used: {reason}")
        return BackendChoice(backend, "asked for")
    fastest: Backend = "triton" if probs.is_cuda else "native"
    reason = refusal(fastest, probs, labels, **settings)
    if reason:
        return BackendChoice("wavefront", f"{fastest} cannot be used: {reason}")
    return BackendChoice(fastest, f"the fastest on {probs.device.type}")


@functools.cache
def _log_once(choice: BackendChoice) -> None:
    logger.log(
        logging.WARNING if choice.name == "wavefront" and choice.reason != "asked for" else logging.INFO,
        "alignment loss: backend %s (%s)",
        choice.name,
        choice.reason,
    )


def _check_symbols(labels: Tensor) -> None:
    if not labels.numel():
        return
    labels = labels.long()  # torch compares few of the other types
    low, high = torch.aminmax(labels)
    if low < 0 or high >= NUM_CLASSES:
        example, position = ((labels < 0) | (labels >= NUM_CLASSES)).nonzero()[0].tolist()
        raise UsageError(
            f"labels[{example}, {position}] is {labels[example, position].item()}; expected 0 for a gap or a base "
            f"1 .. {NUM_CLASSES - 1}"
        )


def _prepare(
    probs: Tensor, labels: Tensor, deletion_cost: float, temperature: float | None, backend: Backend
) -> tuple[Tensor, Backend]:
    """Checked probabilities, in the dtype of the arithmetic where that is done by torch, and the chosen backend."""
    settings: dict[str, Any] = {"deletion_cost": deletion_cost, "temperature": temperature}
    if wrong := arguments.complaint(probs, labels, **settings):
        raise UsageError(wrong)
    choice = choose_backend(probs, labels, backend=backend, **settings)
    _log_once(choice)
    if choice.name in ("reference", "wavefront"):  # the kernels see every symbol themselves
        _check_symbols(labels)
    if choice.name in ("reference", "wavefront") and probs.dtype != torch.float64:
        probs = probs.float()
    return probs, choice.name


def _solve(
    probs: Tensor,
    labels: Tensor,
    *,
    deletion_cost: float,
    temperature: float | None,
    backend: Backend,
    gradient: bool = False,
    posterior: bool = False,
) -> AlignmentResult:
    settings: dict[str, Any] = {
        "deletion_cost": deletion_cost,
        "temperature": temperature,
        "gradient": gradient,
        "posterior": posterior,
    }
    if backend == "native":
        from genoformer_kernels import native

        try:
            return AlignmentResult(*native.solve(probs, labels, **settings))
        except native.UnknownSymbolError:
            _check_symbols(labels)  # says which and where
            raise
    if backend == "triton":
        from genoformer_kernels import alignment

        return AlignmentResult(*alignment.solve(probs, labels, **settings))
    return solve_by_wavefront(probs.detach(), labels, **settings)


class _AlignmentLoss(torch.autograd.Function):
    """The loss of each example; the pass that computes it gives its gradient too, which is all that is saved."""

    @staticmethod
    def forward(
        ctx: Any, probs: Tensor, labels: Tensor, deletion_cost: float, temperature: float | None, backend: Backend
    ) -> Tensor:
        result = _solve(
            probs, labels, deletion_cost=deletion_cost, temperature=temperature, backend=backend, gradient=True
        )
        ctx.save_for_backward(result.gradient)
        ctx.dtype = probs.dtype
        return result.loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[:, None, None]).to(ctx.dtype), None, None, None, None  # [B, L, 5]


_apply: Any = _AlignmentLoss.apply  # untyped in torch


def alignment_loss(
    *,
    probs: Tensor,
    labels: Tensor,
    deletion_cost: float = 10.0,
    temperature: float | None = 0.1,
    reduction: Reduction = "none",
    backend: Backend = "auto",
) -> Tensor:
    """The cost of the best alignment of each label to its prediction, softened over all alignments.

    A column of the prediction emits one base of the label, at -log of its probability, or a gap, at -log of the gap's;
    a base that no column emits costs `deletion_cost`.

    Args:
        probs: [B, L, 5], probabilities of gap, A, T, C, G; renormalised, then clipped to [1e-7, 1 - 1e-7], outside
            of which no gradient flows. Half precision is computed in float32, but a gradient of up to 1e7 may overflow
            float16; any strides.
        labels: [B, M], whole numbers, 0 for a gap, 1 .. 4 for a base; gaps are left out of the alignment.
        deletion_cost: in nats.
        temperature: of the soft minimum, in nats, 1e-6 or more; None for the minimum, whose gradient is shared equally
            by the moves into a cell that attain it.
        reduction: "none" for [B], or the "mean" or "sum" over examples.
        backend: see `choose_backend`.
    Returns:
        [B] or a scalar; float64 for float64 probabilities, else float32. An example with NaN in its probabilities has
        a NaN loss and gradient, as has one with a label outside 0 .. 4 under triton; its neighbours are not touched.
    Raises:
        UsageError: shapes, dtypes, parameters or labels that cannot be aligned, or a backend that cannot be used.
    Source:
        DeepConsensus (Baid et al. 2023), `losses_and_metrics.AlignmentLoss` of v1.2 with width None: the full
        objective, never the banded one.
    """
    if reduction not in get_args(Reduction):
        raise UsageError(f"reduction is '{reduction}'; expected one of {', '.join(get_args(Reduction))}")
    probs, chosen = _prepare(probs, labels, deletion_cost, temperature, backend)
    if chosen == "reference":
        loss = reference_loss(probs, labels, deletion_cost=deletion_cost, temperature=temperature)
    elif torch.is_grad_enabled() and probs.requires_grad:
        loss = _apply(probs, labels, deletion_cost, temperature, chosen)
    else:
        loss = _solve(probs, labels, deletion_cost=deletion_cost, temperature=temperature, backend=chosen).loss
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def alignment_posterior(
    *,
    probs: Tensor,
    labels: Tensor,
    deletion_cost: float = 10.0,
    temperature: float | None = 0.1,
    backend: Backend = "auto",
) -> Tensor:
    """The probability that base i of each label is emitted by column j, [B, M, L]: d loss / d S[i, j].

    Bases are counted without gaps; rows beyond a label's last base are zero. Arguments and errors as in
    `alignment_loss`; not differentiable.

    Source:
        DeepConsensus v1.2, `AlignmentLoss.eval` with return_matches.
    """
    probs, chosen = _prepare(probs.detach(), labels, deletion_cost, temperature, backend)
    settings: dict[str, Any] = {"deletion_cost": deletion_cost, "temperature": temperature}
    if chosen == "reference":
        return reference_posterior(probs, labels, **settings)
    posterior = _solve(probs, labels, backend=chosen, posterior=True, **settings).posterior
    assert posterior is not None  # it was asked for
    return posterior
