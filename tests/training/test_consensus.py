import math

import numpy as np
import pytest
import torch

from genoformer import assets
from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.io.truth import SPLITS
from genoformer.models.checkpoint import load_checkpoint, load_model
from genoformer.models.consensus import ConsensusTransformer, base_probs
from genoformer.nn.distillation import distillation_loss
from genoformer.nn.losses import alignment_loss
from genoformer.training.consensus import ConsensusTask, ConsensusTrainConfig, windows_match
from genoformer.training.optimizer import build_optimizer, set_learning_rate_
from genoformer.workflows.examples import ExamplesOptions, make_examples
from tests.training.consensus_shards import TINY, random_examples

MODEL = ConsensusConfig(**TINY)


def config_of(**changes) -> ConsensusTrainConfig:
    return ConsensusTrainConfig(steps=1, model=TINY, **changes)


def batch_of(num_windows, seed=0, config=MODEL):
    examples = random_examples(num_windows, config, seed)
    return {"rows": torch.from_numpy(examples.rows(config)), "labels": torch.from_numpy(examples.labels)}


def model_of(seed, config=MODEL) -> ConsensusTransformer:
    torch.manual_seed(seed)
    return ConsensusTransformer(config)


def codes(*windows):
    return torch.tensor([[" ATCG".index(letter) for letter in window] for window in windows])


@pytest.mark.parametrize(
    ("called", "label", "expected"),
    [
        ("ACGT ", "AC GT", True),
        ("     ", "     ", True),
        (" A C ", "AC   ", True),
        ("ACGT ", "ACG  ", False),
        ("AACC ", "ACAC ", False),
        ("A    ", "     ", False),
    ],
)
def test_windows_match_by_their_bases(called, label, expected):
    assert windows_match(codes(called), codes(label)).tolist() == [expected]
    assert windows_match(codes(called), codes(label + "  ")).tolist() == [expected]
    assert windows_match(codes(called, called), codes(label, "GGGGG")).tolist() == [expected, False]


def test_the_loss_is_the_mean_alignment_loss():
    task, batch = (
        ConsensusTask(model_of(0).eval(), config_of(loss={"deletion_cost": 3.0, "temperature": 0.5})),
        batch_of(5),
    )
    logits = task.model(batch["rows"])
    expected = alignment_loss(
        probs=base_probs(logits), labels=batch["labels"], deletion_cost=3.0, temperature=0.5, backend="reference"
    ).mean()
    values = task.loss(batch)
    assert set(values) == {"loss", "alignment_loss", "per_example_accuracy"}
    torch.testing.assert_close(values["loss"], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("divergence", ["mse", "kl"])
def test_a_teacher_adds_its_divergence_and_learns_nothing(divergence):
    config = config_of(distillation={"divergence": divergence, "student_alpha": 0.5, "distill_alpha": 7.0})
    student, teacher = model_of(0).eval(), model_of(1)
    task, batch = ConsensusTask(student, config, teacher), batch_of(4)
    values = task.loss(batch)
    expected = distillation_loss(
        student_logits=student(batch["rows"]), teacher_logits=teacher(batch["rows"]), divergence=divergence
    ).mean()
    torch.testing.assert_close(values["divergence"], expected)
    assert values["divergence"] > 0
    torch.testing.assert_close(values["loss"], 0.5 * values["alignment_loss"] + 7.0 * values["divergence"])
    values["loss"].backward()
    assert all(param.grad is None for param in teacher.parameters())
    assert not teacher.training


def test_dropout_is_applied_in_training():
    task, batch = ConsensusTask(model_of(0), config_of()), batch_of(4)
    with torch.no_grad():
        for scale in (param for name, param in task.model.named_parameters() if name.endswith("_scale")):
            scale.fill_(1.0)
    assert task.loss(batch)["loss"] != task.loss(batch)["loss"]
    task.model.eval()
    assert task.loss(batch)["loss"] == task.loss(batch)["loss"]


@pytest.mark.parametrize("rezero", [True, False])
def test_every_parameter_gets_a_gradient(rezero):
    config = MODEL.model_copy(update={"rezero": rezero})
    task = ConsensusTask(model_of(0, config), config_of())
    with torch.no_grad():
        for name, param in task.model.named_parameters():
            if name.endswith("_scale"):
                param.fill_(0.1)  # at zero, as it starts, nothing behind it gets a gradient
    task.loss(batch_of(32))["loss"].backward()
    without = [name for name, param in task.model.named_parameters() if param.grad is None or not param.grad.any()]
    assert without == []


def test_evaluation_by_hand():
    """A model that always calls what the CCS read has, on windows whose CCS read has errors that we count."""
    model = model_of(0).eval()
    task, batch = ConsensusTask(model, config_of()), batch_of(6)
    ccs_row = 4 * MODEL.max_passes
    rows, labels = batch["rows"], batch["labels"]
    rows[:, ccs_row] = labels.to(rows.dtype)
    rows[0, ccs_row, 0] = 1 + labels[0, 0] % 4  # one substitution
    rows[1, ccs_row, 3] = 0  # one deletion
    model.forward = lambda rows: 20.0 * torch.nn.functional.one_hot(rows[:, ccs_row].long(), 5)
    metrics = task.evaluate(
        [{name: value[:4] for name, value in batch.items()}, {name: v[4:] for name, v in batch.items()}]
    )
    columns = 6 * MODEL.window_length
    assert metrics["per_example_accuracy"] == metrics["ccs_per_example_accuracy"] == 4 / 6
    assert metrics["identity"] == metrics["ccs_identity"] == (columns - 2) / columns
    assert metrics["yield_over_ccs"] == 1.0
    whole = task.evaluate([batch])
    assert {name: pytest.approx(value) for name, value in whole.items()} == metrics
    rows[:, ccs_row] = 0
    assert math.isnan(task.evaluate([batch])["yield_over_ccs"])


def test_what_is_exported_is_the_model_and_how_it_was_trained(tmp_path):
    task = ConsensusTask(model_of(3), config_of(seed=9))
    path = tmp_path / "model.safetensors"
    task.export(path, task.model.state_dict(), {"step": 4})
    metadata = load_checkpoint(path).metadata
    assert (metadata["step"], metadata["training"]["seed"]) == (4, 9)
    batch = batch_of(2)
    assert torch.equal(load_model(path)(batch["rows"]), task.model.eval()(batch["rows"]))


def learned(batch, config, learning_rate, num_steps):
    """What the task says of a batch that a model was trained on, without dropout, and on nothing else."""
    torch.manual_seed(0)
    task = ConsensusTask(ConsensusTransformer(config), config_of(optimizer={"kind": "adamw"}))
    task.model.eval()
    optimizer = build_optimizer(task.model, task.config.optimizer)
    set_learning_rate_(optimizer, learning_rate)
    for _ in range(num_steps):
        values = task.loss(batch)
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
    return values


def test_a_few_windows_are_learned_by_heart():
    config = MODEL.model_copy(update={"rezero": False, "condenser_width": 32, "filter_width": 64})
    values = learned(batch_of(8), config, learning_rate=3e-3, num_steps=200)
    assert values["loss"] < 0.5  # nats a window of 20 bases
    assert values["per_example_accuracy"] == 1.0


def test_the_windows_of_a_zmw_are_learned_by_heart(tmp_path):
    names = ("subreads_to_ccs.bam", "ccs.bam", "truth_to_ccs.bam", "truth.bed", "truth_split.tsv")
    summary = make_examples(ExamplesOptions(*(str(assets.path("examples", name)) for name in names), tmp_path, limit=1))
    split = next(split for split in SPLITS if summary.get(f"n_examples_{split}"))
    config = ConsensusConfig(use_ccs_quality=True, condenser_width=32, num_layers=1, filter_width=64)
    windows = ConsensusDataset([tmp_path / f"{split}-00001-of-00001.h5"], config)
    batch = windows.read_batch(np.arange(len(windows)))
    values = learned(batch, config, learning_rate=1e-2, num_steps=90)
    assert len(windows) == 25
    assert values["loss"] < 0.2  # nats a window of 100 columns
    assert values["per_example_accuracy"] == 1.0
