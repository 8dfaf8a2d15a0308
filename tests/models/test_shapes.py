"""The listed tensors are those of the models."""

import json
from typing import Any

import pytest
import torch

from genoformer.config import ConsensusConfig, ExpressionConfig
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.expression import ExpressionTransformer
from genoformer.models.shapes import BUFFERS, COUNTER, consensus_shapes, expression_shapes
from tests.expression_reference import TINY as TINY_EXPRESSION
from tests.models.test_checkpoint import TINY, VARIANTS


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_consensus(variant: dict[str, Any]) -> None:
    config = ConsensusConfig(**TINY | variant)
    with torch.device("meta"):
        assert dict(consensus_shapes(config)) == shapes_of(ConsensusTransformer(config))


EXPRESSION_VARIANTS: list[dict[str, Any]] = [
    {},
    {"num_layers": 0},
    {"tower_widths": (), "target_bins": 3},
    {"tower_kernel": 5, "heads": {"yeast": 1}},
]


@pytest.mark.parametrize("variant", EXPRESSION_VARIANTS)
def test_expression(variant: dict[str, Any]) -> None:
    config = TINY_EXPRESSION.model_copy(update=variant)
    with torch.device("meta"):
        model = ExpressionTransformer(config)
    assert dict(expression_shapes(config)) == shapes_of(model)
    assert {name for name, _ in model.named_buffers() if name != "positions"} == {
        name for name, _ in expression_shapes(config) if name.endswith(BUFFERS)
    }
    assert {name for name, tensor in model.state_dict().items() if tensor.dtype == torch.int64} == {
        name for name, _ in expression_shapes(config) if name.endswith(COUNTER)
    }


def test_the_published_enformer_has_the_tensors_of_enformer_pytorch(shared_data) -> None:
    listed = json.loads((shared_data.parent / "design" / "enformer_pytorch_state_dict.json").read_text())
    unique = {name: shape for name, (shape, _) in listed.items() if not name.startswith("_trunk")}
    ours = dict(expression_shapes(ExpressionConfig()))
    assert len(unique) == len(ours) == 287

    def numbers(shapes):
        return sorted(tuple(size for size in shape if size != 1) for shape in shapes)

    assert numbers(ours.values()) == numbers(unique.values())
