"""Trains a consensus model on shards of examples: the files around the training loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.datasets.loader import Loader, SinglePass
from genoformer.errors import CheckpointError, DataError, UsageError
from genoformer.models.checkpoint import load_consensus_model
from genoformer.models.consensus import ConsensusTransformer
from genoformer.nn.distillation import student_from_teacher
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig
from genoformer.training.distributed import Process, start_process
from genoformer.training.loop import Outcome, train
from genoformer.training.random_state import seed_process
from genoformer.training.signals import StopRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConsensusOptions:
    """Files of a training run.

    Attributes:
        config: TOML file of a `ConsensusTrainConfig`.
        data: folders that `consensus examples` wrote into; shards called train-* are learned, eval-* assessed.
        out_dir: of this run alone.
        sets: `key=value` settings on top of the TOML file.
        teacher: model file to learn from too; None: from labels alone.
        init: model file to start from; None: random weights, or those of the teacher's layers that the config names.
        device: "auto", "cpu" or "cuda".
    """

    config: Path
    data: Sequence[Path]
    out_dir: Path
    sets: Sequence[str] = ()
    resume: bool = False
    teacher: Path | None = None
    init: Path | None = None
    device: str = "auto"


def train_consensus(options: TrainConsensusOptions, stop: StopRequest | None = None) -> Outcome:
    """Trains a model, or goes on with a run that was interrupted; see `genoformer.training.loop`.

    Raises:
        UsageError: a config that does not parse, or a teacher or initial model that does not fit it.
        DataError: no shards, or damaged ones.
    """
    config = load_toml(ConsensusTrainConfig, options.config, options.sets)
    shards = {split: _shards(options.data, split) for split in ("train", "eval")}
    if not shards["train"]:
        raise DataError(f"{_names(options.data)}: no shards train-*.h5; make them with 'genoformer consensus examples'")
    with start_process(options.device) as process:
        seed_process(config.seed, 0)  # the same initial weights in every process
        task = _task(config, options)
        loader = Loader(
            ConsensusDataset(shards["train"], config.model, shuffle_passes=config.shuffle_passes),
            batch_size=config.batch_size,
            seed=config.seed,
            rank=process.rank,
            world_size=process.world_size,
            num_workers=config.num_workers,
            pin_memory=process.device.type == "cuda",
        )
        evaluation = _evaluation(shards["eval"], config, process)
        return train(
            task,
            loader,
            config,
            options.out_dir,
            evaluation=evaluation,
            process=process,
            resume=options.resume,
            stop=stop,
        )


def _shards(folders: Sequence[Path], split: str) -> list[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; expected what 'genoformer consensus examples' wrote")
    return [path for folder in folders for path in sorted(folder.glob(f"{split}-*.h5"))]


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def _evaluation(shards: list[Path], config: ConsensusTrainConfig, process: Process) -> SinglePass | None:
    source = ConsensusDataset(shards, config.model) if shards else None
    if source is None or not len(source):
        logger.warning("no windows in shards eval-*.h5: nothing is assessed, and there is no best model")
        return None
    return SinglePass(
        source,
        batch_size=config.batch_size,
        rank=process.rank,
        world_size=process.world_size,
    )


def _task(config: ConsensusTrainConfig, options: TrainConsensusOptions) -> ConsensusTask:
    model = ConsensusTransformer(config.model)
    teacher = None if options.teacher is None else load_consensus_model(options.teacher)
    if teacher is not None:
        _check_same_rows(options.teacher, teacher.config, config.model)
    if options.init is not None:
        _start_from_(model, options.init)
    elif teacher is not None and config.distillation.layers:
        model.load_state_dict(student_from_teacher(teacher.state_dict(), config.distillation.layers))
    return ConsensusTask(model, config, teacher)


def _check_same_rows(path: Path | None, found: ConsensusConfig, expected: ConsensusConfig) -> None:
    """Raises unless a teacher reads the pileup rows that the student reads."""
    for name in ("max_passes", "window_length", "use_ccs_quality"):
        if getattr(found, name) != getattr(expected, name):
            raise UsageError(
                f"{path}: the teacher has {name}={getattr(found, name)}; the config's model has "
                f"{getattr(expected, name)}, and both must read the same windows"
            )


def _start_from_(model: ConsensusTransformer, path: Path) -> None:
    try:
        model.load_state_dict(load_consensus_model(path).state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its weights do not fit the config's model: {reason}") from None
