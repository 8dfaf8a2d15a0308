"""Trains a consensus model on shards of examples: the files around the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.datasets.loader import SinglePass
from genoformer.errors import UsageError
from genoformer.models.checkpoint import load_consensus_model
from genoformer.models.consensus import ConsensusTransformer
from genoformer.nn.distillation import student_from_teacher
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig
from genoformer.training.distributed import Process, start_process
from genoformer.training.loop import Outcome, train
from genoformer.training.random_state import seed_process
from genoformer.training.run import (
    RunOptions,
    evaluation_batches,
    find_shards,
    find_training_shards,
    load_weights_,
    training_batches,
    warn_of_no_evaluation,
)
from genoformer.training.signals import StopRequest

_COMMAND = "consensus examples"


@dataclass(frozen=True, kw_only=True)
class TrainConsensusOptions(RunOptions):
    """Files of a training run; the config is a `ConsensusTrainConfig`, and `init` may stand for the teacher's layers.

    Attributes:
        data: folders that `consensus examples` wrote into; shards called train-* are learned, eval-* assessed.
        teacher: model file to learn from too; None: from labels alone.
    """

    data: Sequence[Path]
    teacher: Path | None = None


def train_consensus(options: TrainConsensusOptions, stop: StopRequest | None = None) -> Outcome:
    """Trains a model, or goes on with a run that was interrupted; see `genoformer.training.loop`.

    Raises:
        UsageError: a config that does not parse, or a teacher or initial model that does not fit it.
        DataError: no shards, or damaged ones.
    """
    config = load_toml(ConsensusTrainConfig, options.config, options.sets)
    shards = find_training_shards(options.data, _COMMAND)
    assessed = find_shards(options.data, "eval", _COMMAND)
    with start_process(options.device) as process:
        seed_process(config.seed, 0)  # the same initial weights in every process
        task = _task(config, options)
        source = ConsensusDataset(shards, config.model, shuffle_passes=config.shuffle_passes)
        return train(
            task,
            training_batches(source, config, process),
            config,
            options.out_dir,
            evaluation=_evaluation(assessed, config, process),
            process=process,
            resume=options.resume,
            stop=stop,
        )


def _evaluation(shards: list[Path], config: ConsensusTrainConfig, process: Process) -> SinglePass | None:
    source = ConsensusDataset(shards, config.model) if shards else None
    if source is None or not len(source):
        warn_of_no_evaluation("eval")
        return None
    return evaluation_batches(source, config, process)


def _task(config: ConsensusTrainConfig, options: TrainConsensusOptions) -> ConsensusTask:
    model = ConsensusTransformer(config.model)
    teacher = None if options.teacher is None else load_consensus_model(options.teacher)
    if teacher is not None:
        _check_same_rows(options.teacher, teacher.config, config.model)
    if options.init is not None:
        load_weights_(model, load_consensus_model(options.init).state_dict(), options.init)
    elif teacher is not None and options.teacher is not None and config.distillation.layers:
        _check_layers(config)
        load_weights_(model, student_from_teacher(teacher.state_dict(), config.distillation.layers), options.teacher)
    return ConsensusTask(model, config, teacher)


def _check_same_rows(path: Path | None, found: ConsensusConfig, expected: ConsensusConfig) -> None:
    """Raises unless a teacher reads the pileup rows that the student reads."""
    for name in ("max_passes", "window_length", "use_ccs_quality"):
        if getattr(found, name) != getattr(expected, name):
            raise UsageError(
                f"{path}: the teacher has {name}={getattr(found, name)}; the config's model has "
                f"{getattr(expected, name)}, and both must read the same windows"
            )


def _check_layers(config: ConsensusTrainConfig) -> None:
    found, expected = len(config.distillation.layers), config.model.num_layers
    if found != expected:
        raise UsageError(
            f"distillation.layers names {found} of the teacher's layers and model.num_layers is {expected}; name one "
            "for each layer of the student, or none"
        )
