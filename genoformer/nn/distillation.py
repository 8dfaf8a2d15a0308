"""Learning from a teacher: how far a student's probabilities are from the teacher's, and where it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from genoformer.errors import UsageError

Divergence = Literal["mse", "kl"]

_LAYER = re.compile(r"layers\.(\d+)\.")


def distillation_loss(
    *, student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, divergence: Divergence = "mse"
) -> Tensor:
    """The divergence of softmax(student / temperature) from softmax(teacher / temperature), averaged over positions.

    Args:
        student_logits: [B, L, V], any float dtype; computed in float32 or wider.
        teacher_logits: [B, L, V]; no gradient flows into them.
        divergence: "mse", the mean over symbols of the squared difference of probabilities, or "kl", the sum over
            symbols of teacher * log(teacher / student), in nats.
    Returns:
        [B].
    Raises:
        UsageError: shapes that differ, a temperature that is not above 0 or another divergence.
    Source:
        Belyaeva et al. 2022 (arXiv 2211.09862) and DeepConsensus v1.2, `losses_and_metrics.DistillationLoss`. One
        deviation: its KL clips probabilities at 1e-7, where this one has exact logarithms.
    """
    if divergence not in get_args(Divergence):
        raise UsageError(f"divergence is '{divergence}'; expected one of {', '.join(get_args(Divergence))}")
    if student_logits.shape != teacher_logits.shape or student_logits.dim() != 3:
        found = f"student {list(student_logits.shape)} and teacher {list(teacher_logits.shape)}"
        raise UsageError(f"logits are {found}; expected both [B, L, V]")
    if not 0 < temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; expected a finite number above 0")
    student = _log_probs(student_logits, temperature)
    teacher = _log_probs(teacher_logits.detach(), temperature)
    if divergence == "mse":
        by_position = (teacher.exp() - student.exp()).square().mean(-1)  # [B, L]
    else:
        by_position = (teacher.exp() * (teacher - student)).sum(-1)  # [B, L]
    return by_position.mean(-1)  # [B]


def _log_probs(logits: Tensor, temperature: float) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide / temperature, dim=-1)


def student_from_teacher(teacher: Mapping[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """The state dict that a student starts from: some of the teacher's layers, and everything outside of layers.

    Args:
        teacher: by name; layer i is called `layers.i. ...`.
        layers: for each layer of the student, the teacher's, counted from 0. The original's: 1, 2, 3, 4, 5.
    Raises:
        UsageError: a layer that the teacher lacks.
    Source:
        DeepConsensus v1.2, `model_distillation.init_student_from_teacher`. One deviation: that leaves the student's
        ReZero scales and LayerNorms as they are drawn; here they are the teacher's too.
    """
    numbers = {int(match[1]) for match in map(_LAYER.match, teacher) if match}
    missing = sorted(set(layers) - numbers)
    if missing:
        raise UsageError(f"the teacher has no layer {missing[0]}; it has {len(numbers)}, counted from 0")
    student = {name: tensor.clone() for name, tensor in teacher.items() if not _LAYER.match(name)}
    for new, old in enumerate(layers):
        prefix = f"layers.{old}."
        for name, tensor in teacher.items():
            if name.startswith(prefix):
                student[f"layers.{new}.{name.removeprefix(prefix)}"] = tensor.clone()
    return student
