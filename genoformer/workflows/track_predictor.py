"""An expression model of a file, ready to predict the tracks of one species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genoformer.config import ExpressionConfig
from genoformer.datasets.expression import one_hot
from genoformer.genome.track import Track
from genoformer.io.expression_examples import WindowShape
from genoformer.models.checkpoint import load_expression_model
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.precision import float32_products
from genoformer.workflows.device import find_device, num_threads

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class TrackPredictor:
    """Predicts tracks of one species from sequence.

    Attributes:
        tracks: what the outputs are, in their order.
        both_strands: predictions are means of those from either strand.
    """

    model: ExpressionTransformer
    species: str
    tracks: Sequence[Track]
    device: torch.device
    precision: Literal["fp32", "bf16"] = "fp32"
    both_strands: bool = False

    @property
    def shape(self) -> WindowShape:
        """What is read and predicted."""
        return window_shape(self.model.config)

    @torch.inference_mode()
    def __call__(self, sequence: Tensor) -> Tensor:
        """Tracks of windows.

        Args:
            sequence: genome codes, uint8 [B, L].
        Returns:
            [B, N, T], float32, on the device.
        """
        bases = one_hot(sequence.to(self.device))  # [B, L, 4]
        predicted = self._predict(bases)
        if not self.both_strands:
            return predicted
        pairs = torch.tensor([track.strand_pair for track in self.tracks], device=self.device)
        # A, C, G, T backwards are their complements; the other strand's bins come backwards, in the paired tracks.
        return (predicted + self._predict(bases.flip(1, 2))[..., pairs].flip(1)) / 2

    def _predict(self, bases: Tensor) -> Tensor:
        with float32_products(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(bases, [self.species])[self.species]


def window_shape(config: ExpressionConfig) -> WindowShape:
    """What a model reads and predicts."""
    return WindowShape(config.window_bp, config.bin_bp, config.target_bins)


def load_track_model(path: str | Path, device: str | None, threads: int | None) -> ExpressionTransformer:
    """The expression model of a file, on a device; sets torch's number of threads for this process.

    Args:
        device: as `find_device` takes it.
        threads: None: as many as there are cores for this process.
    Raises:
        UsageError: a device that is not there, or fewer than one thread.
        CheckpointError: a file that is not one of our expression models.
    """
    found, granted = find_device(device), num_threads(threads)
    torch.set_num_threads(granted if found.type == "cpu" else 1)
    return load_expression_model(path, found)
