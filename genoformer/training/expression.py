"""What an expression model learns, and how well it does: the expression side of the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genoformer import __version__
from genoformer.config import Config, Count, ExpressionConfig
from genoformer.datasets.expression import one_hot
from genoformer.datasets.loader import Batch
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.low_rank import merge_differences
from genoformer.nn.track_losses import poisson_loss, poisson_multinomial_loss
from genoformer.nn.track_metrics import TrackMoments
from genoformer.training.config import NotNegative, Positive, TrainConfig
from genoformer.training.distributed import gather_at_all, sum_over_processes

_TARGETS = "targets_"  # and the species: what batches call the targets
SMALLEST_MEAN = 1e-3  # that a track is taken to have


class TrackLossConfig(Config):
    """The loss of predicted tracks; the defaults are Enformer's."""

    kind: Literal["poisson", "poisson_multinomial"] = "poisson"
    total_weight: NotNegative = 0.2  # of a track's total, in poisson_multinomial
    track_weights: Literal["equal", "inverse_sqrt_mean"] = "equal"  # 1 / sqrt(mean of the track in training)


class AugmentationConfig(Config):
    """What training reads of an example, at random."""

    max_shift_bp: Annotated[int, Field(ge=0)] = 3  # of the sequence against the bins, either way
    reverse_complement: bool = True  # every second example
    crop_bins: Count | None = None  # stretches of so many bins, with what the window has beside them; None: all


class FineTuneConfig(Config):
    """What of a model that is trained further learns; its heads always do."""

    trunk: Literal["learned", "frozen", "lora"] = "learned"  # lora: differences of low rank, in the transformer layers
    lora_rank: Count = 8
    lora_alpha: Positive = 8.0


class ExpressionTrainConfig(TrainConfig):
    """How an expression model is built and trained.

    `model.heads` may be left out: the data say how many tracks of which species there are.
    """

    model: ExpressionConfig = ExpressionConfig()
    loss: TrackLossConfig = TrackLossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    finetune: FineTuneConfig = FineTuneConfig()
    start_at_means: bool = False  # new heads first predict about the mean of each track
    checkpoint_tower: bool = False  # the tower is computed twice and takes less memory


class ExpressionTask:
    """An expression model that learns the tracks of one species a batch.

    Args:
        model: to be trained.
        config: of the run.
        means: of each track of each species that is trained, per bin of the model; float64 [T].
    """

    def __init__(
        self, model: ExpressionTransformer, config: ExpressionTrainConfig, means: Mapping[str, np.ndarray]
    ) -> None:
        self.model, self.config = model, config
        self._weights = {species: _track_weights(config.loss, mean) for species, mean in means.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of all tracks and examples.

        Args:
            batch: "sequence" uint8 [B, L] and, named by `targets_name`, the targets of one species [B, N, T].
        """
        species, measured = _targets(batch)
        return {"loss": self._losses(species, self._predict(batch, species), measured).mean()}

    def _predict(self, batch: Batch, species: str) -> Tensor:
        """Of the species of a batch, as many bins as it has; [B, N, T]."""
        num_bins = batch[targets_name(species)].shape[1]
        return self.model(one_hot(batch["sequence"]), [species], num_bins)[species]

    def _losses(self, species: str, predicted: Tensor, measured: Tensor) -> Tensor:
        """Of each example and track, [B, T]."""
        weights = self._weights[species] = self._weights[species].to(predicted.device)
        if self.config.loss.kind == "poisson":
            return weights * poisson_loss(predicted=predicted, measured=measured)
        total_weight = self.config.loss.total_weight
        return weights * poisson_multinomial_loss(predicted=predicted, measured=measured, total_weight=total_weight)

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss, and the mean over tracks of their Pearson correlation over all bins of all examples.

        Tracks that do not vary are left out. With several species, both are means over these, and "pearson_human",
        ..., are given too.
        """
        moments = {species: TrackMoments(len(weights)) for species, weights in self._weights.items()}
        sums = {species: torch.zeros(2, dtype=torch.float64) for species in moments}  # loss, examples
        for batch in batches:
            species, measured = _targets(batch)
            predicted = self._predict(batch, species)
            losses = self._losses(species, predicted, measured).double().mean(1)  # [B]
            sums[species] += torch.tensor([losses.sum().item(), len(losses)], dtype=torch.float64)
            moments[species].update_(predicted=predicted, measured=measured)
        total, count = sum_over_processes(torch.stack(list(sums.values()), 1))  # each [species]
        pearson = torch.stack(
            [TrackMoments.merged(gather_at_all(found.state)).pearson().nanmean() for found in moments.values()]
        )  # [species]
        values = {"loss": (total / count).nanmean().item(), "pearson": pearson.nanmean().item()}
        if len(pearson) > 1:
            values |= {f"pearson_{species}": value for species, value in zip(moments, pearson.tolist(), strict=True)}
        return values

    def export(self, path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model as a file that `expression predict` reads, with version and configuration of the run."""
        training = self.config.model_dump(mode="json", exclude={"model"})
        plain = merge_differences(weights, alpha=self.config.finetune.lora_alpha)
        save_checkpoint(
            path,
            plain,
            self.model.config,
            metadata={"genoformer": __version__, "training": training, **metadata},
            tracks=self.model.tracks,
        )


def targets_name(species: str) -> str:
    """What a batch calls the targets of a species."""
    return f"{_TARGETS}{species}"


def _targets(batch: Batch) -> tuple[str, Tensor]:
    """Species and targets of a batch."""
    [name] = (name for name in batch if name.startswith(_TARGETS))
    return name.removeprefix(_TARGETS), batch[name]


def _track_weights(config: TrackLossConfig, means: np.ndarray) -> Tensor:
    """Of each track in the loss, float32 [T]."""
    if config.track_weights == "equal":
        return torch.ones(len(means))
    return torch.from_numpy(np.maximum(means, SMALLEST_MEAN) ** -0.5).float()
