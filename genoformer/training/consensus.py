"""What a consensus model learns, and how well it does: the consensus side of the training loop."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from genoformer import __version__
from genoformer.config import Config, ConsensusConfig
from genoformer.datasets.loader import Batch
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer, base_probs
from genoformer.nn.distillation import distillation_loss
from genoformer.nn.losses import alignment_loss
from genoformer.nn.metrics import align_batch
from genoformer.training.config import DistillationConfig, NotNegative, TrainConfig
from genoformer.training.distributed import sum_over_processes


class AlignmentLossConfig(Config):
    """The alignment loss; the defaults are those of every released DeepConsensus."""

    deletion_cost: NotNegative = 10.0  # of a base that no column emits, in nats
    temperature: Annotated[float, Field(ge=1e-6, allow_inf_nan=False)] | None = 0.1  # of the soft minimum, in nats


class ConsensusTrainConfig(TrainConfig):
    """How a consensus model is built and trained; distillation counts where there is a teacher."""

    model: ConsensusConfig = ConsensusConfig(use_ccs_quality=True)
    loss: AlignmentLossConfig = AlignmentLossConfig()
    distillation: DistillationConfig = DistillationConfig()
    shuffle_passes: bool = False  # the passes of a window in another order in every epoch


class ConsensusTask:
    """A consensus model that learns the label of pileup windows, from a teacher too where there is one.

    Args:
        model: to be trained.
        config: of the run.
        teacher: reads the same pileup rows as the model; it is not trained.
    """

    def __init__(
        self, model: ConsensusTransformer, config: ConsensusTrainConfig, teacher: ConsensusTransformer | None = None
    ) -> None:
        self.model, self.config = model, config
        self._teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The alignment loss, or its weighted sum with the divergence from the teacher, and what it consists of.

        Args:
            batch: "rows" [B, R, L] and "labels" [B, L].
        """
        logits = self.model(batch["rows"])  # [B, L, 5]
        labels = batch["labels"]
        values = {"alignment_loss": self._alignment_loss(logits, labels).mean()}
        total = values["alignment_loss"]
        if self._teacher is not None:
            distillation = self.config.distillation
            with torch.no_grad():
                teacher_logits = self._teacher.to(logits.device)(batch["rows"])  # [B, L, 5]
            values["divergence"] = distillation_loss(
                student_logits=logits,
                teacher_logits=teacher_logits,
                temperature=distillation.temperature,
                divergence=distillation.divergence,
            ).mean()
            total = distillation.student_alpha * total + distillation.distill_alpha * values["divergence"]
        called = logits.detach().argmax(-1)  # [B, L]
        return {"loss": total, "per_example_accuracy": windows_match(called, labels).double().mean(), **values}

    def _alignment_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of each window, [B]."""
        loss = self.config.loss
        return alignment_loss(
            probs=base_probs(logits), labels=labels, deletion_cost=loss.deletion_cost, temperature=loss.temperature
        )

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss, per-example accuracy, identity to the label of the called windows and of the CCS, and their yields.

        `yield_over_ccs` is the number of windows without an error over that of the CCS read's own windows without
        one. The original counts batches of windows with an identity of 0.997, which depends on the batch size.
        """
        sums = torch.zeros(8, dtype=torch.float64)
        ccs_row = 4 * self.model.config.max_passes
        for batch in batches:
            logits, labels = self.model(batch["rows"]), batch["labels"].cpu()
            called = align_batch(probs=logits.float().cpu(), labels=labels)
            ccs = align_batch(probs=_one_hot(batch["rows"][:, ccs_row]), labels=labels)
            sums += torch.tensor([
                len(labels), self._alignment_loss(logits, batch["labels"]).double().sum().item(),
                called.correct.sum(), called.matches.sum(), called.lengths.sum(),
                ccs.correct.sum(), ccs.matches.sum(), ccs.lengths.sum(),
            ])  # fmt: skip
        count, loss, correct, matches, length, ccs_correct, ccs_matches, ccs_length = sum_over_processes(sums).tolist()
        return {
            "loss": loss / count,
            "per_example_accuracy": correct / count,
            "identity": matches / length,
            "ccs_per_example_accuracy": ccs_correct / count,
            "ccs_identity": ccs_matches / ccs_length,
            "yield_over_ccs": correct / ccs_correct if ccs_correct else float("nan"),
        }

    def export(self, path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model as a file that `consensus correct` reads, with version and configuration of the run."""
        training = self.config.model_dump(mode="json", exclude={"model"})
        save_checkpoint(
            path, weights, self.model.config, metadata={"genoformer": __version__, "training": training, **metadata}
        )


def windows_match(called: Tensor, labels: Tensor) -> Tensor:
    """Whether the bases of a window are those of its label, gaps left out; [B, L] and [B, M] to bool [B]."""
    length = max(called.shape[1], labels.shape[1])
    return (_left_aligned(called, length) == _left_aligned(labels, length)).all(-1)


def _left_aligned(symbols: Tensor, length: int) -> Tensor:
    """Bases moved to the front over gaps (0), [B, length]."""
    order = (symbols == 0).to(torch.uint8).argsort(dim=-1, stable=True)
    bases = symbols.long().gather(-1, order)
    return torch.nn.functional.pad(bases, (0, length - symbols.shape[1]))


def _one_hot(codes: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(codes.long().cpu(), 5)  # [B, L, 5]
