"""What the training loop asks of a task, consensus or expression; it knows nothing else about either."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from genoformer.datasets.loader import Batch


class Task(Protocol):
    """A model, what it learns, how it is assessed and how it is written."""

    @property
    def model(self) -> nn.Module:
        """What is trained, in place."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean over a batch of "loss", which is minimised, and of other values that are only logged.

        Args:
            batch: as the task's `ExampleSource` reads it, on the model's device.
        Returns:
            scalars, with the same names for every batch.
        """

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Metrics over all examples of all processes, the same in every process.

        Called with the model in evaluation mode and without gradients.

        Args:
            batches: this process's share, of unequal sizes and perhaps none: a task adds up counts and calls
                `distributed.sum_over_processes` once, after the last batch.
        """

    def export(self, path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes a model file for people to use, such as `genoformer.models.checkpoint.save_checkpoint` does.

        Args:
            path: ends in .safetensors; to be replaced if it is there.
            weights: a state dict of `model`.
            metadata: JSON values: the step and the metrics of its evaluation.
        """
