import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genoformer.config import ExpressionConfig
from genoformer.datasets.expression import ExpressionDataset, one_hot
from genoformer.errors import CheckpointError, ConfigError, DataError, UsageError
from genoformer.io.expression_examples import WindowShape
from genoformer.models.checkpoint import load_checkpoint, load_expression_model, save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.training import expression_run as module
from genoformer.training.config import load_toml
from genoformer.training.expression import ExpressionTrainConfig
from genoformer.training.expression_run import TrainExpressionOptions, train_expression
from tests.training.expression_shards import SHAPE, TINY, example_of, tracks_of, write_shards

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = """
seed = 3
steps = 6
batch_size = 3
accumulate = 2
clip_norm = 1.0
ema_decay = 0.9
eval_every = 2
log_every = 1
best_metric = "pearson"
best_is = "highest"
start_at_means = true
optimizer = { lr = 1e-2 }
loss = { track_weights = "inverse_sqrt_mean" }
augmentation = { crop_bins = 6, max_shift_bp = 2 }
model = { %s }
""" % ", ".join(f"{name} = {value}" for name, value in TINY.items())  # noqa: UP031


@pytest.fixture
def options(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    human = write_shards(tmp_path / "human")
    return lambda out="run", **changes: TrainExpressionOptions(
        **{"config": tmp_path / "tiny.toml", "data": {"human": [human]}, "out_dir": tmp_path / out, "device": "cpu",
           **changes}
    )  # fmt: skip


@pytest.fixture
def species(tmp_path):
    """Data of two species, of other numbers of tracks and examples."""
    mouse = write_shards(tmp_path / "mouse", species="mouse", num_tracks=2, train=9, valid=4)
    return {"human": [tmp_path / "human"], "mouse": [mouse]}


def weights(path):
    return load_checkpoint(path).state_dict


def changed(first, second):
    return {name for name in first if not torch.equal(first[name], second[name])}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def model_file(path, *, heads=None, names="human", seed=5, **changes):
    """A model with weights that all matter, and tracks as the data of `names` have them."""
    torch.manual_seed(seed)
    config = ExpressionConfig(**{**TINY, "heads": heads or {"human": 3}, **changes})
    model = ExpressionTransformer(config)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn_like(param))
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    tracks = {name: tuple(tracks_of(names, count)) for name, count in config.heads.items()}
    save_checkpoint(path, model.state_dict(), config, tracks=tracks)
    return path


def test_a_run_writes_models_that_load_with_the_tracks_of_the_data(options, tmp_path):
    outcome = train_expression(options())
    assert (outcome.step, outcome.exit_code) == (6, 0)
    best = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert best.config == ExpressionConfig(**TINY, heads={"human": 3})
    assert [track.identifier for track in best.tracks["human"]] == ["human0", "human1", "human2"]
    assert best.metadata["pearson"] == outcome.best
    assert best.metadata["training"]["augmentation"]["crop_bins"] == 6
    load_expression_model(tmp_path / "run" / "final.safetensors")
    evaluations = rows(tmp_path / "run" / "eval.csv")
    assert list(evaluations[0]) == ["step", "loss", "pearson"]
    assert [row["step"] for row in evaluations] == ["2", "4", "6"]
    assert {"loss", "grad_norm", "examples_per_s", "memory_gib"} <= set(rows(tmp_path / "run" / "train.csv")[0])


def test_it_learns_the_tracks(options, tmp_path):
    data = write_shards(tmp_path / "more", train=60)
    sets = ["steps=100", "eval_every=100", "accumulate=1", "augmentation.max_shift_bp=0", "model.relu_dropout=0",
            "model.residual_dropout=0"]  # fmt: skip
    assert train_expression(options(data={"human": [data]}, sets=sets)).best > 0.8


@pytest.mark.parametrize("trunk", ["learned", "lora"])
def test_the_metric_of_the_best_model_is_that_of_the_file(options, tmp_path, trunk):
    """Pearson by numpy, with predictions of the file on whole windows, as they are."""
    init = None if trunk == "learned" else model_file(tmp_path / "init.safetensors")
    outcome = train_expression(options(init=init, sets=[f"finetune.trunk={trunk}"]))
    model = load_expression_model(tmp_path / "run" / "best.safetensors")
    examples = [example_of(500 + index, 3) for index in range(5)]
    sequences = torch.from_numpy(np.stack([codes for codes, _ in examples]))
    with torch.no_grad():
        predicted = model(one_hot(sequences))["human"].flatten(0, 1).double().numpy()
    measured = np.concatenate([targets.T for _, targets in examples]).astype(np.float64)
    pearson = [np.corrcoef(predicted[:, track], measured[:, track])[0, 1] for track in range(3)]
    assert outcome.best == pytest.approx(np.mean(pearson), abs=1e-6)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("which", ["one", "two"])
def test_an_interrupted_run_goes_on_to_the_same_bits(options, species, tmp_path, which, num_workers):
    data = species if which == "two" else {"human": species["human"]}
    workers = f"num_workers={num_workers}"
    train_expression(options("whole", data=data))
    for steps in (1, 3):  # in the middle of an epoch, which has four batches
        train_expression(options("parts", data=data, resume=True,
                                 sets=[workers, f"steps={steps}", "schedule.decay_steps=6"]))  # fmt: skip
    train_expression(options("parts", data=data, resume=True, sets=[workers]))
    whole = (tmp_path / "whole" / "final.safetensors").read_bytes()
    assert len(whole) == len((tmp_path / "parts" / "final.safetensors").read_bytes())
    assert (
        changed(weights(tmp_path / "whole/final.safetensors"), weights(tmp_path / "parts/final.safetensors")) == set()
    )
    tables = [
        [{name: row[name] for name in ("step", "loss", "grad_norm")} for row in rows(tmp_path / out / "train.csv")]
        for out in ("whole", "parts")
    ]
    assert tables[0] == tables[1]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_run_on_a_gpu_goes_on_to_the_same_bits(options, species, tmp_path, precision):
    sets = [f"precision={precision}"]
    train_expression(options("whole", data=species, sets=sets, device="cuda"))
    train_expression(options("parts", data=species, sets=[*sets, "steps=3", "schedule.decay_steps=6"], device="cuda"))
    train_expression(options("parts", data=species, sets=sets, resume=True, device="cuda"))
    ends = [weights(tmp_path / out / "final.safetensors") for out in ("whole", "parts")]
    assert changed(*ends) == set()


def test_species_take_turns_and_only_the_head_of_the_batch_learns(options, species, tmp_path):
    one = ["accumulate=1", "eval_every=0", "ema_decay=0", "keep=9", "save_every=1", "optimizer.weight_decay=0.1"]
    ends = []
    for steps in (1, 2, 3):
        train_expression(options(f"{steps}", data=species, sets=[*one, f"steps={steps}", "schedule.decay_steps=9"]))
        ends.append(weights(tmp_path / f"{steps}" / "final.safetensors"))
    heads = [{name for name in changed(*pair) if name.startswith("heads.")} for pair in itertools.pairwise(ends)]
    assert heads == [{"heads.mouse.weight", "heads.mouse.bias"}, {"heads.human.weight", "heads.human.bias"}]
    assert all(any(name.startswith("layers.") for name in changed(*pair)) for pair in itertools.pairwise(ends))
    assert list(rows(tmp_path / "2" / "eval.csv")[0]) == ["step", "loss", "pearson", "pearson_human", "pearson_mouse"]


def test_a_checkpointed_tower_and_bf16(options, tmp_path):
    for out, sets in (("a", []), ("b", ["checkpoint_tower=true"]), ("c", ["precision=bf16"])):
        train_expression(options(out, sets=sets))
    final = {out: weights(tmp_path / out / "final.safetensors") for out in "abc"}
    assert changed(final["a"], final["b"]) == set()
    assert changed(final["a"], final["c"]) != set()
    assert {tensor.dtype for tensor in final["c"].values()} == {torch.float32, torch.int64}


def test_poisson_multinomial_is_another_loss(options, tmp_path):
    train_expression(options("a"))
    train_expression(options("b", sets=["loss.kind=poisson_multinomial"]))
    first, second = (float(rows(tmp_path / out / "train.csv")[0]["loss"]) for out in "ab")
    assert first != second


# ---- several processes


def under_torchrun(config, data, out, *more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "genoformer.cli.main", "expression", "train", str(config), "-o", str(out), "--device", "cpu",
               "-t", "1", *(f"--data={name}={folder}" for name, [folder] in data.items()), *more]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_two_processes_resume_to_the_same_bits_and_leave_the_other_head_alone(options, species, tmp_path):
    sets = ["--set", "num_workers=1", "--set", "batch_size=2", "--set", "accumulate=1"]
    parts = ["--set", "steps=1", "--set", "schedule.decay_steps=6"]
    config = options().config
    under_torchrun(config, species, tmp_path / "whole", *sets)
    under_torchrun(config, species, tmp_path / "parts", *sets, *parts)
    first = weights(tmp_path / "parts" / "final.safetensors")
    under_torchrun(config, species, tmp_path / "parts", *sets, "--resume")
    assert (
        changed(weights(tmp_path / "whole/final.safetensors"), weights(tmp_path / "parts/final.safetensors")) == set()
    )
    # The first step is one of human alone: the head of mouse is as a lone process has it after no step of mouse.
    train_expression(options("alone", data=species, sets=["steps=1", "accumulate=1"]))
    alone = weights(tmp_path / "alone" / "final.safetensors")
    for name in ("heads.mouse.weight", "heads.mouse.bias"):
        assert torch.equal(first[name], alone[name])


# ---- training further


def test_it_goes_on_from_a_model_whose_tracks_are_those_of_the_data(options, tmp_path):
    init = model_file(tmp_path / "init.safetensors")
    train_expression(options("a", init=init, sets=["steps=1", "optimizer.lr=1e-30", "ema_decay=0"]))
    found = weights(tmp_path / "a" / "final.safetensors")
    moved = {
        name for name in changed(found, weights(init)) if not name.endswith(("running_mean", "running_var", "tracked"))
    }
    assert all(torch.allclose(found[name], weights(init)[name], rtol=0, atol=1e-20) for name in moved)


@pytest.mark.parametrize(
    "former", [{"names": "mouse"}, {"heads": {"human": 5}}, {"heads": {"mouse": 3}}], ids=["names", "number", "species"]
)
def test_other_tracks_get_a_new_head_on_the_old_trunk(options, tmp_path, former):
    init = model_file(tmp_path / "init.safetensors", **former)
    sets = ["steps=1", "optimizer.lr=1e-30", "ema_decay=0", "finetune.trunk=frozen"]
    train_expression(options("a", init=init, sets=sets))
    found, before = weights(tmp_path / "a" / "final.safetensors"), weights(init)
    trunk = {name: tensor for name, tensor in before.items() if not name.startswith("heads.")}
    assert changed(trunk, found) == set()
    means = ExpressionDataset([tmp_path / "human" / "train-00001-of-00001.h5"], SHAPE).track_means
    start = torch.nn.functional.softplus(found["heads.human.bias"]).double()
    torch.testing.assert_close(start, torch.from_numpy(means), rtol=1e-4, atol=1e-4)
    assert found.keys() == {*trunk, "heads.human.weight", "heads.human.bias"}


def test_the_shape_of_the_former_model_needs_no_config(options, tmp_path):
    init = model_file(tmp_path / "init.safetensors", num_layers=3)
    (tmp_path / "bare.toml").write_text("steps = 1\nbest_metric = 'pearson'\nbest_is = 'highest'\nbatch_size = 2")
    train_expression(options("a", init=init, config=tmp_path / "bare.toml", sets=["model.residual_dropout=0.1"]))
    config = load_checkpoint(tmp_path / "a" / "best.safetensors").config
    assert (config.num_layers, config.residual_dropout, config.target_bins) == (3, 0.1, 8)


def test_a_frozen_trunk_learns_its_heads_alone(options, tmp_path):
    init = model_file(tmp_path / "init.safetensors")
    train_expression(options("a", init=init, sets=["finetune.trunk=frozen"]))
    moved = changed(weights(tmp_path / "a" / "final.safetensors"), weights(init))
    assert moved == {"heads.human.weight", "heads.human.bias"}  # statistics of the norms are frozen too


def test_lora_is_merged_into_plain_weights(options, tmp_path):
    init = model_file(tmp_path / "init.safetensors")
    sets = ["finetune.trunk=lora", "finetune.lora_rank=2", "steps=4", "ema_decay=0"]
    train_expression(options("a", init=init, sets=sets))
    before, after = weights(init), weights(tmp_path / "a" / "final.safetensors")
    moved = changed(before, after)
    maps = {name for name, tensor in before.items() if name.startswith("layers.") and tensor.dim() == 2
            and not name.endswith("_bias")}  # fmt: skip
    assert moved == maps | {"heads.human.weight", "heads.human.bias"}
    for name in maps:
        assert torch.linalg.matrix_rank((after[name] - before[name]).double(), atol=1e-6) <= 2
    train_expression(options("b", init=init, sets=[*sets, "steps=2", "schedule.decay_steps=4"]))
    train_expression(options("b", init=init, sets=sets, resume=True))
    assert changed(after, weights(tmp_path / "b" / "final.safetensors")) == set()


# ---- what is refused


def test_what_does_not_fit_is_named(options, tmp_path):
    with pytest.raises(
        ConfigError, match=r"the data of human have 3 tracks; the config's model.heads are {'human': 4}"
    ):
        train_expression(options(sets=["model.heads={human = 4}"]))
    with pytest.raises(UsageError, match=r"finetune.trunk is lora, which needs a trained model: name it with --init"):
        train_expression(options(sets=["finetune.trunk=lora"]))
    with pytest.raises(ConfigError, match=r"augmentation.crop_bins is 9; expected at most model.target_bins"):
        train_expression(options(sets=["augmentation.crop_bins=9"]))
    with pytest.raises(
        CheckpointError, match=r"wide.safetensors: its weights do not fit the config's model: .*mismatch"
    ):
        train_expression(options(init=model_file(tmp_path / "wide.safetensors", filter_width=32)))
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected what 'genoformer expression examples'"):
        train_expression(options(data={"human": [tmp_path / "nowhere"]}))
    with pytest.raises(DataError, match=r"has examples of 64 bp with 8 bins of 4 bp; the model reads 120 bp"):
        train_expression(options(sets=["model.window_bp=128"]))


def test_a_crop_needs_positions_of_the_whole_window(options, tmp_path):
    text = CONFIG.replace(", position_bins = 16", "")
    (tmp_path / "other.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"crop_bins is 6 and model.position_bins is not set"):
        train_expression(options(config=tmp_path / "other.toml"))


def test_without_windows_to_assess_nothing_is_assessed(options, tmp_path, caplog):
    data = write_shards(tmp_path / "train_only", valid=0)
    train_expression(options("empty", data={"human": [data]}, sets=["steps=1"]))
    assert "no windows in shards valid-*.h5: nothing is assessed" in caplog.text
    assert not (tmp_path / "empty" / "best.safetensors").exists()
    assert (tmp_path / "empty" / "final.safetensors").exists()


def test_training_reads_crops_and_evaluation_whole_windows(options, monkeypatch):
    shapes = []

    class Watched(ExpressionDataset):
        def __init__(self, paths, shape, **settings):
            shapes.append((shape, settings.get("max_shift_bp", 0)))
            super().__init__(paths, shape, **settings)

    monkeypatch.setattr(module, "ExpressionDataset", Watched)
    train_expression(options(sets=["steps=1"]))
    assert shapes == [(WindowShape(56, 4, 6), 2), (SHAPE, 0)]


def test_the_toml_of_this_test_is_a_config(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    assert load_toml(ExpressionTrainConfig, tmp_path / "tiny.toml").model == ExpressionConfig(**TINY)
