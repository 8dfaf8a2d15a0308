"""Name and shape of every tensor of a model, from its config alone and one by one.

A config that asks for a billion layers costs nothing here, so a file's claims are checked before a model is built.
"""

from __future__ import annotations

from collections.abc import Iterator

from genoformer.config import ConsensusConfig, ExpressionConfig
from genoformer.models.consensus import NUM_STRANDS, NUM_SYMBOLS
from genoformer.models.expression import NUM_BASES

COUNTER = "num_batches_tracked"  # last part of the names of the only tensors that are no floats but int64

BUFFERS = ("running_mean", "running_var", COUNTER)  # last parts of the names of what no gradient changes

Shape = tuple[int, ...]
Shapes = Iterator[tuple[str, Shape]]


def consensus_shapes(config: ConsensusConfig) -> Shapes:
    """Name and shape of every tensor of a consensus model, linear weights as [out, in]."""
    hidden, filters = config.hidden_width, config.filter_width
    yield "base_embedding.weight", (NUM_SYMBOLS, config.base_width)
    yield "pw_embedding.weight", (config.pw_max + 1, config.pw_width)
    yield "ip_embedding.weight", (config.ip_max + 1, config.ip_width)
    yield "strand_embedding.weight", (NUM_STRANDS, config.strand_width)
    if config.use_ccs_quality:
        yield "ccs_quality_embedding.weight", (config.ccs_quality_max, config.ccs_quality_width)
    yield "sn_embedding.weight", (config.sn_max + 1, config.sn_width)
    if config.condenser_width is not None:
        yield "condenser.weight", (config.condenser_width, config.embedding_width)
    for layer in range(config.num_layers):
        for name in ("query", "key", "value", "output"):
            yield f"layers.{layer}.attention.{name}.weight", (hidden, hidden)
        yield f"layers.{layer}.feed_forward.hidden.weight", (filters, hidden)
        yield f"layers.{layer}.feed_forward.hidden.bias", (filters,)
        yield f"layers.{layer}.feed_forward.output.weight", (hidden, filters)
        yield f"layers.{layer}.feed_forward.output.bias", (hidden,)
        for name in ("attention", "feed_forward"):
            if config.rezero:
                yield f"layers.{layer}.{name}_scale", ()
            else:
                yield f"layers.{layer}.{name}_norm.weight", (hidden,)
                yield f"layers.{layer}.{name}_norm.bias", (hidden,)
    yield "final_norm.weight", (hidden,)
    yield "final_norm.bias", (hidden,)
    yield "head.weight", (NUM_SYMBOLS, hidden)
    yield "head.bias", (NUM_SYMBOLS,)


def expression_shapes(config: ExpressionConfig) -> Shapes:
    """Name and shape of every tensor of an expression model, linear weights as [out, in], convolutions' with width."""
    width, features = config.hidden_width, config.num_heads * config.key_width
    yield "stem.convolution.weight", (config.stem_width, NUM_BASES, config.stem_kernel)
    yield "stem.convolution.bias", (config.stem_width,)
    yield from _stage_end("stem", config.stem_width)
    before = config.stem_width
    for stage, after in enumerate(config.tower_widths):
        yield from _conv_block(f"tower.{stage}.convolution", before, (after, before, config.tower_kernel))
        yield from _stage_end(f"tower.{stage}", after)
        before = after
    for layer in range(config.num_layers):
        name = f"layers.{layer}"
        yield from _affine(f"{name}.attention_norm", width)
        yield f"{name}.attention.query.weight", (features, width)
        yield f"{name}.attention.key.weight", (features, width)
        yield f"{name}.attention.value.weight", (config.num_heads * config.value_width, width)
        yield f"{name}.attention.position.weight", (features, config.position_features)
        yield f"{name}.attention.content_bias", (config.num_heads, config.key_width)
        yield f"{name}.attention.position_bias", (config.num_heads, config.key_width)
        yield from _linear(f"{name}.attention.output", (width, config.num_heads * config.value_width))
        yield from _affine(f"{name}.feed_forward_norm", width)
        yield from _linear(f"{name}.feed_forward.hidden", (config.filter_width, width))
        yield from _linear(f"{name}.feed_forward.output", (width, config.filter_width))
    yield from _conv_block("pointwise", width, (config.pointwise_width, width))
    for species, num_tracks in config.heads.items():
        yield from _linear(f"heads.{species}", (num_tracks, config.pointwise_width))


def _stage_end(name: str, width: int) -> Shapes:
    yield from _conv_block(f"{name}.residual", width, (width, width))
    yield f"{name}.pool.logits.weight", (width, width)


def _conv_block(name: str, width: int, weight: Shape) -> Shapes:
    yield from _affine(f"{name}.norm", width)
    yield f"{name}.norm.running_mean", (width,)
    yield f"{name}.norm.running_var", (width,)
    yield f"{name}.norm.{COUNTER}", ()
    yield from _linear(f"{name}.convolution", weight)


def _linear(name: str, weight: Shape) -> Shapes:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _affine(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
