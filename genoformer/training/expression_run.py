"""Trains an expression model on shards of examples of one or several species: the files around the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genoformer.config import ExpressionConfig
from genoformer.datasets.alternate import AlternatingLoader, OneAfterTheOther
from genoformer.datasets.expression import ExpressionDataset
from genoformer.datasets.loader import Batch
from genoformer.errors import UsageError
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionShard, WindowShape
from genoformer.models.checkpoint import load_expression_model
from genoformer.training.config import load_toml
from genoformer.training.distributed import Process, start_process
from genoformer.training.expression import ExpressionTask, ExpressionTrainConfig, targets_name
from genoformer.training.expression_start import FormerModel, resolve_model, starting_model
from genoformer.training.loop import Outcome, train
from genoformer.training.random_state import seed_process
from genoformer.training.run import (
    RunOptions,
    evaluation_batches,
    find_shards,
    find_training_shards,
    training_batches,
    warn_of_no_evaluation,
)
from genoformer.training.signals import StopRequest

_COMMAND = "expression examples"


@dataclass(frozen=True, kw_only=True)
class TrainExpressionOptions(RunOptions):
    """Files of a training run; the config is an `ExpressionTrainConfig`.

    With `init`, the model is that file's where the config does not say otherwise, and the heads whose tracks are those
    of the data go on learning; other heads are new.

    Attributes:
        data: by species, folders that `expression examples` wrote into; shards called train-* are learned, valid-*
            assessed. The species take turns, a batch each.
    """

    data: Mapping[str, Sequence[Path]]


def train_expression(options: TrainExpressionOptions, stop: StopRequest | None = None) -> Outcome:
    """Trains a model, or goes on with a run that was interrupted; see `genoformer.training.loop`.

    Raises:
        UsageError: a config that does not parse, or does not fit the data; a trunk to keep, and no initial model.
        CheckpointError: an initial model that does not fit the config.
        DataError: no shards, or damaged ones.
    """
    config = load_toml(ExpressionTrainConfig, options.config, options.sets)
    if config.finetune.trunk != "learned" and options.init is None:
        raise UsageError(f"finetune.trunk is {config.finetune.trunk}, which needs a trained model: name it with --init")
    shards = {species: find_training_shards(folders, _COMMAND) for species, folders in options.data.items()}
    assessed = {species: find_shards(folders, "valid", _COMMAND) for species, folders in options.data.items()}
    with start_process(options.device) as process:
        seed_process(config.seed, 0)  # the same initial weights in every process
        former = None if options.init is None else FormerModel(options.init, load_expression_model(options.init))
        tracks = {species: _tracks(found[0]) for species, found in shards.items()}
        config = config.model_copy(update={"model": resolve_model(config, former, tracks)})
        sources = {species: _training_source(found, config, species) for species, found in shards.items()}
        means = {species: source.track_means for species, source in sources.items()}
        task = ExpressionTask(starting_model(config, tracks, means, former), config, means)
        loader = AlternatingLoader(
            {species: training_batches(source, config, process) for species, source in sources.items()}
        )
        return train(
            task,
            loader,
            config,
            options.out_dir,
            evaluation=_evaluation(assessed, config, process),
            process=process,
            resume=options.resume,
            stop=stop,
        )


def _tracks(path: Path) -> tuple[Track, ...]:
    with ExpressionShard(path) as shard:
        return tuple(shard.tracks)


def _shape(model: ExpressionConfig, num_bins: int) -> WindowShape:
    """What is read for so many bins, with what a whole window has beside its own."""
    flanks = model.window_bp - model.target_bins * model.bin_bp
    return WindowShape(num_bins * model.bin_bp + flanks, model.bin_bp, num_bins)


def _training_source(shards: Sequence[Path], config: ExpressionTrainConfig, species: str) -> ExpressionDataset:
    augmentation = config.augmentation
    return ExpressionDataset(
        shards,
        _shape(config.model, augmentation.crop_bins or config.model.target_bins),
        max_shift_bp=augmentation.max_shift_bp,
        reverse_complement=augmentation.reverse_complement,
        targets_name=targets_name(species),
    )


def _evaluation(
    shards: Mapping[str, Sequence[Path]], config: ExpressionTrainConfig, process: Process
) -> Iterable[Batch] | None:
    """The whole windows of every species that has any to assess."""
    shape = _shape(config.model, config.model.target_bins)
    sources = (
        ExpressionDataset(found, shape, targets_name=targets_name(species))
        for species, found in shards.items()
        if found
    )
    filled = [source for source in sources if len(source)]
    if not filled:
        warn_of_no_evaluation("valid")
        return None
    return OneAfterTheOther(evaluation_batches(source, config, process) for source in filled)
