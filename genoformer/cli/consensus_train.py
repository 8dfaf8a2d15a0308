"""`genoformer consensus train`: the command; `cli/consensus.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoformer.cli.terminal import Quiet
from genoformer.cli.training_options import (
    RUN_HELP,
    ConfigFile,
    Device,
    Init,
    Output,
    Resume,
    Sets,
    Threads,
    config_path,
    run_training,
)

if TYPE_CHECKING:
    from genoformer.training.loop import Outcome
    from genoformer.training.signals import StopRequest

TRAIN_HELP = (
    "Train a consensus model on labelled windows.\n\n"
    "CONFIG is a TOML file, or the name of one that ships: consensus_tiny.toml, consensus_base.toml. DIR is what "
    f"'consensus examples' wrote. 'correct -m' reads the model files. {RUN_HELP}"
)


def train(
    config: ConfigFile,
    data: Annotated[list[Path], typer.Option("--data", help="Folder of example shards; may be given several times.")],
    output: Output,
    sets: Sets = None,
    resume: Resume = False,
    teacher: Annotated[Path | None, typer.Option(help="Model file to distil from.")] = None,
    init: Init = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Trains a model and exits with 75 where it was asked to stop."""

    def start(stop: StopRequest) -> Outcome:
        from genoformer.training.consensus_run import TrainConsensusOptions, train_consensus

        options = TrainConsensusOptions(
            config=config_path(config), data=data, out_dir=output, sets=sets or (), resume=resume, teacher=teacher,
            init=init, device=device,
        )  # fmt: skip
        return train_consensus(options, stop)

    run_training(start, threads=threads, quiet=quiet)
