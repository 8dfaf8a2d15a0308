"""What calls the windows of a run, and on which devices. torch is imported only where a trained model is asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genoformer import __version__
from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, UsageError
from genoformer.workflows.correct_options import DEFAULT_MODEL, VOTE, CorrectOptions
from genoformer.workflows.device_pool import ArrayForm, Arrays, DevicePool, Forms
from genoformer.workflows.model_choice import find_model

CPU = "cpu"
CPU_BATCH, GPU_BATCH = 64, 1024


@dataclass(frozen=True)
class TrainedModel:
    """A model file and how it computes; picklable, for processes that load it themselves."""

    path: Path
    digest: str
    precision: Literal["fp32", "bf16"]
    threads: int  # of torch, on a CPU

    def load(self, device: str) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Windows [B, R, L] -> codes uint8 [B, L] and error probabilities float32 [B, L], on a device.

        Sets torch's number of threads for this process. The function raises GenoformerError where memory is too small.

        Raises:
            CheckpointError: a file that is not whole, or is another one by now.
        """
        import torch

        from genoformer.models.checkpoint import load_consensus_model, model_hash
        from genoformer.models.consensus import call_bases, prepare_for_inference
        from genoformer.workflows.device import enough_memory

        if (found := f"sha256:{model_hash(self.path)}") != self.digest:
            raise CheckpointError(f"{self.path}: was {self.digest[:19]} when the run began and is {found[:19]} now")
        torch.set_num_threads(self.threads if device == CPU else 1)
        model = prepare_for_inference(load_consensus_model(self.path, device), self.precision)

        def predict(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with enough_memory(device, f"{len(rows)} windows"), torch.inference_mode():
                codes, error_prob = call_bases(model(torch.from_numpy(rows)))
                return codes.cpu().numpy(), error_prob.cpu().numpy()

        return predict

    @contextlib.contextmanager
    def opened(self, device: str) -> Iterator[Callable[[np.ndarray], Arrays]]:
        """What `load` gives, for a pool of devices."""
        yield self.load(device)


@dataclass(frozen=True)
class Predictor:
    """What calls the windows of a run: what it reads, what identifies it, and where it works."""

    config: ConsensusConfig
    model: TrainedModel | None  # None: a vote, done with the pileup
    name: str
    digest: str
    devices: tuple[str, ...]  # a process each where there are several
    batch_size: int
    num_workers: int  # pileup processes; 0: pileups in the reading thread
    calibration_tables: Any = None  # what the model file holds of a calibration file, not yet looked into

    @property
    def device_kind(self) -> str:
        """Either cpu or cuda; which of them, and how many, changes no record."""
        return self.devices[0].split(":")[0]

    @property
    def on_cpu(self) -> bool:
        """Whether windows are called on a CPU: in tiles of a fixed size, whatever the batch."""
        return self.devices[0] == CPU

    def open_devices(self) -> DevicePool[np.ndarray, Arrays] | None:
        """The model on its devices, ready to call batches; None for a vote.

        Raises:
            GenoformerError: it cannot be loaded there.
        """
        if self.model is None:
            return None
        windows, length = self.batch_size, self.config.window_length
        batch = ArrayForm((windows, self.config.num_rows, length), np.int16)
        calls = ArrayForm((windows, length), np.uint8), ArrayForm((windows, length), np.float32)
        return DevicePool(self.model.opened, self.devices, Forms(batch, calls))


def load_predictor(options: CorrectOptions) -> Predictor:
    """What the options name to call windows with.

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
        return Predictor(config, None, VOTE, f"vote-{__version__}", (CPU,), 1, max(0, threads - 1))
    return _trained_predictor(options, threads)


def _trained_predictor(options: CorrectOptions, threads: int) -> Predictor:
    from genoformer.models.checkpoint import load_checkpoint, model_hash
    from genoformer.workflows.device import find_devices

    devices = find_devices(options.device)
    path = find_model(options.model, f"'{VOTE}', or a model that ships: {DEFAULT_MODEL}")
    digest, checkpoint = f"sha256:{model_hash(path)}", load_checkpoint(path)
    if not isinstance(checkpoint.config, ConsensusConfig):
        raise CheckpointError(f"{path}: holds an expression model; expected a consensus model")
    on_cpu = devices[0] == CPU
    return Predictor(
        checkpoint.config,
        TrainedModel(path, digest, options.precision, max(1, threads // len(devices))),
        name=path.name,
        digest=digest,
        devices=devices,
        batch_size=options.batch_size or (CPU_BATCH if on_cpu else GPU_BATCH),
        num_workers=_num_workers(threads, len(devices), on_cpu, drafts=options.ccs is None),
        calibration_tables=checkpoint.metadata.get("calibration"),
    )


def _num_workers(threads: int, num_devices: int, on_cpu: bool, drafts: bool) -> int:
    """Pileups of a CPU's model take one process at most; drafts of molecules about as long as the model."""
    if not on_cpu:
        return max(1, threads - num_devices - 1)  # the others feed the devices, and write
    return threads // 2 if drafts else min(1, threads - 1)
