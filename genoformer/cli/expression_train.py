"""`genoformer expression train`: the command; `cli/expression.py` registers it."""

from __future__ import annotations

import re
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
    "Train an expression model on sequences and their tracks.\n\n"
    "CONFIG is a TOML file, or the name of one that ships: expression_tiny.toml, expression_demo.toml, "
    "expression_base.toml. DIR is what 'expression examples' wrote: shards train-* are learned, valid-* choose the "
    "best model. With data of several species, each has a head of its own, and they take turns, a batch each. Heads "
    "that the config does not name have the tracks of the data.\n\n"
    "--init goes on from a model file: trunk and heads with the same tracks are its own, other heads are new. --set "
    "finetune.trunk=frozen trains the heads alone, lora also differences of low rank in the transformer layers, which "
    f"model files hold as plain weights.\n\n'predict' and 'assess' read the model files. {RUN_HELP}"
)

_SPECIES = re.compile("[A-Za-z][A-Za-z0-9_]*")
_DEFAULT_SPECIES = "human"


def train(
    config: ConfigFile,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="[SPECIES=]DIR",
            help=f"Folder of example shards, {_DEFAULT_SPECIES} unless named; may be given several times.",
        ),
    ],
    output: Output,
    sets: Sets = None,
    resume: Resume = False,
    init: Init = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Trains a model and exits with 75 where it was asked to stop."""

    def start(stop: StopRequest) -> Outcome:
        from genoformer.training.expression_run import TrainExpressionOptions, train_expression

        options = TrainExpressionOptions(
            config=config_path(config), data=_by_species(data), out_dir=output, sets=sets or (), resume=resume,
            init=init, device=device,
        )  # fmt: skip
        return train_expression(options, stop)

    run_training(start, threads=threads, quiet=quiet)


def _by_species(texts: list[str]) -> dict[str, list[Path]]:
    """Folders by species, of `SPECIES=DIR` or `DIR`."""
    folders: dict[str, list[Path]] = {}
    for text in texts:
        species, equals, folder = text.partition("=")
        if not equals or not _SPECIES.fullmatch(species):
            species, folder = _DEFAULT_SPECIES, text
        folders.setdefault(species, []).append(Path(folder))
    return folders
