"""The model of a run, ready to call windows. torch is imported only where a trained model is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genoformer import __version__
from genoformer.config import ConsensusConfig
from genoformer.errors import UsageError
from genoformer.workflows.correct_options import DEFAULT_MODEL, VOTE, CorrectOptions
from genoformer.workflows.model_choice import find_model
from genoformer.workflows.prepare import Calls

CPU_BATCH, GPU_BATCH = 64, 1024
_SPARE_CORES = 2  # on a GPU machine: one feeds the device, one writes


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to run: what it reads, how it calls windows, and what identifies it."""

    config: ConsensusConfig
    predict: Callable[[np.ndarray], Calls] | None  # None: a vote, done with the pileup
    name: str
    digest: str
    device: str
    batch_size: int
    num_workers: int  # pileup processes; 0: pileups in the reading thread
    calibration_tables: Any = None  # what the model file holds of a calibration file, not yet looked into

    @property
    def on_cpu(self) -> bool:
        """Whether windows are called on a CPU: in tiles of a fixed size, whatever the batch."""
        return self.device.startswith("cpu")


def load_predictor(options: CorrectOptions) -> Predictor:
    """The model that the options name, ready to run.

    Sets torch's number of threads for this process.

    Raises:
        UsageError: a device that is not there, or flags of a model for a vote.
        CheckpointError: a file that is not one of our consensus models.
    """
    threads = options.threads or len(os.sched_getaffinity(0))
    if options.model == VOTE:
        for flag, value, unset in (
            ("--device", options.device, None), ("--batch-size", options.batch_size, None),
            ("--precision", options.precision, "fp32"),
        ):  # fmt: skip
            if value != unset:
                raise UsageError(f"{flag} is {value}, but '--model {VOTE}' runs no model; leave it out")
        config = ConsensusConfig(max_passes=255)
        return Predictor(config, None, VOTE, f"vote-{__version__}", "cpu", 1, max(0, threads - 1))
    return _load_trained(options, threads)


def _load_trained(options: CorrectOptions, threads: int) -> Predictor:
    import torch

    from genoformer.models.checkpoint import load_checkpoint, load_consensus_model, model_hash
    from genoformer.models.consensus import call_bases, prepare_for_inference
    from genoformer.workflows.device import find_device

    device = find_device(options.device)
    path = find_model(options.model, f"'{VOTE}', or a model that ships: {DEFAULT_MODEL}")
    torch.set_num_threads(threads if device.type == "cpu" else 1)
    model = load_consensus_model(path, device)
    callable_model = prepare_for_inference(model, options.precision)

    def predict(rows: np.ndarray) -> Calls:
        with torch.inference_mode():
            codes, error_prob = call_bases(callable_model(torch.from_numpy(rows)))
        return Calls(codes.cpu().numpy(), error_prob.cpu().numpy())

    on_cpu = device.type == "cpu"
    return Predictor(
        model.config,
        predict,
        name=path.name,
        digest=f"sha256:{model_hash(path)}",
        device=str(device),
        batch_size=options.batch_size or (CPU_BATCH if on_cpu else GPU_BATCH),
        num_workers=_num_workers(threads, on_cpu, drafts=options.ccs is None),
        calibration_tables=load_checkpoint(path).metadata.get("calibration"),
    )


def _num_workers(threads: int, on_cpu: bool, drafts: bool) -> int:
    """Pileups of a CPU's model take one process at most; drafts of molecules about as long as the model."""
    if not on_cpu:
        return max(1, threads - _SPARE_CORES)
    return threads // 2 if drafts else min(1, threads - 1)
