"""What the training runs of both tasks have in common: options, shards, batches and initial weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from genoformer.datasets.loader import ExampleSource, Loader, SinglePass
from genoformer.errors import CheckpointError, DataError
from genoformer.training.config import TrainConfig
from genoformer.training.distributed import Process

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Files of a training run.

    Attributes:
        config: TOML file of the task's `TrainConfig`.
        out_dir: of this run alone.
        sets: `key=value` settings on top of the TOML file.
        resume: go on from the last checkpoint, if there is one.
        init: model file to start from; None: random weights.
        device: "auto", "cpu" or "cuda".
    """

    config: Path
    out_dir: Path
    sets: Sequence[str] = ()
    resume: bool = False
    init: Path | None = None
    device: str = "auto"


def find_shards(folders: Sequence[Path], split: str, command: str) -> list[Path]:
    """The shards of a split in some folders, folder by folder.

    Args:
        command: that makes such folders.
    Raises:
        DataError: no such folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; expected what 'genoformer {command}' wrote")
    return [path for folder in folders for path in sorted(folder.glob(f"{split}-*.h5"))]


def find_training_shards(folders: Sequence[Path], command: str) -> list[Path]:
    """As `find_shards`, of split "train", at least one.

    Raises:
        DataError: no such folder, or no shard in any.
    """
    shards = find_shards(folders, "train", command)
    if not shards:
        names = ", ".join(str(folder) for folder in folders)
        raise DataError(f"{names}: no shards train-*.h5; make them with 'genoformer {command}'")
    return shards


def training_batches(source: ExampleSource, config: TrainConfig, process: Process) -> Loader:
    """This process's batches for training."""
    return Loader(source, seed=config.seed, **_reading(config, process))


def evaluation_batches(source: ExampleSource, config: TrainConfig, process: Process) -> SinglePass:
    """This process's share of the examples that a model is assessed with."""
    return SinglePass(source, **_reading(config, process))


def _reading(config: TrainConfig, process: Process) -> dict[str, Any]:
    """How a process reads examples, whatever for."""
    return {
        "batch_size": config.batch_size,
        "rank": process.rank,
        "world_size": process.world_size,
        "num_workers": config.num_workers,
        "pin_memory": process.device.type == "cuda",
    }


def warn_of_no_evaluation(split: str) -> None:
    """Says that there is nothing to choose the best model by."""
    logger.warning("no windows in shards %s-*.h5: nothing is assessed, and there is no best model", split)


def load_weights_(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Puts the weights of a model file into a model.

    Raises:
        CheckpointError: they do not fit.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its weights do not fit the config's model: {reason}") from None
