"""Models of other programs as ours: which converter reads a file, and the names of the tracks that it predicts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genoformer.config import ExpressionConfig
from genoformer.errors import CheckpointError, UsageError
from genoformer.genome.track import Tracks, numbered_tracks
from genoformer.io.targets import read_targets
from genoformer.io.tf_checkpoint import TensorBundle
from genoformer.models.checkpoint import Checkpoint
from genoformer.models.convert_deepconsensus import convert_deepconsensus
from genoformer.models.convert_enformer import convert_pytorch, convert_sonnet, is_sonnet

_PYTORCH_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class ConvertOptions:
    """What a user tells about a model that its files do not.

    Attributes:
        params: of DeepConsensus, the model's params.json; None: the one beside the checkpoint.
        targets: of Enformer, the targets table of each species.
        settings: of Enformer, keys and values of `ExpressionConfig`.
    """

    params: Path | None = None
    targets: Mapping[str, Path] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def convert(path: str | os.PathLike[str], options: ConvertOptions | None = None) -> Checkpoint:
    """A model of another program as ours: DeepConsensus (TensorFlow), Enformer (TensorFlow or enformer-pytorch).

    Args:
        path: a TensorFlow checkpoint's prefix or folder, a PyTorch state dict, or a Hugging Face folder.
    Raises:
        CheckpointError: files that are missing, damaged or of another model.
        UsageError: options that do not fit the model.
        DataError: a targets table that cannot be read.
    """
    path, options = Path(path), options or ConvertOptions()
    if path.suffix in _PYTORCH_SUFFIXES or (path / "config.json").is_file():
        return _convert_enformer(path, None, options)
    with TensorBundle(path) as bundle:
        if is_sonnet(bundle):
            return _convert_enformer(path, bundle, options)
    if options.targets or options.settings:
        raise UsageError(f"{path}: --targets and --set are for expression models; this is a DeepConsensus checkpoint")
    return convert_deepconsensus(path, options.params)


def _convert_enformer(path: Path, bundle: TensorBundle | None, options: ConvertOptions) -> Checkpoint:
    """An expression model with the tracks of its targets tables, numbers where there is none."""
    if options.params is not None:
        raise UsageError("--params is for DeepConsensus checkpoints; this is an Enformer: use --set")
    settings = options.settings
    checkpoint = convert_pytorch(path, settings) if bundle is None else convert_sonnet(bundle, settings)
    assert isinstance(checkpoint.config, ExpressionConfig)
    heads = checkpoint.config.heads
    tracks: Tracks = numbered_tracks(heads)
    for species, table in options.targets.items():
        if species not in heads:
            raise UsageError(f"--targets {species}={table}: the model has heads for {', '.join(heads)}")
        rows = read_targets(table)
        if len(rows) != heads[species]:
            raise CheckpointError(f"{table}: has {len(rows)} tracks; the model's head '{species}' has {heads[species]}")
        tracks = {**tracks, species: tuple(rows)}
    return checkpoint._replace(tracks=tracks)
