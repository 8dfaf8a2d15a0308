"""Configurations of models, validated and frozen: unknown keys are errors, never ignored."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genoformer.errors import ConfigError
from genoformer.wording import near_hint

Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
MAX_BINS = 1 << 14

Species = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]*$")]  # also the name of a module


class Config(BaseModel):
    """Base of all configurations: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ConfigT = TypeVar("ConfigT", bound=Config)


class ConsensusConfig(Config):
    """Shape of a consensus model and of the pileup windows that it reads.

    The defaults are those of DeepConsensus v1.2 without the CCS quality row.
    """

    max_passes: Annotated[int, Field(ge=1, le=255)] = 20  # subreads shown to the model
    window_length: Annotated[int, Field(ge=1, le=4096)] = 100  # spaced pileup columns
    window_padding: Annotated[int, Field(ge=0)] = 0  # of those, columns left empty at the end (20 of 120 in v0.x)
    use_ccs_quality: bool = False  # one more row: the CCS base qualities

    pw_max: Annotated[int, Field(ge=1, le=255)] = 255  # cap on pulse width codes
    ip_max: Annotated[int, Field(ge=1, le=255)] = 255  # cap on inter-pulse duration codes
    sn_max: Annotated[int, Field(ge=1, le=32767)] = 500  # cap on signal-to-noise ratios
    ccs_quality_cap: Annotated[int, Field(ge=0, le=93)] | None = None  # cap on CCS qualities; None: as they are
    ccs_quality_max: Annotated[int, Field(ge=1, le=254)] = 95  # entries of the quality embedding: -1 (gap) to 93

    base_width: Count = 8
    pw_width: Count = 8
    ip_width: Count = 8
    strand_width: Count = 2
    ccs_quality_width: Count = 8
    sn_width: Count = 8

    condenser_width: Count | None = 280  # None: the layers are as wide as the embedded pileup
    num_layers: Count = 6
    num_heads: Count = 2
    filter_width: Count = 2048
    rezero: bool = True  # False: pre-norm layers
    attention_window: Annotated[int, Field(ge=0)] | None = 12  # None: every column attends to every other

    attention_dropout: Dropout = 0.1
    relu_dropout: Dropout = 0.1
    residual_dropout: Dropout = 0.1

    calibration: str | None = None  # "threshold,w,b" on the predicted Phred; None: as predicted

    @model_validator(mode="after")
    def _check_padding(self) -> Self:
        if self.window_padding >= self.window_length:
            raise ValueError(f"window_padding must be below window_length, {self.window_length}")
        return self

    @model_validator(mode="after")
    def _check_quality_cap(self) -> Self:
        if self.ccs_quality_cap is not None and self.ccs_quality_cap + 2 > self.ccs_quality_max:
            raise ValueError(f"ccs_quality_cap must be at most ccs_quality_max - 2, {self.ccs_quality_max - 2}")
        return self

    @property
    def num_rows(self) -> int:
        """Rows of a pileup window: 4 a pass, CCS, [CCS quality], 4 SN."""
        return 4 * self.max_passes + 5 + int(self.use_ccs_quality)

    @property
    def embedding_width(self) -> int:
        """Width of one embedded pileup column before the condenser."""
        per_pass = self.base_width + self.pw_width + self.ip_width + self.strand_width
        ccs = self.base_width + (self.ccs_quality_width if self.use_ccs_quality else 0)
        return self.max_passes * per_pass + ccs + 4 * self.sn_width

    @property
    def hidden_width(self) -> int:
        """Width of the layers."""
        return self.condenser_width or self.embedding_width


class ExpressionConfig(Config):
    """Shape of an expression model and of the sequences that it reads.

    The defaults are those of the published Enformer.
    """

    window_bp: Count = 196_608  # of the sequence that a prediction is made from
    target_bins: Count = 896  # bins in its middle that are predicted
    heads: Annotated[dict[Species, Count], Field(min_length=1)] = {"human": 5313, "mouse": 1643}  # tracks by species

    stem_width: Count = 768
    stem_kernel: Count = 15  # bp
    tower_widths: Annotated[tuple[Count, ...], Field(max_length=15)] = (768, 896, 1024, 1152, 1280, 1536)  # per stage
    tower_kernel: Annotated[int, Field(ge=3)] = 5  # positions

    num_layers: Annotated[int, Field(ge=0)] = 11
    num_heads: Count = 8
    key_width: Count = 64  # of a head
    value_width: Count = 192  # of a head
    filter_width: Count = 3072
    pointwise_width: Count = 3072  # of what the heads read

    position_features: Annotated[int, Field(ge=6, le=1536, multiple_of=6)] = 192
    position_bins: Annotated[int, Field(ge=1, le=MAX_BINS)] | None = (
        None  # length that the features follow; None: that of the input at hand
    )
    gamma_over: Literal["positions", "features"] = "positions"  # see nn.positions.relative_positions

    attention_dropout: Dropout = 0.05
    position_dropout: Dropout = 0.01
    relu_dropout: Dropout = 0.4
    residual_dropout: Dropout = 0.4
    pointwise_dropout: Dropout = 0.05

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.window_bp % self.bin_bp:
            raise ValueError(f"window_bp is {self.window_bp}; expected a multiple of a bin's {self.bin_bp} bp")
        if not self.target_bins <= self.window_bp // self.bin_bp <= MAX_BINS:
            raise ValueError(
                f"the window has {self.window_bp // self.bin_bp} bins; expected target_bins to {MAX_BINS}, for "
                "positions are compared with all others"
            )
        if self.stem_kernel % 2 == 0 or self.tower_kernel % 2 == 0:
            raise ValueError("stem_kernel and tower_kernel must be odd")
        return self

    @property
    def bin_bp(self) -> int:
        """Length of a bin, in bp: the stem and every stage of the tower halve the sequence."""
        return int(2 ** (1 + len(self.tower_widths)))

    @property
    def reach_bp(self) -> int:
        """How far outside a bin a base can lie and still change what the tower makes of the bin, in bp."""
        reach = 0
        for _ in self.tower_widths:
            reach = 2 * reach + self.tower_kernel // 2
        return 2 * reach + self.stem_kernel // 2

    @property
    def hidden_width(self) -> int:
        """Width of the layers."""
        return (self.stem_width, *self.tower_widths)[-1]


def parse_config(kind: type[ConfigT], values: dict[str, Any], source: str) -> ConfigT:
    """A validated config of `kind` from plain values.

    Args:
        values: keys and values as read from TOML, JSON or metadata.
        source: where they came from, for the error message.
    Raises:
        ConfigError: on the first unknown key (naming the nearest known one) or bad value.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{source}: unknown key '{key}'{near_hint(key, kind.model_fields)}") from None
        if not key:  # values that do not fit each other
            raise ConfigError(f"{source}: {first['msg'].removeprefix('Value error, ')}") from None
        raise ConfigError(f"{source}: {key} is {first['input']!r}: {first['msg']}") from None


def apply_setting_(values: dict[str, Any], setting: str) -> None:
    """Sets one `key.subkey=value` of the option --set in nested tables.

    Args:
        setting: the value is TOML (`3`, `1e-4`, `true`, `["a"]`), or text where it is not.
    Raises:
        ConfigError: no such form, or a subkey of what is no table.
    """
    key, equals, text = setting.partition("=")
    *tables, last = parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {setting}: expected KEY=VALUE or TABLE.KEY=VALUE")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {setting}: '{table}' is a value, not a table")
    values[last] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none: `lamb` needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
