"""What a user can ask of every command that runs an expression model along regions of a genome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genoformer.io.regions import Region
from genoformer.workflows.output import file_identity
from genoformer.workflows.prediction_plan import regions_digest
from genoformer.workflows.prediction_store import check_output
from genoformer.workflows.shard_files import shard_suffix
from genoformer.workflows.track_model import TrackModel, open_track_model


@dataclass(frozen=True)
class RegionOptions:
    """Which tracks of which regions, by which model, where.

    Attributes:
        regions: a BED file, or a region as genome browsers write it.
        output: an HDF5 file, or a folder for bigWigs.
        species: a head of the model; None: its only one.
        tracks: see `genoformer.genome.track_choice.choose_tracks`.
        shard: (i, n) with 1 <= i <= n: the i-th of n parts of the regions.
    """

    genome: Path
    regions: str
    output: Path
    model: str
    species: str | None = None
    tracks: tuple[str, ...] = ()
    device: str | None = None
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever the model."""
        check_output(self.output, self.shard)
        shard_suffix(self.shard)

    def open_model(self, *devices: str) -> TrackModel:
        """The model and what of it is asked for; raises what `open_track_model` does."""
        return open_track_model(self.model, self.species, self.tracks, devices, self.threads)

    def identity(self, model: TrackModel, regions: Sequence[Region]) -> dict[str, Any]:
        """What determines the numbers of a run, whatever the command; JSON values."""
        return model.identity | {
            "genome": file_identity(self.genome),
            "regions": f"sha256:{regions_digest(regions)}",
            "shard": list(self.shard),
        }

    def command(self, name: str, model: TrackModel, flags: Sequence[str]) -> str:
        """The command line, without folders and without flags that cannot change a number."""
        regions = Path(self.regions).name if Path(self.regions).exists() else self.regions
        words = [f"genoformer expression {name}", self.genome.name, regions, "-m", model.path.name]
        words += ["--species", model.outputs.species, *(f"--tracks '{pattern}'" for pattern in self.tracks)]
        return " ".join([*words, *flags])
