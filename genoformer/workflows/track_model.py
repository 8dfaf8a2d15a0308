"""The expression model that a run names, and the outputs of it that the run is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from genoformer import __version__
from genoformer.config import ExpressionConfig
from genoformer.errors import CheckpointError
from genoformer.genome.track import Track, Tracks
from genoformer.genome.track_choice import choose_tracks
from genoformer.models.checkpoint import model_hash, read_expression_header
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.device import num_threads
from genoformer.workflows.model_choice import choose_species, find_model
from genoformer.workflows.track_predictor import load_track_model


class Outputs(NamedTuple):
    """Outputs of an expression model that are asked for.

    Attributes:
        species: the head.
        tracks: all that the head predicts, in order.
        chosen: those that are wanted, by their places among these.
    """

    species: str
    tracks: tuple[Track, ...]
    chosen: Mapping[int, Track]


def choose_outputs(tracks: Tracks, species: str | None, patterns: Sequence[str]) -> Outputs:
    """Some outputs of a model that predicts `tracks`.

    Args:
        species: a head; None: the only one.
        patterns: see `genome.track_choice.choose_tracks`.
    Raises:
        UsageError: what the model does not have.
    """
    found = choose_species(species, list(tracks))
    own = tracks[found]
    return Outputs(found, own, {index: own[index] for index in choose_tracks(own, patterns)})


@dataclass(frozen=True)
class TrackModel:
    """A model file and what of it a run is about; picklable, for processes that load the model themselves.

    Attributes:
        digest: SHA-256 of the file.
        devices: of one kind.
        threads: of torch, for each device on a CPU.
    """

    path: Path
    digest: str
    config: ExpressionConfig
    outputs: Outputs
    devices: tuple[str, ...]
    threads: int

    @property
    def device_kind(self) -> str:
        """Either cpu or cuda; which of them, and how many, changes no number."""
        return self.devices[0].split(":")[0]

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are CPUs."""
        return self.device_kind == "cpu"

    @property
    def identity(self) -> dict[str, Any]:
        """What a run's identity says of the model."""
        return {
            "version": __version__,
            "model": f"sha256:{self.digest}",
            "species": self.outputs.species,
            "tracks": list(self.outputs.chosen),
            "device": self.device_kind,
        }

    @property
    def notes(self) -> dict[str, Any]:
        """What a file says of the model that made it."""
        return {
            "version": __version__,
            "model": self.path.name,
            "model_sha256": self.digest,
            "species": self.outputs.species,
        }

    def load(self, device: str | None = None) -> ExpressionTransformer:
        """The model on a device, None: the first of them; sets torch's number of threads for this process.

        Raises:
            CheckpointError: a file that is not whole, or is another one by now.
        """
        if (found := model_hash(self.path)) != self.digest:
            raise CheckpointError(f"{self.path}: was {self.digest[:12]} when the run began and is {found[:12]} now")
        return load_track_model(self.path, device or self.devices[0], self.threads)


def open_track_model(
    name: str, species: str | None, tracks: Sequence[str], devices: tuple[str, ...], threads: int | None
) -> TrackModel:
    """The model and outputs that a command line names; weights are left in the file.

    Args:
        name: a file, or a model that ships.
        species, tracks: as `choose_outputs` takes them.
        threads: for all devices on a CPU together; None: as many as there are cores for this process.
    Raises:
        UsageError: what is not there, or fewer than one thread.
        CheckpointError: a file that is not one of our expression models.
    """
    path = find_model(name, "or the name of a model that ships")
    config, all_tracks = read_expression_header(path)
    outputs = choose_outputs(all_tracks, species, tracks)
    return TrackModel(path, model_hash(path), config, outputs, devices, max(1, num_threads(threads) // len(devices)))
