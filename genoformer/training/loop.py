"""The training loop of every model: step, accumulate, clip, evaluate, save, resume, log.

A run's folder:

    checkpoints/step-*.pt     everything that is needed to go on, the last few
    best.safetensors          the model with the best evaluation so far, its average where there is one
    final.safetensors         the model of the last step
    train.csv  eval.csv  tensorboard/
    status.json               "running", "interrupted" (start again with resume) or "finished", and the step

A run that is interrupted after any step and resumed ends with the same bits as one that was not, on one machine type
and with the same number of processes: dropout, order and averages go on where they were. Evaluation draws nothing from
the random states of training. A step that is due for evaluation is saved first; a run that was cut off while it was
evaluated evaluates it again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from genoformer.datasets.loader import Batch, TrainingBatches
from genoformer.errors import CheckpointError, ConfigError, DataError, OutputError
from genoformer.nn.precision import float32_products
from genoformer.training.checkpoint import checkpoint_path, load_state, save_state, saved_steps
from genoformer.training.config import TrainConfig
from genoformer.training.distributed import (
    Process,
    average_gradients_of,
    gather_at_main,
    sum_over_processes,
    take_buffers_from_main_,
    wait_for_all,
)
from genoformer.training.ema import WeightAverage
from genoformer.training.host_memory import keep_freed_memory
from genoformer.training.log import RunLog, memory_gib
from genoformer.training.optimizer import build_optimizer, learning_rate, set_learning_rate_
from genoformer.training.random_state import (
    preserved_random_state,
    random_state,
    restore_random_state,
    seed_process,
)
from genoformer.training.signals import EXIT_INTERRUPTED, StopRequest
from genoformer.training.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool  # False: it was asked to stop, and can be resumed
    best: float | None  # value of the config's best_metric, if there was an evaluation

    @property
    def exit_code(self) -> int:
        """What the process should exit with: 0, or `EXIT_INTERRUPTED`."""
        return 0 if self.finished else EXIT_INTERRUPTED


@dataclass
class Window:
    """Sums over the steps since the last row of the log."""

    sums: dict[str, float] = field(default_factory=dict)
    num_steps: int = 0
    seconds: float = 0.0

    def add_(self, values: dict[str, float], seconds: float) -> None:
        """Takes in a step."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}
        self.num_steps += 1
        self.seconds += seconds


def train(
    task: Task,
    loader: TrainingBatches,
    config: TrainConfig,
    folder: Path,
    *,
    evaluation: Iterable[Batch] | None = None,
    process: Process | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> Outcome:
    """Trains a task's model in place, until its last step or until the process is asked to stop.

    Args:
        task: its model is moved to the process's device.
        loader: of `config.batch_size`, with the process's rank.
        folder: of this run alone; see the top of this module.
        evaluation: this process's share of the examples to assess the model with, iterated once per evaluation.
        process: from `start_process`; None for the only one, on the CPU.
        resume: go on from the last checkpoint, or start where there is none.
        stop: a request that listens to signals already; SIGUSR1 and SIGTERM are listened to from here on anyway.
    Raises:
        OutputError: checkpoints are there and `resume` is False, or a file cannot be written.
        CheckpointError: a checkpoint that is damaged or of another model, data or seed.
        DataError: the loss or its gradient is not finite; nothing is saved then.
        ConfigError: the evaluation does not give `config.best_metric`.
    """
    run = _Run(task, loader, config, folder, evaluation, process or Process())
    with stop or StopRequest() as request, float32_products(allow_tf32=config.precision == "tf32"):
        request.listen(signal.SIGUSR1)
        run.start(resume)
        request.listen(signal.SIGTERM)
        try:
            return run.until_done(request)
        finally:
            run.close()


class _Run:
    """The state of a run, and what happens in a step."""

    def __init__(
        self,
        task: Task,
        loader: TrainingBatches,
        config: TrainConfig,
        folder: Path,
        evaluation: Iterable[Batch] | None,
        process: Process,
    ) -> None:
        self.task, self.loader, self.config, self.folder = task, loader, config, folder
        self.evaluation, self.process = evaluation, process
        if process.device.type == "cpu":
            keep_freed_memory()
        self.model = task.model
        self.forward = average_gradients_of(_TaskLoss(task).to(process.device), process)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.params = [param for group in self.optimizer.param_groups for param in group["params"]]
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.total_steps = config.total_steps(loader.batches_per_epoch)
        self.step = 0
        self.best: dict[str, float] = {}  # value and step of the best evaluation
        self.window = Window()
        self.log: RunLog | None = None

    # ---- the loop

    def until_done(self, request: StopRequest) -> Outcome:
        """Steps until the last one or until any process is asked to stop."""
        self._evaluate_if_due()
        with contextlib.closing(iter(self.loader)) as batches:
            while self.step < self.total_steps:
                stopped = self._update(batches, request)
                self._log_if_due()
                if stopped or self._is_due(self.config.save_every) or self._is_evaluation_due():
                    self._save()
                if stopped:
                    return self._leave("interrupted")
                self._evaluate_if_due()
        self._export("final.safetensors", {"step": self.step})
        return self._leave("finished")

    def _update(self, batches: Iterator[Batch], request: StopRequest) -> bool:
        """One step of the optimizer; whether a process was asked to stop."""
        began = time.perf_counter()
        rate = learning_rate(self.step, self.config, self.total_steps)
        values = self._backward(batches)
        values["grad_norm"] = self._clip_()
        means = self._means({**values, "_stop": torch.tensor(float(request.received is not None))})
        self._check_finite(means, rate)
        set_learning_rate_(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average:
            self.average.update_(self.model, self.step)
        stopped = means.pop("_stop") > 0
        self.window.add_({**means, "learning_rate": rate}, time.perf_counter() - began)
        return stopped

    def _backward(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Gradients of the mean loss over `accumulate` batches, and the means of what the task reports."""
        num_passes = self.config.accumulate
        totals: dict[str, Tensor] = {}
        for index in range(num_passes):
            batch = self._to_device(next(batches))
            with self._sync_on(index == num_passes - 1):
                with self._autocast():
                    values = self.forward(batch)
                (values["loss"] / num_passes).backward()
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value.detach().double() / num_passes
        return totals

    def _clip_(self) -> Tensor:
        """Scales gradients down to the config's norm; the norm that they had."""
        grads = [param.grad for param in self.params if param.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.params, self.config.clip_norm, norm)
        return norm

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over processes, in one exchange: the only point of a step that waits for the device."""
        stacked = torch.stack([value.detach().to(self.process.device, torch.float64) for value in values.values()])
        means = sum_over_processes(stacked) / self.process.world_size
        return dict(zip(values, means.tolist(), strict=True))

    def _check_finite(self, means: dict[str, float], rate: float) -> None:
        if math.isfinite(means["loss"]) and math.isfinite(means["grad_norm"]):
            return
        steps = saved_steps(self._checkpoints)
        last = f"the last checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint yet"
        raise DataError(
            f"{self.folder}: at step {self.step + 1} the loss is {means['loss']:g} and the norm of its gradient "
            f"{means['grad_norm']:g}, with learning rate {rate:g}; {last}; lower optimizer.lr, set clip_norm, or "
            "look for broken examples"
        )

    # ---- evaluation and logs

    def _is_due(self, every: int) -> bool:
        return self.step == self.total_steps or (every > 0 and self.step > 0 and self.step % every == 0)

    def _is_evaluation_due(self) -> bool:
        return self.evaluation is not None and self._is_due(self.config.eval_every)

    def _evaluate_if_due(self) -> None:
        if self.evaluation is None or not self._is_evaluation_due():
            return
        take_buffers_from_main_(self.model)
        self.model.eval()
        average = self.average.in_place_of_weights(self.model) if self.average else contextlib.nullcontext()
        with preserved_random_state(self.process.device), torch.no_grad(), self._autocast(), average:
            metrics = self.task.evaluate(map(self._to_device, self.evaluation))
        self.model.train()
        if self.log:
            self.log.evaluation({"step": self.step, **metrics})
        self._keep_if_best(metrics)

    def _keep_if_best(self, metrics: dict[str, float]) -> None:
        name = self.config.best_metric
        if name not in metrics:
            raise ConfigError(f"best_metric is '{name}'; the evaluation gives {', '.join(metrics)}")
        sign = 1 if self.config.best_is == "highest" else -1
        if not math.isnan(metrics[name]) and sign * metrics[name] > sign * self.best.get("value", -sign * math.inf):
            self.best = {"value": metrics[name], "step": self.step}
            self._export("best.safetensors", {"step": self.step, **metrics})

    def _log_if_due(self) -> None:
        if not self._is_due(self.config.log_every):
            return
        window, self.window = self.window, Window()
        means = {name: total / window.num_steps for name, total in window.sums.items()}
        per_step = self.config.accumulate * self.config.batch_size * self.process.world_size
        if self.log:
            self.log.train({
                "step": self.step,
                "epoch": self.loader.epochs_done,
                **means,
                "examples_per_s": per_step * window.num_steps / window.seconds,
                "memory_gib": memory_gib(self.process.device),
            })  # fmt: skip

    # ---- start, save, leave

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def start(self, resume: bool) -> None:
        """A fresh start or the last checkpoint, then the logs."""
        steps = saved_steps(self._checkpoints)
        if steps and not resume:
            raise OutputError(f"{self.folder}: has a run of step {steps[-1]}; resume it or name another folder")
        if steps:
            self._resume(steps[-1])
        else:
            seed_process(self.config.seed, self.process.rank)
        wait_for_all()  # none writes before all have looked
        self.model.train()
        if self.process.is_main:
            self._write_status("running")
            self.log = RunLog(self.folder, self.step)
        logger.info("step %d of %d, %s", self.step, self.total_steps, self.config.precision)
        if self.config.schedule.warmup_steps >= self.total_steps:
            logger.warning(
                "schedule.warmup_steps is %d, the run has %d steps: it never reaches optimizer.lr",
                self.config.schedule.warmup_steps,
                self.total_steps,
            )

    def _resume(self, step: int) -> None:
        path = checkpoint_path(self._checkpoints, step)
        state = load_state(self._checkpoints, step)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average:
                self.average.load_state_dict(state["average"] or state["model"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path}: is not of this model and optimizer: {reason}") from None
        self.loader.load_state_dict(state["loader"])
        self.step, self.best, self.window = step, state["best"], Window(**state["window"])
        self._log_changes(state["config"])
        self._restore_random_state(state["random"])

    def _log_changes(self, former: dict[str, Any]) -> None:
        present = self.config.model_dump(mode="json")
        for name in present:
            if present[name] != former.get(name):
                logger.warning("resumed with %s = %s; it was %s", name, present[name], former.get(name))

    def _restore_random_state(self, states: list[Tensor]) -> None:
        if len(states) == self.process.world_size and len(states[0]) == len(random_state(self.process.device)):
            restore_random_state(states[self.process.rank], self.process.device)
            return
        logger.warning("saved by %d processes or on another device: resumed, but not to the bit", len(states))
        seed_process(self.config.seed + self.step, self.process.rank)

    def _save(self) -> None:
        """Writes a checkpoint in the main process, with the random states of all."""
        random_states = gather_at_main(random_state(self.process.device))
        if self.process.is_main:
            state = {
                "config": self.config.model_dump(mode="json"),
                "model": self.model.state_dict(),
                "average": self.average.state_dict() if self.average else {},
                "optimizer": self.optimizer.state_dict(),
                "loader": self.loader.state_dict(),
                "best": self.best,
                "window": vars(self.window),
                "random": random_states,
            }
            path = save_state(self._checkpoints, self.step, state, keep=self.config.keep)
            logger.info("saved %s", path)

    def _export(self, name: str, metadata: dict[str, Any]) -> None:
        """Writes a model file in the main process: the average where there is one."""
        if self.process.is_main:
            weights = {**self.model.state_dict(), **(self.average.state_dict() if self.average else {})}
            self.task.export(self.folder / name, weights, metadata)

    def _leave(self, status: str) -> Outcome:
        if self.process.is_main:
            self._write_status(status)
        wait_for_all()  # torchrun kills all when the first one leaves
        logger.info("%s at step %d", status, self.step)
        return Outcome(self.step, status == "finished", self.best.get("value"))

    def _write_status(self, status: str) -> None:
        path = self.folder / "status.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"status": status, "step": self.step}) + "\n")
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Closes the logs."""
        if self.log:
            self.log.close()

    # ---- device

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.process.device, non_blocking=True) for name, tensor in batch.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.process.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _sync_on(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Inside, whether the backward pass averages gradients over processes."""
        if isinstance(self.forward, DistributedDataParallel) and not wanted:
            return self.forward.no_sync()
        return contextlib.nullcontext()


class _TaskLoss(nn.Module):
    """A task's loss as a module, for DistributedDataParallel to wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._loss = task.loss
        self.never_used = nn.Parameter(torch.zeros(()))  # or DistributedDataParallel warns that it looks for such

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._loss(batch)
