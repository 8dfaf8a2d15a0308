"""What an expression model learns from a batch, and its evaluation, against loops and numpy."""

import numpy as np
import pytest
import torch

from genoformer.config import ExpressionConfig
from genoformer.datasets.expression import one_hot
from genoformer.models.checkpoint import load_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.track_losses import poisson_loss, poisson_multinomial_loss
from genoformer.training.expression import ExpressionTask, ExpressionTrainConfig, targets_name
from genoformer.training.optimizer import build_optimizer, set_learning_rate_
from tests.training.expression_shards import TINY, example_of

HEADS = {"human": 3, "mouse": 2}
MEANS = {"human": np.array([1.0, 4.0, 0.25]), "mouse": np.array([2.0, 0.0])}


def task_of(seed=0, heads=HEADS, **changes) -> ExpressionTask:
    torch.manual_seed(seed)
    config = ExpressionTrainConfig(steps=1, model={**TINY, "heads": heads}, **changes)
    model = ExpressionTransformer(config.model)
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.output.weight.normal_(std=0.2)  # at zero, as it starts, nothing behind it gets a gradient
    return ExpressionTask(model, config, {species: MEANS[species] for species in heads})


def batch_of(species, seeds):
    examples = [example_of(seed, HEADS[species]) for seed in seeds]
    return {
        "sequence": torch.from_numpy(np.stack([codes for codes, _ in examples])),
        targets_name(species): torch.from_numpy(np.stack([targets.T for _, targets in examples])),
    }


@pytest.mark.parametrize("kind", ["poisson", "poisson_multinomial"])
@pytest.mark.parametrize("track_weights", ["equal", "inverse_sqrt_mean"])
def test_the_loss_is_the_weighted_mean(kind, track_weights):
    task = task_of(loss={"kind": kind, "track_weights": track_weights, "total_weight": 0.5})
    task.model.eval()
    batch = batch_of("human", range(4))
    predicted = task.model(one_hot(batch["sequence"]))["human"]
    tensors = {"predicted": predicted, "measured": batch["targets_human"]}
    of_tracks = (
        poisson_loss(**tensors) if kind == "poisson" else poisson_multinomial_loss(**tensors, total_weight=0.5)
    ).mean(0)
    weights = torch.tensor([1.0, 0.5, 2.0]) if track_weights == "inverse_sqrt_mean" else torch.ones(3)
    torch.testing.assert_close(task.loss(batch), {"loss": (weights * of_tracks).mean()})


def test_a_crop_is_predicted_as_far_as_its_targets_reach():
    task, batch = task_of(), batch_of("human", range(2))
    crop = {"sequence": batch["sequence"][:, 8:-8], "targets_human": batch["targets_human"][:, 2:-2]}
    assert torch.isfinite(task.loss(crop)["loss"])


def test_every_parameter_gets_a_gradient_but_the_other_heads():
    task = task_of()
    task.loss(batch_of("human", range(8)))["loss"].backward()
    without = {name for name, param in task.model.named_parameters() if param.grad is None or not param.grad.any()}
    assert without == {"heads.mouse.weight", "heads.mouse.bias"}


def test_evaluation_is_numpy_s_correlation_over_all_bins():
    task = task_of()
    task.model.eval()
    batches = [batch_of("human", range(3)), batch_of("human", range(3, 5)), batch_of("mouse", range(7, 11))]
    batches[2]["targets_mouse"][..., 1] = 2.0  # a track that does not vary is left out
    with torch.no_grad():
        metrics = task.evaluate(batches)
        expected = {}
        for species, chosen in (("human", batches[:2]), ("mouse", batches[2:])):
            predicted = torch.cat([task.model(one_hot(batch["sequence"]))[species] for batch in chosen])
            measured = torch.cat([batch[targets_name(species)] for batch in chosen])
            pairs = zip(predicted.flatten(0, 1).double().T, measured.flatten(0, 1).double().T, strict=True)
            expected[species] = np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs if other.std() > 0])
    assert list(metrics) == ["loss", "pearson", "pearson_human", "pearson_mouse"]
    for species, value in expected.items():
        assert metrics[f"pearson_{species}"] == pytest.approx(value, abs=1e-7)
    assert metrics["pearson"] == pytest.approx(np.mean(list(expected.values())), abs=1e-7)
    alone = task_of(heads={"human": 3})
    assert list(alone.evaluate(batches[:2])) == ["loss", "pearson"]


def test_evaluation_does_not_depend_on_the_batches():
    task = task_of()
    task.model.eval()
    with torch.no_grad():
        whole = task.evaluate([batch_of("human", range(6)), batch_of("mouse", range(6))])
        parts = task.evaluate([batch_of(s, range(i, i + 2)) for s in ("human", "mouse") for i in (0, 2, 4)])
    assert parts == {name: pytest.approx(value, rel=1e-6) for name, value in whole.items()}


def test_what_is_exported_is_the_model_and_how_it_was_trained(tmp_path):
    task = task_of(seed=3, augmentation={"max_shift_bp": 1})
    path = tmp_path / "model.safetensors"
    task.export(path, task.model.state_dict(), {"step": 4})
    found = load_checkpoint(path)
    assert found.config == ExpressionConfig(**TINY, heads=HEADS)
    assert (found.metadata["step"], found.metadata["training"]["augmentation"]["max_shift_bp"]) == (4, 1)
    assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in task.model.state_dict().items())


def test_a_few_windows_are_learned_by_heart():
    dropouts = {f"{name}_dropout": 0.0 for name in ("attention", "position", "relu", "residual", "pointwise")}
    torch.manual_seed(0)
    config = ExpressionTrainConfig(steps=1, model={**TINY, **dropouts, "heads": HEADS})
    task, batch = ExpressionTask(ExpressionTransformer(config.model), config, MEANS), batch_of("human", range(3))
    optimizer = build_optimizer(task.model, config.optimizer)
    set_learning_rate_(optimizer, 1e-2)
    measured = batch["targets_human"]
    least = poisson_loss(predicted=measured, measured=measured).mean()  # of any prediction
    for _ in range(300):
        optimizer.zero_grad()
        loss = task.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
    assert loss - least < 0.02
