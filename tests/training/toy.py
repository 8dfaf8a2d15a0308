"""Toy tasks of both shapes, small enough to train in a test, and a source of numbered examples."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from genoformer.config import ConsensusConfig
from genoformer.datasets.loader import Loader, SinglePass
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer, base_probs
from genoformer.nn.losses import alignment_loss
from genoformer.training.config import TrainConfig
from genoformer.training.distributed import Process, sum_over_processes
from genoformer.training.loop import train

CONSENSUS = ConsensusConfig(
    max_passes=3, window_length=8, pw_max=9, ip_max=9, sn_max=9, base_width=4, pw_width=2, ip_width=2,
    sn_width=2, condenser_width=16, num_layers=1, num_heads=2, filter_width=16, attention_window=3, rezero=False,
)  # fmt: skip


@dataclass
class Pileups:
    """Windows whose passes all show the label; the label is what the model has to find."""

    num_examples: int = 60

    def __len__(self):
        return self.num_examples

    def read_batch(self, indices, draws):
        config = CONSENSUS
        rows = np.zeros((len(indices), config.num_rows, config.window_length), np.float32)
        labels = np.stack([np.random.default_rng(index).integers(0, 5, config.window_length) for index in indices])
        rows[:, : config.max_passes] = labels[:, None]
        rows[:, 3 * config.max_passes : 4 * config.max_passes] = 1
        rows[:, 4 * config.max_passes] = labels
        return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(labels)}


@dataclass
class ConsensusTask:
    """Finds the label of a window; `stop_at` sends this process a signal in its n-th batch."""

    stop_at: int = 0
    number: int = signal.SIGTERM
    nan_at: int = 0
    calls: int = 0
    model: nn.Module = field(default_factory=lambda: ConsensusTransformer(CONSENSUS))

    def loss(self, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            os.kill(os.getpid(), self.number)
        logits = self.model(batch["rows"])
        loss = alignment_loss(probs=base_probs(logits), labels=batch["labels"], reduction="mean", backend="wavefront")
        if self.calls == self.nan_at:
            loss = loss * float("nan")
        return {"loss": loss, "accuracy": (logits.argmax(-1) == batch["labels"]).double().mean()}

    def evaluate(self, batches):
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in batches:
            logits = self.model(batch["rows"])
            right = (logits.argmax(-1) == batch["labels"]).sum()
            loss = F.cross_entropy(logits.float().flatten(0, 1), batch["labels"].flatten(), reduction="sum")
            sums += torch.stack([loss.double(), right.double(), torch.tensor(batch["labels"].numel()).double()])
        torch.rand(3)  # must not change what training draws
        loss, right, total = sum_over_processes(sums).tolist()
        return {"loss": loss / total, "accuracy": right / total, "num_columns": total}

    def export(self, path, weights, metadata):
        save_checkpoint(path, weights, CONSENSUS, metadata=metadata)


@dataclass
class Sequences:
    """One-hot sequences [L, 4], half of them reverse complemented, and the G+C of each bin as its track."""

    num_examples: int = 48

    def __len__(self):
        return self.num_examples

    def read_batch(self, indices, draws):
        examples = []
        for index in indices.tolist():
            codes = np.random.default_rng(index).integers(0, 4, 32)  # A C G T
            if draws is not None and draws.of(index).random() < 0.5:
                codes = 3 - codes[::-1]
            examples.append(codes)
        codes = np.stack(examples)
        tracks = ((codes == 1) | (codes == 2)).reshape(len(codes), 4, 8).sum(-1)
        one_hot = F.one_hot(torch.from_numpy(codes.copy()), 4).float()
        return {"sequence": one_hot, "tracks": torch.from_numpy(tracks).float()[..., None]}


class ExpressionModel(nn.Module):
    """A convolution with BatchNorm, pooled to bins, and a head: the parts of Enformer that make trouble."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(4, 8, 5, padding=2)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 1)

    def forward(self, sequence):
        x = self.norm(self.convolution(sequence.transpose(1, 2)))  # [B, D, L]
        x = F.dropout(F.gelu(x), 0.1, self.training)
        return F.softplus(self.head(F.avg_pool1d(x, 8).transpose(1, 2)))  # [B, N, T]


@dataclass
class ExpressionTask:
    """Predicts a track from sequence."""

    model: nn.Module = field(default_factory=ExpressionModel)

    def loss(self, batch):
        predicted = self.model(batch["sequence"])
        return {"loss": F.poisson_nll_loss(predicted.float(), batch["tracks"], log_input=False)}

    def evaluate(self, batches):
        sums = torch.zeros(2, dtype=torch.float64)
        for batch in batches:
            error = (self.model(batch["sequence"]).float() - batch["tracks"]).square()
            sums += torch.tensor([error.sum().item(), error.numel()], dtype=torch.float64)
        total, count = sum_over_processes(sums).tolist()
        return {"squared_error": total / count}

    def export(self, path, weights, metadata):
        torch.save({"weights": weights, "metadata": metadata}, path)


def config_of(**changes) -> TrainConfig:
    """A short run with everything on: dropout, accumulation, clipping, average, evaluation."""
    values: dict[str, Any] = {
        "steps": 6, "batch_size": 4, "accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9, "eval_every": 4,
        "log_every": 3, "optimizer": {"kind": "lamb", "lr": 0.02, "eps": 1e-6},
        "schedule": {"kind": "linear", "warmup_steps": 2},
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


def run_toy(folder: Path, *, config=None, task=None, source=None, process=None, num_workers=0, resume=False):
    """Trains a toy task; its outcome, the task and the loader. Initial weights are the same in every call."""
    config, process, source = config or config_of(), process or Process(), source or Pileups()
    torch.manual_seed(config.seed)
    task = task() if task else ConsensusTask()
    place = {"rank": process.rank, "world_size": process.world_size, "batch_size": config.batch_size}
    loader = Loader(source, seed=config.seed, num_workers=num_workers, **place)
    evaluation = SinglePass(source, num_workers=num_workers, **place)
    outcome = train(task, loader, config, folder, evaluation=evaluation, process=process, resume=resume)
    return outcome, task, loader
