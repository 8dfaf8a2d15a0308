"""Names against the listings of the two other programs' tensors."""

import json

import pytest

from genoformer.config import ExpressionConfig
from genoformer.models.enformer_names import (
    name_of_pytorch,
    name_of_sonnet,
    pytorch_alias,
    pytorch_name,
    pytorch_shape,
)
from genoformer.models.shapes import expression_shapes


def test_all_of_enformer_pytorch(shared_data):
    listed = json.loads((shared_data.parent / "design" / "enformer_pytorch_state_dict.json").read_text())
    found = {}
    for name, shape in expression_shapes(ExpressionConfig()):
        key = pytorch_name(name)
        alias = pytorch_alias(key)
        for other in (key, alias) if alias else (key,):
            assert name_of_pytorch(other) == name
            found[other] = list(pytorch_shape(name, shape))
    assert len(found) == 570
    assert found == {key: shape for key, (shape, _) in listed.items()}


def test_all_of_sonnet(shared_data):
    listed = json.loads((shared_data.parent / "design" / "enformer_tf_keymap.json").read_text())["rows"]
    assert len(listed) == 273
    for sonnet, _, pytorch, *_ in listed:
        assert name_of_sonnet(sonnet) == name_of_pytorch(pytorch)
        assert name_of_sonnet(sonnet) is not None


def test_by_hand():
    assert pytorch_name("tower.12.residual.norm.running_var") == "conv_tower.12.1.fn.0.running_var"
    assert pytorch_alias("conv_tower.12.1.fn.0.running_var") == "_trunk.2.12.1.fn.0.running_var"
    assert pytorch_name("heads.fruit_fly.weight") == "_heads.fruit_fly.0.weight"
    assert pytorch_alias("_heads.fruit_fly.0.weight") is None
    assert pytorch_shape("layers.3.attention.content_bias", (8, 64)) == (1, 8, 1, 64)
    counter = "module/_trunk/_layers/4/_layers/0/_layers/0/moving_mean/_counter/.ATTRIBUTES/VARIABLE_VALUE"
    assert name_of_sonnet(counter) == "pointwise.norm.num_batches_tracked"


@pytest.mark.parametrize("key", ["", "stem.0", "stem.0.weight.x", "xstem.0.weight", "_trunk.3.0.weight"])
def test_what_is_no_tensor_of_enformer_pytorch(key):
    assert name_of_pytorch(key) is None


def test_what_is_no_variable_of_sonnet():
    assert name_of_sonnet("module/_heads/human/_layers/0/w") is None
    assert name_of_sonnet("_CHECKPOINTABLE_OBJECT_GRAPH") is None
