"""The expression model that a run starts with: new, or one that is trained further, as a whole or in parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from genoformer.config import ExpressionConfig, parse_config
from genoformer.errors import ConfigError
from genoformer.genome.track import Track, Tracks, are_numbered, numbered_tracks
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.low_rank import adapt_linear_maps_
from genoformer.training.expression import SMALLEST_MEAN, ExpressionTrainConfig, FineTuneConfig
from genoformer.training.run import load_weights_

logger = logging.getLogger(__name__)

_HEAD_SCALE = 0.1  # of the random weights of a head that starts at its tracks' means


class FormerModel(NamedTuple):
    """A model to start from, and its file."""

    path: Path
    model: ExpressionTransformer


def resolve_model(config: ExpressionTrainConfig, former: FormerModel | None, tracks: Tracks) -> ExpressionConfig:
    """The shape of the model: of the former one, with what the config says, and the heads that the data ask for.

    Args:
        tracks: of the data.
    Raises:
        ConfigError: values that do not fit each other or the data.
    """
    given = config.model.model_fields_set
    defaults = former.model.config if former else ExpressionConfig()
    values = defaults.model_dump() | config.model.model_dump(include=given)
    if "heads" not in given:
        values["heads"] = {species: len(found) for species, found in tracks.items()}
    for species, found in tracks.items():
        if values["heads"].get(species) != len(found):
            raise ConfigError(
                f"the data of {species} have {len(found)} tracks; the config's model.heads are {values['heads']}: "
                "leave them out, or name every species of the data with its number of tracks"
            )
    model = parse_config(ExpressionConfig, values, "model")
    _check_crop(config.augmentation.crop_bins, model)
    return model


def _check_crop(crop_bins: int | None, model: ExpressionConfig) -> None:
    if crop_bins is not None and crop_bins > model.target_bins:
        raise ConfigError(
            f"augmentation.crop_bins is {crop_bins}; expected at most model.target_bins, the number of "
            f"bins that are predicted, {model.target_bins}"
        )
    if crop_bins not in (None, model.target_bins) and model.position_bins is None:
        raise ConfigError(
            f"augmentation.crop_bins is {crop_bins} and model.position_bins is not set; set it, so that a distance has "
            "the same features in a crop as in a whole window"
        )


def starting_model(
    config: ExpressionTrainConfig, tracks: Tracks, means: Mapping[str, np.ndarray], former: FormerModel | None
) -> ExpressionTransformer:
    """The model with its first weights; what is not to learn is frozen.

    Args:
        config: its model resolved.
        tracks: of the data.
        means: of these tracks per bin of the model, float64 [T].
        former: whose weights it takes, but for heads with other tracks than the data.
    Raises:
        CheckpointError: a former model that does not fit the config.
    """
    known = {**numbered_tracks(config.model.heads), **(former.model.tracks if former else {}), **tracks}
    model = ExpressionTransformer(config.model, {species: known[species] for species in config.model.heads})
    if config.start_at_means:
        for species, mean in means.items():
            start_at_means_(model, species, mean)
    if former is not None:
        _start_from_(model, former)
    prepare_trunk_(model, config.finetune)
    model.checkpoint_tower = config.checkpoint_tower
    return model


def _start_from_(model: ExpressionTransformer, former: FormerModel) -> None:
    """Takes over the weights of a model but for those of heads with other tracks."""
    new = [species for species in model.heads if not _has_tracks(former.model, species, model.tracks[species])]
    logger.info("%s: goes on from its weights; new heads: %s", former.path, ", ".join(new) or "none")
    own = {f"heads.{species}" for species in new}
    left = own | {f"heads.{species}" for species in former.model.heads if species not in model.heads}
    state, former_state = model.state_dict(), former.model.state_dict()
    weights = {name: tensor for name, tensor in former_state.items() if name.rpartition(".")[0] not in left}
    weights |= {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] in own}
    load_weights_(model, weights, former.path)


def _has_tracks(former: ExpressionTransformer, species: str, tracks: Sequence[Track]) -> bool:
    """Whether a head of a model predicts these tracks; one whose tracks have no names does if it has as many."""
    known = former.tracks.get(species, ())
    if are_numbered(known):
        return len(known) == len(tracks)
    return [track.identifier for track in known] == [track.identifier for track in tracks]


def start_at_means_(model: ExpressionTransformer, species: str, means: np.ndarray) -> None:
    """Makes a head with random weights predict about the mean of each track, float64 [T]."""
    head = model.heads[species]
    assert isinstance(head, nn.Linear)
    means = np.maximum(means, SMALLEST_MEAN)
    with torch.no_grad():
        head.weight.mul_(_HEAD_SCALE)
        head.bias.copy_(torch.from_numpy(means + np.log(-np.expm1(-means))))  # inverse of softplus


def prepare_trunk_(model: ExpressionTransformer, config: FineTuneConfig) -> None:
    """Freezes all but the heads, or all but these and differences of low rank in the layers, as the config says."""
    if config.trunk == "learned":
        return
    model.requires_grad_(False)
    model.heads.requires_grad_(True)
    if config.trunk == "lora":
        adapt_linear_maps_(model.layers, rank=config.lora_rank, alpha=config.lora_alpha)
