"""TOML and `--set` on top, and the errors of both."""

import pytest

from genoformer.config import Config, ConsensusConfig
from genoformer.errors import ConfigError
from genoformer.training.config import DistillationConfig, OptimizerConfig, TrainConfig, load_toml
from genoformer.training.consensus import ConsensusTrainConfig
from genoformer.training.expression import ExpressionTrainConfig


class Task(Config):
    """As a task's own configuration looks."""

    model: ConsensusConfig = ConsensusConfig()
    train: TrainConfig
    distillation: DistillationConfig | None = None


TEXT = """
epochs = 2.5
batch_size = 8
[optimizer]
kind = "lamb"
eps = 1e-6
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TEXT)
    return path


def test_defaults_then_the_file_then_settings(file):
    config = load_toml(TrainConfig, file, ["batch_size=16", "optimizer.weight_decay=1e-4", "optimizer.kind = adamw"])
    assert (config.epochs, config.batch_size, config.accumulate) == (2.5, 16, 1)
    assert config.optimizer == OptimizerConfig(kind="adamw", eps=1e-6, weight_decay=1e-4)


def test_settings_alone_and_below_several_tables():
    config = load_toml(Task, None, ["train.steps=3", 'train.optimizer.exclude=["scale"]', "distillation.divergence=kl"])
    assert config.train.optimizer.exclude == ("scale",)
    assert config.distillation == DistillationConfig(divergence="kl")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["bach_size=4"], "--set: unknown key 'bach_size'; did you mean 'batch_size'?"),
        (["optimizer.wieght_decay=4"], "unknown key 'optimizer.wieght_decay'; did you mean 'optimizer.weight_decay'?"),
        (["lr=4"], "unknown key 'lr'; did you mean 'optimizer.lr'?"),
        (["zzz=4"], "--set: unknown key 'zzz'"),
        (["batch_size=0"], "--set: batch_size is 0: Input should be greater than or equal to 1"),
        (["optimizer.lr=nan"], "optimizer.lr is nan: Input should be"),
        (["precision=fp16"], "precision is 'fp16': Input should be 'fp32', 'tf32' or 'bf16'"),
        (["steps=4"], "run.toml: set exactly one of epochs and steps"),
        (["batch_size"], "--set batch_size: expected KEY=VALUE or TABLE.KEY=VALUE"),
        (["optimizer..eps=1"], "expected KEY=VALUE"),
        (["batch_size.x=1"], "--set batch_size.x=1: 'batch_size' is a value, not a table"),
    ],
)
def test_errors_name_the_key_and_the_nearest_one(file, sets, message):
    with pytest.raises(ConfigError) as error:
        load_toml(TrainConfig, file, sets)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_an_unknown_key_of_the_file_names_the_file_and_one_in_an_optional_table_is_known(file):
    file.write_text(TEXT.replace("eps", "epsilon"))
    with pytest.raises(ConfigError, match=r"run.toml: unknown key 'optimizer.epsilon'; did you mean 'optimizer.eps'\?"):
        load_toml(TrainConfig, file)
    with pytest.raises(ConfigError, match=r"did you mean 'distillation.temperature'\?"):
        load_toml(Task, None, ["train.steps=1", "distillation.temprature=2"])


def test_a_missing_table_and_a_broken_or_missing_file_are_named(tmp_path):
    with pytest.raises(ConfigError, match="train: Field required"):
        load_toml(Task, None)
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = 1")
    with pytest.raises(ConfigError, match=r"broken.toml: is no TOML: .*line 1"):
        load_toml(TrainConfig, broken)
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file"):
        load_toml(TrainConfig, tmp_path / "none.toml")


def test_a_config_of_the_other_task_is_said_to_be_one(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("steps = 3\n[model]\nwindow_bp = 1024\nnum_layers = 2\n")
    with pytest.raises(ConfigError, match=r"run.toml: is of a model that 'genoformer expression train' trains$"):
        load_toml(ConsensusTrainConfig, path)
    path.write_text("steps = 3\n[model]\nmax_passes = 20\nnum_layers = 2\n")
    with pytest.raises(ConfigError, match=r"run.toml: is of a model that 'genoformer consensus train' trains$"):
        load_toml(ExpressionTrainConfig, path)


@pytest.mark.parametrize("model", ["max_passes = 2\nwindow_bp = 8", "windov_bp = 8", "num_layers = 2\nzzz = 1"])
def test_a_config_of_neither_task_has_an_unknown_key(tmp_path, model):
    path = tmp_path / "run.toml"
    path.write_text(f"steps = 3\n[model]\n{model}\n")
    for kind in (ConsensusTrainConfig, ExpressionTrainConfig):
        with pytest.raises(ConfigError, match=r"run.toml: unknown key 'model\."):
            load_toml(kind, path)


def test_total_steps():
    assert TrainConfig(epochs=2.5, accumulate=2).total_steps(10) == 12  # 25 batches
    assert TrainConfig(epochs=0.01).total_steps(10) == 1
    assert TrainConfig(steps=7, accumulate=2).total_steps(10) == 7
