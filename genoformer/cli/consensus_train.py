"""`genoformer consensus train`: the command; `cli/consensus.py` registers it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from genoformer.cli.terminal import set_up_log

TRAIN_HELP = (
    "Train a consensus model on labelled windows.\n\n"
    "CONFIG is a TOML file, or the name of one that ships: consensus_tiny.toml, consensus_base.toml. DIR is what "
    "'consensus examples' wrote. The run's folder gets best.safetensors and final.safetensors for 'correct -m', "
    "train.csv, eval.csv, TensorBoard events where that is installed, and checkpoints.\n\n"
    "SIGUSR1 or SIGTERM: the run saves after its step and exits with 75, 'try again'; --resume goes on and ends with "
    "the weights of a run that was not interrupted, to the bit. Several processes: 'torchrun --nproc-per-node 4 "
    "--no-python genoformer consensus train ...'. Slurm jobs: genoformer/workflows/cluster/train.sbatch."
)


def train(
    config: Annotated[str, typer.Argument(help="TOML file of the model and of its training.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of example shards; may be given several times.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the file, for instance optimizer.lr=2e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")] = False,
    teacher: Annotated[Path | None, typer.Option(help="Model file to distil from.")] = None,
    init: Annotated[Path | None, typer.Option(help="Model file to start from.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", help="CPU cores of a process.", min=1, show_default="all")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors on stderr.")] = False,
) -> None:
    """Trains a model and exits with 75 where it was asked to stop."""
    from genoformer.training.signals import StopRequest

    with StopRequest() as stop:
        stop.listen(signal.SIGUSR1)  # before torch is imported, which takes seconds
        set_up_log(quiet)
        import torch

        from genoformer import assets
        from genoformer.training.consensus_run import TrainConsensusOptions, train_consensus

        if threads is not None:
            torch.set_num_threads(threads)
        path = Path(config) if Path(config).exists() or "/" in config else assets.path("configs", config)
        outcome = train_consensus(
            TrainConsensusOptions(path, data, output, sets or (), resume, teacher, init, device), stop
        )
    raise typer.Exit(outcome.exit_code)
