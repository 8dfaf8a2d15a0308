"""Configurations of training runs: TOML in, `--set a.b=v` on top, unknown keys refused with the nearest name.

A task's own configuration has a `TrainConfig` as one of its fields; `load_toml` reads either.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from genoformer.config import Config, ConsensusConfig, Count, ExpressionConfig, apply_setting_
from genoformer.errors import ConfigError

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Steps = Annotated[int, Field(ge=0)]

ConfigT = TypeVar("ConfigT", bound=Config)

_MODELS: dict[str, type[Config]] = {"consensus": ConsensusConfig, "expression": ExpressionConfig}


class OptimizerConfig(Config):
    """What turns gradients into new weights.

    DeepConsensus v1.2 trains with lamb, lr 3.6246e-3, eps 1e-6, weight_decay 6.9868e-3 and the default betas and
    exclusions.
    """

    kind: Literal["adamw", "lamb"] = "adamw"
    lr: Positive = 3e-4  # the highest learning rate, from which the schedule falls
    beta1: Fraction = 0.9  # decay of the mean of the gradients
    beta2: Fraction = 0.999  # decay of the mean of their squares
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.01
    exclude: tuple[str, ...] = ("bias", "norm")  # parts of parameter names that are not decayed (nor adapted by lamb)


class ScheduleConfig(Config):
    """The learning rate by step: a linear rise, then a fall from the optimizer's `lr` to `end`.

    DeepConsensus v1.2 has kind linear, end 2.86594e-5, warmup_steps 35536 and 9 epochs of decay.
    """

    kind: Literal["constant", "linear", "cosine"] = "cosine"
    end: NotNegative = 0.0
    warmup_steps: Steps = 0
    decay_steps: Count | None = None  # step at which `end` is reached; None: the last of the run


class DistillationConfig(Config):
    """How a student learns from a teacher: `student_alpha` * own loss + `distill_alpha` * divergence.

    The defaults are those of DeepConsensus v1.2, whose student has five layers that start from the teacher's 1 to 5.
    """

    layers: tuple[Steps, ...] = ()  # of the teacher, from 0, that the student's start from; (): random weights
    divergence: Literal["mse", "kl"] = "mse"
    temperature: Positive = 1.0
    student_alpha: NotNegative = 1.0
    distill_alpha: NotNegative = 1e5


class TrainConfig(Config):
    """How a model is trained, whatever the model: everything that the loop needs to know."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1  # of weights, dropout, order and augmentation
    epochs: Positive | None = None  # exactly one of epochs and steps
    steps: Count | None = None  # updates of the weights
    batch_size: Count = 64  # examples per process and pass through the model
    accumulate: Count = 1  # passes per step
    num_workers: Annotated[int, Field(ge=0)] = 0  # loader processes for each training process

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # bf16: autocast; weights stay float32
    clip_norm: NotNegative = 0.0  # largest norm of all gradients together; 0: not clipped
    ema_decay: Fraction = 0.0  # of the average of the weights that is assessed and exported; 0: no average

    eval_every: Steps = 0  # steps; 0: at the end only
    save_every: Steps = 0  # steps; 0: when evaluating, when stopped and at the end
    log_every: Count = 50  # steps
    keep: Count = 3  # checkpoints that stay on disk
    best_metric: str = "loss"  # of those that the task's evaluation gives
    best_is: Literal["highest", "lowest"] = "lowest"

    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("set exactly one of epochs and steps")
        return self

    def total_steps(self, batches_per_epoch: int) -> int:
        """Updates of the whole run, at least one, for a loader of that many batches an epoch."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # by _check_length
        return max(1, int(self.epochs * batches_per_epoch) // self.accumulate)


def load_toml(kind: type[ConfigT], path: str | Path | None = None, sets: Sequence[str] = ()) -> ConfigT:
    """A config of `kind` from its defaults, then a TOML file, then `key.subkey=value` settings.

    Args:
        path: None for the defaults.
        sets: the value is TOML (`3`, `1e-4`, `true`, `["a"]`), or text where it is not.
    Raises:
        ConfigError: a file that is no TOML or of a model of the other kind, an unknown key (naming the nearest known
            one) or a bad value.
    """
    values = {} if path is None else _read_toml(Path(path))
    other = _other_task(kind, values.get("model"))
    for setting in sets:
        apply_setting_(values, setting)
    try:
        return kind(**values)
    except ValidationError as error:
        if other is not None:
            raise ConfigError(f"{path}: is of a model that 'genoformer {other} train' trains") from None
        raise ConfigError(_explain(kind, error, path, sets)) from None


def _other_task(kind: type[Config], model: object) -> str | None:
    """The task whose models have all keys of a config's table `model`, where those of `kind` do not."""
    if "model" not in kind.model_fields or not isinstance(model, dict):
        return None
    own = kind.model_fields["model"].annotation
    fitting = [task for task, shape in _MODELS.items() if model.keys() <= shape.model_fields.keys()]
    return next(iter(fitting), None) if not any(_MODELS[task] is own for task in fitting) else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # TOMLDecodeError, or bytes that are no UTF-8
        raise ConfigError(f"{path}: is no TOML: {error}") from None


def _explain(kind: type[Config], error: ValidationError, path: str | Path | None, sets: Sequence[str]) -> str:
    """One line for the first thing that is wrong: where, what, and the nearest key if it is unknown."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    is_set = any(setting.partition("=")[0].strip() == key for setting in sets)
    source = "--set" if is_set or path is None else str(path)
    if first["type"] == "extra_forbidden":
        near = _nearest(key, list(_known_keys(kind)))
        hint = f"; did you mean '{near}'?" if near else ""
        return f"{source}: unknown key '{key}'{hint}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "value_error"):
        return f"{source}: {f'{key}: ' if key else ''}{message}"
    return f"{source}: {key} is {first['input']!r}: {message}"


def _known_keys(kind: type[Config], prefix: str = "") -> Iterator[str]:
    """Dotted names of all values of a config and of those inside it."""
    for name, field in kind.model_fields.items():
        types = (field.annotation, *get_args(field.annotation))
        tables = [found for found in types if isinstance(found, type) and issubclass(found, Config)]
        yield prefix + name
        for table in tables:
            yield from _known_keys(table, f"{prefix}{name}.")


def _nearest(key: str, known: list[str]) -> str | None:
    """The known key most like `key`: in the same table if there is one, else of the same last part, else anywhere."""
    table, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == table}
    elsewhere = {name.rpartition(".")[2]: name for name in reversed(known)}
    for names in (siblings, elsewhere):
        for found in difflib.get_close_matches(last, names, n=1):
            return names[found]
    return next(iter(difflib.get_close_matches(key, known, n=1)), None)
