"""What the train commands of both tasks share: options, and how a run is started and ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genoformer.cli.terminal import set_up_log

if TYPE_CHECKING:
    from genoformer.training.loop import Outcome
    from genoformer.training.signals import StopRequest

RUN_HELP = (
    "The run's folder gets best.safetensors and final.safetensors, train.csv, eval.csv, TensorBoard events where that "
    "is installed, and checkpoints.\n\n"
    "SIGUSR1 or SIGTERM: the run saves after its step and exits with 75, 'try again'; --resume goes on and ends with "
    "the weights of a run that was not interrupted, to the bit. Several processes: 'torchrun --nproc-per-node 4 "
    "--no-python genoformer ... train ...'; torchrun itself then exits with 1, and status.json in the run's folder "
    "says 'interrupted'. Slurm jobs: genoformer/workflows/cluster/train.sbatch."
)

ConfigFile = Annotated[str, typer.Argument(help="TOML file of the model and of its training.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE over the file, for instance optimizer.lr=2e-4.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")]
Init = Annotated[Path | None, typer.Option(help="Model file to start from.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")]
Threads = Annotated[
    int | None, typer.Option("-t", "--threads", help="CPU cores of a process.", min=1, show_default="all")
]


def config_path(name: str) -> Path:
    """A TOML file, or the one of that name that ships."""
    from genoformer import assets

    return Path(name) if Path(name).exists() or "/" in name else assets.path("configs", name)


def run_training(start: Callable[[StopRequest], Outcome], *, threads: int | None, quiet: bool) -> None:
    """Runs `start`, which imports what it needs, and exits with 75 where it was asked to stop."""
    from genoformer.training.signals import StopRequest

    with StopRequest() as stop:
        stop.listen(signal.SIGUSR1)  # before torch is imported, which takes seconds
        set_up_log(quiet)
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        outcome = start(stop)
    raise typer.Exit(outcome.exit_code)
