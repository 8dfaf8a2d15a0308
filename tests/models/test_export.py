import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, DataError
from genoformer.genome.track import numbered_tracks
from genoformer.models.checkpoint import load_checkpoint, load_model, save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.export import export_model
from genoformer.models.expression import ExpressionTransformer
from tests.expression_reference import TINY as EXPRESSION
from tests.expression_reference import random_weights_

TINY = ConsensusConfig(max_passes=2, window_length=6, num_layers=1, filter_width=8, condenser_width=8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "source.safetensors"
    metadata = {"source": "a test", "notes": ["first"], "step": 7}
    save_checkpoint(path, ConsensusTransformer(TINY).state_dict(), TINY, metadata=metadata)
    return path


@pytest.fixture
def calibration(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    rows = {name: {"calibrated": [q / 2 for q in range(94)]} for name in ("predicted", "copied")}
    content = {"format": "genoformer calibration", "format_version": 1, "fitted_on": {"model": "m"}, **rows}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    return path, content


def test_half_the_bytes_and_the_same_numbers_but_for_rounding(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "half.safetensors"
    export_model(source, output, dtype=torch.float16, notes=("second",))
    half, whole = load_checkpoint(output), load_checkpoint(source)
    assert half.config == whole.config
    assert half.metadata == {"source": "a test", "notes": ["first", "second"], "step": 7}
    for name, tensor in half.state_dict.items():
        assert torch.equal(tensor, whole.state_dict[name].half())
    assert {parameter.dtype for parameter in load_model(output).parameters()} == {torch.float32}


def test_a_calibration_travels_inside(source: Path, tmp_path: Path, calibration: tuple[Path, dict[str, Any]]) -> None:
    output = tmp_path / "half.safetensors"
    path, content = calibration
    export_model(source, output, dtype=torch.float32, calibration=path)
    assert load_checkpoint(output).metadata["calibration"] == content


def test_what_is_no_calibration_is_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"c\.json: is not a calibration"):
        export_model(source, tmp_path / "half.safetensors", dtype=torch.float16, calibration=path)
    assert not (tmp_path / "half.safetensors").exists()


def test_a_weight_that_half_precision_cannot_hold(source: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(source)
    checkpoint.state_dict["condenser.weight"][0, 0] = 1e5
    save_checkpoint(source, checkpoint.state_dict, checkpoint.config)
    with pytest.raises(
        CheckpointError, match=r"source\.safetensors: 'condenser\.weight' has values that torch\.float16"
    ):
        export_model(source, tmp_path / "half.safetensors", dtype=torch.float16)
    export_model(source, tmp_path / "half.safetensors", dtype=torch.bfloat16)


def test_an_expression_model_keeps_its_tracks_and_counters(tmp_path: Path, calibration: tuple[Path, Any]) -> None:
    tracks = numbered_tracks(EXPRESSION.heads)
    save_checkpoint(tmp_path / "m", random_weights_(ExpressionTransformer(EXPRESSION)).state_dict(), EXPRESSION)
    export_model(tmp_path / "m", tmp_path / "half", dtype=torch.float16)
    half = load_checkpoint(tmp_path / "half")
    assert half.tracks == tracks
    assert {tensor.dtype for tensor in half.state_dict.values()} == {torch.float16, torch.int64}
    with pytest.raises(CheckpointError, match="m: holds an expression model, which has no qualities to calibrate"):
        export_model(tmp_path / "m", tmp_path / "other", dtype=torch.float16, calibration=calibration[0])
