"""The consensus model: from the pileup rows of a window to a base or a gap at every column.

`ConsensusTransformer` is the model to read, train and save. `prepare_for_inference` turns it into a
`ConsensusPredictor`, which computes the same function faster and for inference only.
"""

from __future__ import annotations

import copy
import functools
import logging
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.config import ConsensusConfig
from genoformer.errors import ConfigError, DataError, UsageError
from genoformer.nn.attention import attention, choose_backend
from genoformer.nn.blocks import NORM_EPS, EncoderLayer
from genoformer.nn.linear import FrozenLinear, Linear
from genoformer.nn.positions import sinusoidal_positions

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]

NUM_SYMBOLS = 5  # gap, A, T, C, G: the original's order, so that its weights load
NUM_STRANDS = 3  # absent, forward, reverse
CPU_TILE = 32  # windows that are computed together on a CPU

_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Feature:
    """Rows start .. stop of a pileup window and how a value becomes the index of an embedding.

    index = value + shift, where there is a cap of a value of -shift .. cap; fractions are cut off.
    """

    table: str
    start: int
    stop: int
    cap: int | None = None
    shift: int = 0


def pileup_features(config: ConsensusConfig) -> tuple[Feature, ...]:
    """The features of a pileup window from its first row to its last.

    Source: DeepConsensus v1.2, `data_providers.get_indices` and `format_rows`.
    """
    passes, ccs = config.max_passes, 4 * config.max_passes
    features = [
        Feature("base", 0, passes),
        Feature("pw", passes, 2 * passes, cap=config.pw_max),
        Feature("ip", 2 * passes, 3 * passes, cap=config.ip_max),
        Feature("strand", 3 * passes, ccs),
        Feature("base", ccs, ccs + 1),
    ]
    if config.use_ccs_quality:
        features.append(Feature("ccs_quality", ccs + 1, ccs + 2, config.ccs_quality_cap, shift=1))  # a gap is -1
    features.append(Feature("sn", config.num_rows - 4, config.num_rows, cap=config.sn_max))
    return tuple(features)


def embed_pileup(rows: Tensor, features: tuple[Feature, ...], tables: dict[str, Tensor]) -> Tensor:
    """Every pileup column as the embeddings of its values, side by side.

    Args:
        rows: [B, R, L], any real dtype, raw values.
        tables: by feature, [num_values, width]; entry 0 is what an absent value embeds to.
    Returns:
        [B, L, embedding width], dtype of the tables.
    Raises:
        DataError: on a CPU, a base, strand or quality without an entry in its table.
    """
    columns = rows.transpose(1, 2)  # [B, L, R]
    parts = []
    for feature in features:
        values = columns[..., feature.start : feature.stop].to(torch.int64)  # [B, L, rows]
        capped = values if feature.cap is None else values.clamp(-feature.shift, feature.cap)
        index = capped + feature.shift
        try:
            parts.append(F.embedding(index, tables[feature.table]).flatten(2))  # [B, L, rows * width]
        except IndexError:
            last = len(tables[feature.table]) - 1 - feature.shift
            raise DataError(
                f"pileup rows {feature.start} to {feature.stop - 1} hold {feature.table} values from "
                f"{values.min()} to {values.max()}; expected {-feature.shift} to {last}"
            ) from None
    return torch.cat(parts, dim=-1)  # [B, L, embedding width]


class ConsensusTransformer(nn.Module):
    """A gap-aware encoder over pileup rows.

    Source:
        Baid et al. 2023 (DeepConsensus) and its code, v0.1 to v1.2: the config holds what changed between them.
        One deviation: an odd width is refused where the original appends a column of zeros.
    """

    positions: Tensor  # [L, D]

    def __init__(self, config: ConsensusConfig) -> None:
        super().__init__()
        width = config.hidden_width
        if width % 2 or width % config.num_heads:
            raise ConfigError(f"the layers are {width} wide; expected an even multiple of num_heads={config.num_heads}")
        self.config = config
        self.features = pileup_features(config)
        self.base_embedding = _embedding(NUM_SYMBOLS, config.base_width)
        self.pw_embedding = _embedding(config.pw_max + 1, config.pw_width)
        self.ip_embedding = _embedding(config.ip_max + 1, config.ip_width)
        self.strand_embedding = _embedding(NUM_STRANDS, config.strand_width)
        if config.use_ccs_quality:
            self.ccs_quality_embedding = _embedding(config.ccs_quality_max, config.ccs_quality_width)
        self.sn_embedding = _embedding(config.sn_max + 1, config.sn_width)
        if config.condenser_width is not None:
            self.condenser = Linear(config.embedding_width, width, bias=False)
            nn.init.xavier_uniform_(self.condenser.weight)
        self.layers = nn.ModuleList(
            EncoderLayer(
                width,
                config.num_heads,
                config.filter_width,
                rezero=config.rezero,
                window=config.attention_window,
                attention_dropout=config.attention_dropout,
                relu_dropout=config.relu_dropout,
                residual_dropout=config.residual_dropout,
            )
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = Linear(width, NUM_SYMBOLS)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("positions", sinusoidal_positions(config.window_length, width), persistent=False)

    def tables(self) -> dict[str, Tensor]:
        """The embeddings as they are looked up: times sqrt(width), and zero for index 0, which is never learned."""
        found = {}
        for name in {feature.table for feature in self.features}:
            weight: Tensor = getattr(self, f"{name}_embedding").weight
            learned = weight[1:] * weight.shape[1] ** 0.5
            found[name] = torch.cat([learned.new_zeros(1, weight.shape[1]), learned])  # [num_values, width]
        return found

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of gap, A, T, C, G at every column.

        Args:
            rows: [B, R, L], any real dtype: the raw values of the pileup, which are capped and cut to integers here.
        Returns:
            [B, L, 5].
        Raises:
            UsageError: rows of another shape than the config's.
            DataError: on a CPU, a base, strand or quality out of range.
        """
        check_rows(rows, self.config)
        x = embed_pileup(rows, self.features, self.tables())  # [B, L, embedding width]
        if self.config.condenser_width is not None:
            x = self.condenser(x)  # [B, L, D]
        x = F.dropout(x + self.positions, self.config.residual_dropout, self.training)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.final_norm(x))  # [B, L, 5]


def _embedding(num_values: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(num_values, width)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    return embedding


def check_rows(rows: Tensor, config: ConsensusConfig) -> None:
    """Nothing, for rows of the shape [B, R, L] that the config describes.

    Raises:
        UsageError: another shape.
    """
    expected = (config.num_rows, config.window_length)
    if rows.dim() != 3 or tuple(rows.shape[1:]) != expected:
        raise UsageError(
            f"pileup rows have shape {tuple(rows.shape)}; expected (windows, {expected[0]}, {expected[1]}) by the "
            "model's max_passes, use_ccs_quality and window_length"
        )


def base_probs(logits: Tensor) -> Tensor:
    """Probabilities of gap, A, T, C, G; logits and result [B, L, 5], result float32."""
    return torch.softmax(logits.float(), dim=-1)


def call_bases(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest symbol of every column and the probability that it is wrong.

    Args:
        logits: [B, L, 5], any float dtype.
    Returns:
        codes, uint8 [B, L]: 0 gap, 1 A, 2 T, 3 C, 4 G; error_prob, float32 [B, L].
    """
    best, codes = base_probs(logits).max(dim=-1)  # [B, L]
    return codes.to(torch.uint8), 1.0 - best


def prepare_for_inference(
    model: ConsensusTransformer, precision: Precision = "fp32", *, tile: int | None = CPU_TILE
) -> ConsensusPredictor:
    """The model as a fast callable from pileup rows to logits, on the model's device; `model` stays as it is.

    Args:
        precision: "fp32", or "bf16" for weights and matrix products in bfloat16 with the residual stream, softmax,
            LayerNorm and head in float32.
        tile: on a CPU, how many windows are computed together. Every tile has this size, the last one filled up
            with empty windows, so a window's logits depend neither on its neighbours nor on the batch size.
            Batches that are multiples of it waste nothing. On a GPU the whole batch is computed at once.
    Raises:
        UsageError: another precision, or a tile below 1.
    """
    if precision not in _DTYPES:
        raise UsageError(f"precision is '{precision}'; expected one of {', '.join(_DTYPES)}")
    if tile is not None and tile < 1:
        raise UsageError(f"tile is {tile}; expected at least 1 window")
    predictor = ConsensusPredictor(model, precision, tile if model.positions.device.type == "cpu" else None)
    logger.info(
        "inference in %s on %s: linear maps by %s%s, attention by %s",
        precision,
        predictor.device,
        predictor.linear_backend,
        f" ({predictor.linear_refusal})" if predictor.linear_refusal else "",
        predictor.attention_backend,
    )
    return predictor


class ConsensusPredictor:
    """A consensus model that only predicts, with weights of its own; made by `prepare_for_inference`.

    Attributes:
        precision: "fp32" or "bf16".
        device: where the logits will be.
        tile: windows that are computed together; None: as many as come.
        linear_backend: "onednn" or "torch"; linear_refusal: why not "onednn". See `FrozenLinear`.
        attention_backend: see `choose_backend`.
    """

    @torch.no_grad()
    def __init__(self, model: ConsensusTransformer, precision: Precision, tile: int | None) -> None:
        dtype, length = _DTYPES[precision], model.config.window_length
        num_rows = (tile or 1) * length
        self.config, self.precision, self.tile = model.config, precision, tile
        self.device = model.positions.device
        self._features = model.features
        self._tables = {name: table.to(dtype) for name, table in model.tables().items()}
        condensed = model.config.condenser_width is not None
        self._condenser = _freeze(model.condenser.weight, dtype=dtype, num_rows=num_rows) if condensed else None
        self._positions = model.positions.clone()
        self._layers = [_FrozenLayer(cast(EncoderLayer, layer), dtype, num_rows) for layer in model.layers]
        self._norm, self._head = copy.deepcopy(model.final_norm), copy.deepcopy(model.head)
        self.linear_backend, self.linear_refusal = self._layers[0].qkv.backend, self._layers[0].qkv.refusal
        heads = torch.empty(1, 1, length, model.config.hidden_width // model.config.num_heads, dtype=dtype)
        self.attention_backend = choose_backend(heads.to(self.device), heads)

    @torch.inference_mode()
    def __call__(self, rows: Tensor | np.ndarray) -> Tensor:
        """Logits of gap, A, T, C, G at every column, as `ConsensusTransformer.forward`.

        Args:
            rows: [B, R, L], any real dtype, on any device.
        Returns:
            [B, L, 5], float32, on the model's device.
        """
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
        check_rows(rows, self.config)
        if self.tile is None:
            return self._logits(rows.to(self.device))
        logits = torch.empty(len(rows), self.config.window_length, NUM_SYMBOLS)  # [B, L, 5]
        for start in range(0, len(rows), self.tile):
            windows = rows[start : start + self.tile]
            num_windows = len(windows)
            if num_windows < self.tile:
                windows = F.pad(windows, (0, 0, 0, 0, 0, self.tile - num_windows))  # [tile, R, L]
            logits[start : start + num_windows] = self._logits(windows)[:num_windows]
        return logits

    def _logits(self, rows: Tensor) -> Tensor:
        x = embed_pileup(rows, self._features, self._tables)  # [B, L, embedding width]
        x = x if self._condenser is None else self._condenser(x)  # [B, L, D]
        x = x + self._positions  # float32 from here on
        for layer in self._layers:
            layer.add_to_(x)
        return self._head(self._norm(x))  # [B, L, 5]


class _FrozenLayer:
    """An `EncoderLayer` for inference: one projection for query, key and value, ReZero's scales in the weights."""

    def __init__(self, layer: EncoderLayer, dtype: torch.dtype, num_rows: int) -> None:
        freeze = functools.partial(_freeze, dtype=dtype, num_rows=num_rows)
        heads, network = layer.attention, layer.feed_forward
        self.num_heads, self.window, self.dtype = heads.num_heads, heads.window, dtype
        self.attention_norm = None if layer.rezero else copy.deepcopy(layer.attention_norm)
        self.feed_forward_norm = None if layer.rezero else copy.deepcopy(layer.feed_forward_norm)
        scales = (layer.attention_scale, layer.feed_forward_scale) if layer.rezero else (1.0, 1.0)
        self.qkv = freeze(torch.cat([heads.query.weight, heads.key.weight, heads.value.weight]))  # [3D, D]
        self.mix = freeze(heads.output.weight * scales[0])
        self.hidden = freeze(network.hidden.weight, network.hidden.bias, relu=True)
        self.output = freeze(network.output.weight * scales[1], network.output.bias * scales[1])

    def add_to_(self, x: Tensor) -> None:
        """Adds the layer's two updates to x [B, L, D], float32."""
        y = x if self.attention_norm is None else self.attention_norm(x)
        projected = self.qkv(y.to(self.dtype)).unflatten(-1, (3, self.num_heads, -1))  # [B, L, 3, H, K]
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, H, L, K]
        mixed = attention(query, key, value, window=self.window).transpose(1, 2)  # [B, L, H, K]
        x += self.mix(mixed.flatten(2))  # [B, L, D]
        y = x if self.feed_forward_norm is None else self.feed_forward_norm(x)
        x += self.output(self.hidden(y.to(self.dtype)))  # [B, L, D]


def _freeze(
    weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype, num_rows: int, relu: bool = False
) -> FrozenLinear:
    return FrozenLinear(weight.to(dtype), None if bias is None else bias.to(dtype), num_rows=num_rows, relu=relu)
