"""Configurations of models, validated and frozen: unknown keys are errors, never ignored."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genoformer.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


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
        key = ".".join(str(part) for part in first["loc"]) or "(whole config)"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, kind.model_fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{source}: unknown key '{key}'{hint}") from None
        raise ConfigError(f"{source}: {key} is {first['input']!r}: {first['msg']}") from None
