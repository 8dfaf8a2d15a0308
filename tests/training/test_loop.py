"""The loop on toy tasks of both shapes: it learns, resumes to the bit, stops when asked and refuses what is broken."""

import csv
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from genoformer.datasets.loader import Loader
from genoformer.errors import CheckpointError, ConfigError, DataError, OutputError
from genoformer.models.checkpoint import load_checkpoint
from genoformer.training.checkpoint import checkpoint_path, load_state, saved_steps
from genoformer.training.loop import train
from genoformer.training.signals import EXIT_INTERRUPTED, StopRequest
from tests.training.toy import ConsensusTask, ExpressionTask, Pileups, Sequences, config_of, run_toy

CHECKOUT = Path(__file__).resolve().parents[2]
NUM_BATCHES = 12  # six steps of two, over more than two epochs of 22 examples
SOURCE = Pileups(22)


def rows(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def final_state(folder):
    """Everything in the last checkpoint but the seconds that it took."""
    checkpoints = folder / "checkpoints"
    state = load_state(checkpoints, saved_steps(checkpoints)[-1])
    state["window"].pop("seconds")
    return state


def differences(one, other, name=""):
    """Names of values that are not equal to the bit."""
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(
            one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
        )
        return [] if same else [name]
    if isinstance(one, dict | list | tuple):
        if len(one) != len(other) or type(one) is not type(other):
            return [name]
        keys = one.keys() if isinstance(one, dict) else range(len(one))
        return [found for key in keys for found in differences(one[key], other[key], f"{name}.{key}")]
    return [] if one == other else [name]


def without_timing(path):
    return [{name: row[name] for name in row.keys() - {"examples_per_s", "memory_gib"}} for row in rows(path)]


def assert_same_run(folder, whole):
    assert differences(final_state(folder), final_state(whole)) == []
    for name in ("final.safetensors", "best.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    for name in ("train.csv", "eval.csv"):
        assert without_timing(folder / name) == without_timing(whole / name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    outcome, _, _ = run_toy(folder, source=SOURCE)
    assert (outcome.finished, outcome.exit_code, outcome.step) == (True, 0, 6)
    return folder


def start_toy(folder, *arguments, num_processes=1, **options):
    """A process, or torchrun with several, that trains a toy run."""
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'kernels'}", "OMP_NUM_THREADS": "1"}
    script = [str(CHECKOUT / "tests" / "training" / "run_toy.py"), str(folder), *arguments]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    command = [sys.executable, *(torchrun if num_processes > 1 else []), *script]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


# ---- learning


def test_a_consensus_model_learns_and_is_exported(tmp_path):
    config = config_of(steps=120, batch_size=16, accumulate=1, ema_decay=0.0, eval_every=60, log_every=40,
                       optimizer={"kind": "adamw", "lr": 0.01}, schedule={"warmup_steps": 5},
                       best_metric="accuracy", best_is="highest")  # fmt: skip
    outcome, task, _ = run_toy(tmp_path, config=config)
    losses = [row["loss"] for row in rows(tmp_path / "train.csv")]
    assert losses[-1] < 0.2 * losses[0]
    assert outcome.best > 0.9
    assert [row["step"] for row in rows(tmp_path / "eval.csv")] == [60, 120]
    best = load_checkpoint(tmp_path / "best.safetensors")
    assert best.metadata["accuracy"] == outcome.best == max(row["accuracy"] for row in rows(tmp_path / "eval.csv"))
    final = load_checkpoint(tmp_path / "final.safetensors").state_dict
    assert differences(final, dict(task.model.state_dict())) == []
    assert json.loads((tmp_path / "status.json").read_text()) == {"status": "finished", "step": 120}


def test_an_expression_model_learns_through_the_same_code(tmp_path):
    config = config_of(steps=80, batch_size=16, accumulate=1, eval_every=10, log_every=10,
                       optimizer={"kind": "adamw", "lr": 0.03}, schedule={}, best_metric="squared_error")  # fmt: skip
    outcome, _, _ = run_toy(tmp_path, config=config, task=ExpressionTask, source=Sequences())
    errors = [row["squared_error"] for row in rows(tmp_path / "eval.csv")]
    assert outcome.best == min(errors) < 0.2 * errors[0]
    assert set(rows(tmp_path / "train.csv")[0]) == {
        "step", "epoch", "loss", "grad_norm", "learning_rate", "examples_per_s", "memory_gib",
    }  # fmt: skip


def test_bf16_learns_in_float32_weights(tmp_path):
    config = config_of(steps=30, batch_size=16, accumulate=1, precision="bf16", log_every=15,
                       optimizer={"kind": "adamw", "lr": 0.01}, schedule={})  # fmt: skip
    dtypes = []

    class Watched(ConsensusTask):
        def __init__(self):
            super().__init__()
            self.model.head.register_forward_hook(lambda *found: dtypes.append(found[-1].dtype))

    _, task, _ = run_toy(tmp_path, config=config, task=Watched)
    first, last = rows(tmp_path / "train.csv")
    assert last["loss"] < first["loss"]
    assert set(dtypes) == {torch.bfloat16}  # in training and in evaluation
    assert {param.dtype for param in task.model.parameters()} == {torch.float32}


# ---- what a step does


class NoDropout(ConsensusTask):
    """A model whose loss depends on weights and batch alone."""

    def __init__(self):
        super().__init__()
        for module in self.model.modules():
            for name in ("dropout", "residual_dropout"):
                if hasattr(module, name):
                    setattr(module, name, 0.0)
        self.model.config = self.model.config.model_copy(update={"residual_dropout": 0.0})


def test_accumulated_batches_give_the_step_of_one_large_batch(tmp_path):
    plain = {"steps": 2, "ema_decay": 0.0, "optimizer": {"kind": "adamw", "lr": 0.01, "eps": 1e-3},
             "schedule": {}}  # fmt: skip
    found = []
    for batch_size, accumulate in ((2, 4), (8, 1), (4, 1)):
        config = config_of(batch_size=batch_size, accumulate=accumulate, **plain)
        folder = tmp_path / f"{batch_size}"
        found.append(dict(run_toy(folder, config=config, task=NoDropout)[1].model.state_dict()))
    small, large, other = found
    for name, tensor in large.items():
        torch.testing.assert_close(small[name], tensor, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(other[name], tensor, rtol=1e-3, atol=1e-4) for name, tensor in large.items())


class Spy(ConsensusTask):
    """Notes the norm of the gradient that the optimizer is given."""

    def evaluate(self, batches):
        return {"loss": 0.0}


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
def test_gradients_are_clipped_to_the_norm(tmp_path, monkeypatch, clip_norm):
    norms = []

    def step(self, closure=None):
        params = [param for group in self.param_groups for param in group["params"]]
        norms.append(math.sqrt(sum(float(param.grad.double().square().sum()) for param in params)))

    monkeypatch.setattr("torch.optim.AdamW.step", step)
    config = config_of(steps=1, clip_norm=clip_norm, log_every=1, optimizer={"kind": "adamw"})
    run_toy(tmp_path, config=config, task=Spy)
    [row] = rows(tmp_path / "train.csv")
    assert row["grad_norm"] > 1  # as it was before
    expected = min(row["grad_norm"], clip_norm) if clip_norm else row["grad_norm"]
    assert norms == [pytest.approx(expected, rel=1e-4)]


def test_the_average_is_what_is_assessed_and_exported(tmp_path, whole):
    state = final_state(whole)
    exported = load_checkpoint(whole / "final.safetensors").state_dict
    assert differences(exported, {name: state["average"].get(name) for name in exported}) == []
    assert differences(exported, {name: state["model"][name] for name in exported}) != []


def test_evaluation_and_logging_change_no_weight(tmp_path, whole):
    run_toy(tmp_path, source=SOURCE, config=config_of(eval_every=1, log_every=1, save_every=1))
    assert differences(final_state(tmp_path)["model"], final_state(whole)["model"]) == []


@pytest.mark.parametrize(("precision", "expected"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_only_tf32_is_tf32(tmp_path, precision, expected):
    seen = []

    class Watched(ConsensusTask):
        def loss(self, batch):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return super().loss(batch)

    before = torch.backends.cudnn.allow_tf32
    run_toy(tmp_path, config=config_of(steps=1, accumulate=1, precision=precision), task=Watched)
    assert set(seen) == {(expected, expected)}
    assert torch.backends.cudnn.allow_tf32 == before


# ---- interruption


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 4, 7, 8, 9, NUM_BATCHES])
def test_stopped_at_any_batch_and_resumed_it_ends_with_the_same_bits(tmp_path, whole, batch, num_workers):
    stopping = functools.partial(ConsensusTask, stop_at=batch)
    outcome, _, _ = run_toy(tmp_path, task=stopping, source=SOURCE, num_workers=num_workers)
    step = (batch + 1) // 2  # it finishes the step
    assert (outcome.step, outcome.finished, outcome.exit_code) == (step, False, EXIT_INTERRUPTED)
    assert json.loads((tmp_path / "status.json").read_text()) == {"status": "interrupted", "step": step}
    assert saved_steps(tmp_path / "checkpoints")[-1] == step
    outcome, _, _ = run_toy(tmp_path, source=SOURCE, num_workers=num_workers, resume=True)
    assert outcome.finished
    assert_same_run(tmp_path, whole)


def test_stopped_after_every_single_step(tmp_path, whole):
    for step in range(1, 7):
        stopping = functools.partial(ConsensusTask, stop_at=1, number=signal.SIGUSR1)
        outcome, _, _ = run_toy(tmp_path, task=stopping, source=SOURCE, resume=True)
        assert outcome.step == step
    run_toy(tmp_path, source=SOURCE, resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("lost", ["random", "loader", "optimizer"])
def test_a_checkpoint_that_lost_a_part_does_not_end_with_the_same_bits(tmp_path, whole, lost):
    run_toy(tmp_path, task=functools.partial(ConsensusTask, stop_at=4), source=SOURCE)
    checkpoints = tmp_path / "checkpoints"
    state = load_state(checkpoints, 2)
    if lost == "random":
        state["random"][0][40] ^= 1
    elif lost == "loader":
        state["loader"]["position"] += 4
    else:
        state["optimizer"]["param_groups"][0]["step"] = 0
    torch.save(state, checkpoint_path(checkpoints, 2))
    run_toy(tmp_path, source=SOURCE, resume=True)
    assert differences(final_state(tmp_path)["model"], final_state(whole)["model"]) != []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_signalled_from_outside_with_its_workers_resumes_to_the_same_bits(tmp_path, number):
    config = {"steps": 20, "save_every": 1, "keep": 50}
    child = start_toy(tmp_path / "cut", *(f"{name}={value}" for name, value in config.items()), "--workers", "2",
                      start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not saved_steps(tmp_path / "cut" / "checkpoints"):
        assert child.poll() is None, child.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(child.pid, number)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == (EXIT_INTERRUPTED if number == signal.SIGTERM else -number), output
    last = saved_steps(tmp_path / "cut" / "checkpoints")[-1]
    assert 1 <= last < 20
    run_toy(tmp_path / "cut", config=config_of(**config), source=SOURCE, num_workers=1, resume=True)
    run_toy(tmp_path / "whole", config=config_of(**config), source=SOURCE)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("num_processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_under_torchrun_resume_to_the_same_bits(tmp_path, num_processes):
    def run(*arguments):
        fields = [f"batch_size={4 // num_processes}", "save_every=1"]
        child = start_toy(tmp_path / "cut", *fields, *arguments, num_processes=num_processes)
        output, _ = child.communicate(timeout=200)
        return child.returncode, output

    # One process is asked to stop in step 3: all do, go on, and one is killed in step 6.
    code, output = run("--workers", "2", "--send", "SIGTERM:5", "--send", "SIGKILL:5")
    assert code != 0
    assert output.count(f"left at step 3 with {EXIT_INTERRUPTED}") == num_processes, output
    assert saved_steps(tmp_path / "cut" / "checkpoints")[-1] == 5
    code, output = run("--resume", "--whole", str(tmp_path / "whole"))
    assert code == 0, output
    assert output.count("left at step 6 with 0") == 2 * num_processes
    assert "Warning" not in output
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    assert len(final_state(tmp_path / "cut")["random"]) == num_processes
    assert rows(tmp_path / "cut" / "eval.csv")[-1]["num_columns"] == len(SOURCE) * 8  # every example, once


def test_a_signal_that_came_before_the_start_stops_after_the_first_step(tmp_path):
    stop = StopRequest()
    stop.received = signal.SIGUSR1
    loader = Loader(SOURCE, batch_size=4, seed=1)
    outcome = train(ConsensusTask(), loader, config_of(), tmp_path, stop=stop)
    assert (outcome.step, outcome.finished) == (1, False)


# ---- what is refused


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(tmp_path):
    config = config_of(save_every=1)
    with pytest.raises(DataError) as error:
        run_toy(tmp_path, config=config, task=functools.partial(ConsensusTask, nan_at=6), source=SOURCE)
    assert "at step 3 the loss is nan and the norm of its gradient nan, with learning rate" in str(error.value)
    assert "the last checkpoint is of step 2; lower optimizer.lr" in str(error.value)
    assert saved_steps(tmp_path / "checkpoints") == [1, 2]
    weights = load_state(tmp_path / "checkpoints", 2)["model"]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    outcome, _, _ = run_toy(tmp_path, config=config, source=SOURCE, resume=True)
    assert outcome.finished


def test_a_folder_with_a_run_is_not_started_anew(tmp_path):
    run_toy(tmp_path, config=config_of(steps=1), source=SOURCE)
    with pytest.raises(OutputError, match="has a run of step 1; resume it or name another folder"):
        run_toy(tmp_path, config=config_of(steps=1), source=SOURCE)


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(tmp_path):
    first, _, _ = run_toy(tmp_path, source=SOURCE)
    before = without_timing(tmp_path / "eval.csv")
    again, _, _ = run_toy(tmp_path, source=SOURCE, resume=True)
    assert again == first
    assert without_timing(tmp_path / "eval.csv") == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    run_toy(tmp_path, config=config_of(steps=1), source=SOURCE)
    with pytest.raises(CheckpointError, match=r"step-000000001.pt: is not of this model and optimizer: .*Missing key"):
        run_toy(tmp_path, config=config_of(steps=2), task=ExpressionTask, source=Pileups(22), resume=True)


def test_a_changed_config_is_said(tmp_path, caplog):
    run_toy(tmp_path, config=config_of(steps=1), source=SOURCE)
    run_toy(tmp_path, config=config_of(steps=2), source=SOURCE, resume=True)
    assert "resumed with steps = 2; it was 1" in caplog.text


def test_a_warm_up_as_long_as_the_run_is_said(tmp_path, caplog):
    run_toy(tmp_path / "a", config=config_of(steps=2, schedule={"warmup_steps": 2}))
    assert "schedule.warmup_steps is 2, the run has 2 steps: it never reaches optimizer.lr" in caplog.text
    caplog.clear()
    run_toy(tmp_path / "b", config=config_of(steps=3, schedule={"warmup_steps": 2}))
    assert "warmup_steps" not in caplog.text


def test_a_metric_that_the_evaluation_lacks_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match="best_metric is 'identity'; the evaluation gives loss, accuracy, num_columns"
    ):
        run_toy(tmp_path, config=config_of(steps=1, best_metric="identity"), source=SOURCE)
