import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import genoformer
from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, OutputError, UsageError
from genoformer.genome.track import Track, numbered_tracks
from genoformer.models.checkpoint import (
    load_checkpoint,
    load_consensus_model,
    load_expression_model,
    load_model,
    model_hash,
    read_expression_header,
    save_checkpoint,
)
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.expression import ExpressionTransformer
from genoformer.models.shapes import consensus_shapes
from tests.expression_reference import TINY as TINY_EXPRESSION
from tests.expression_reference import random_sequence, random_weights_

TINY: dict[str, Any] = {
    "max_passes": 2,
    "window_length": 6,
    "pw_max": 3,
    "ip_max": 4,
    "sn_max": 5,
    "ccs_quality_max": 7,
    "base_width": 2,
    "pw_width": 3,
    "ip_width": 4,
    "strand_width": 1,
    "ccs_quality_width": 2,
    "sn_width": 2,
    "condenser_width": 8,
    "num_layers": 2,
    "filter_width": 5,
    "attention_window": 1,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"rezero": False},
    {"use_ccs_quality": True},
    {"condenser_width": None, "rezero": False, "attention_window": None},
    {"num_layers": 1, "num_heads": 4},
]


@pytest.fixture
def config() -> ConsensusConfig:
    return ConsensusConfig(**TINY)


@pytest.fixture
def state(config: ConsensusConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return ConsensusTransformer(config).state_dict()


@pytest.fixture
def model_file(tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, state, config, metadata={"source": "a test"})
    return path


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def join(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit(path: Path, **changes: Any) -> None:
    """Rewrite members of our metadata entry; None removes one."""
    header, data = split(path)
    entry = json.loads(header["__metadata__"]["genoformer"]) | changes
    entry = {name: value for name, value in entry.items() if value is not None}
    header["__metadata__"]["genoformer"] = json.dumps(entry)
    join(path, header, data)


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(tmp_path: Path, variant: dict[str, Any]) -> None:
    config = ConsensusConfig(**TINY | variant | {"calibration": "0,1.25,-0.5"})
    torch.manual_seed(1)
    model = ConsensusTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))  # ReZero's scales start at 0, where layers do nothing
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model.state_dict(), config, metadata={"source": "a test", "notes": ["one"]})
    found = load_checkpoint(path)
    loaded_config, loaded, metadata, tracks = found
    assert (found.kind, loaded_config, tracks) == ("consensus", config, None)
    assert metadata == {"source": "a test", "notes": ["one"]}
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())

    rows = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (2, config.num_rows, 6)).astype(np.float32))
    reloaded = load_model(path)
    assert not reloaded.training
    with torch.no_grad():
        assert torch.equal(reloaded(rows), model(rows))


def test_half_precision_is_kept_and_loads_as_float32(tmp_path: Path, config: ConsensusConfig) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        state = {name: torch.full(shape, 0.5, dtype=dtype) for name, shape in consensus_shapes(config)}
        save_checkpoint(tmp_path / "half", state, config)
        assert {tensor.dtype for tensor in load_checkpoint(tmp_path / "half").state_dict.values()} == {dtype}
        assert {tensor.dtype for tensor in load_model(tmp_path / "half").state_dict().values()} == {torch.float32}


def test_equal_models_give_equal_bytes(
    tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor], model_file: Path
) -> None:
    for index in range(5):
        other = tmp_path / f"{index}.safetensors"
        save_checkpoint(other, dict(reversed(state.items())), config, metadata={"source": "a test"})
        assert other.read_bytes() == model_file.read_bytes()
    assert model_hash(model_file) == hashlib.sha256(model_file.read_bytes()).hexdigest()
    state["head.bias"] = state["head.bias"] + 1
    save_checkpoint(other, state, config, metadata={"source": "a test"})
    assert model_hash(other) != model_hash(model_file)


def test_the_file_is_replaced_as_a_whole_or_not_at_all(
    tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor], model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = model_file.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match=r"model\.safetensors: cannot be written: No space left on device"):
        save_checkpoint(model_file, state, config)
    assert model_file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [model_file]


def test_a_folder_that_is_not_there(tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        save_checkpoint(tmp_path / "no" / "model.safetensors", state, config)


def test_the_file_has_the_rights_that_the_umask_leaves(model_file: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert model_file.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("condenser.weight"), "has no tensor 'condenser.weight', which its consensus config"),
        (lambda state: state.update(more=torch.zeros(1)), "1 tensors that its consensus config does not know: more"),
        (
            lambda state: state.update({"head.weight": torch.zeros(8, 5)}),
            r"'head.weight' is torch.float32 of shape \(8, 5\); its config asks for floats of \(5, 8\)",
        ),
        (lambda state: state.update({"head.bias": torch.zeros(5, dtype=torch.int64)}), "'head.bias' is torch.int64"),
    ],
)
def test_tensors_that_do_not_fit_are_neither_written_nor_loaded(
    tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor], model_file: Path, change: Any, text: str
) -> None:
    header, _ = split(model_file)
    change(state)
    with pytest.raises(CheckpointError, match=text):
        save_checkpoint(tmp_path / "other", state, config)
    assert not (tmp_path / "other").exists()
    safetensors.torch.save_file(state, model_file, header["__metadata__"])
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(model_file)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 2}, "has format version 2, this genoformer reads 1; install the genoformer that wrote it"),
        ({"format_version": None}, "'format_version' of its metadata is None; expected int"),
        ({"kind": "protein"}, "holds a model of kind 'protein'; expected consensus, expression"),
        ({"config": [1]}, r"'config' of its metadata is \[1\]; expected dict"),
        ({"config": {"num_layer": 2}}, "its config: unknown key 'num_layer'; did you mean 'num_layers'?"),
        ({"config": {"num_layers": 0}}, "its config: num_layers is 0"),
        ({"config": TINY | {"num_layers": 10**12}}, "has no tensor 'layers.2.attention.query.weight'"),
        ({"config": TINY | {"filter_width": 10**15}}, r"its config asks for floats of \(1000000000000000, 8\)"),
        ({"config": TINY}, "is damaged: its tensors have digest"),  # equal in meaning, not what was signed
        ({"sha256": "0" * 64}, "is damaged: its tensors have digest"),
    ],
)
def test_metadata_that_are_refused(model_file: Path, changes: dict[str, Any], text: str) -> None:
    edit(model_file, **changes)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_checkpoint(model_file)
    assert str(caught.value).startswith(str(model_file))


@pytest.mark.parametrize("entry", ["no json", "[" * 100_000, "[]", "3"])
def test_metadata_of_another_form(model_file: Path, entry: str) -> None:
    header, data = split(model_file)
    header["__metadata__"]["genoformer"] = entry
    join(model_file, header, data)
    with pytest.raises(CheckpointError, match="its metadata"):
        load_checkpoint(model_file)


def test_a_config_that_no_model_can_have(
    config: ConsensusConfig, state: dict[str, torch.Tensor], model_file: Path
) -> None:
    save_checkpoint(model_file, state, config.model_copy(update={"num_heads": 3}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the layers are 8 wide"):
        load_model(model_file)


def test_files_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="safetensors of another program; expected a genoformer model file"):
        load_checkpoint(path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"no whole safetensors file \(.*\); copy or convert it again"):
        load_checkpoint(path)
    for content in (b"", b"x", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no whole safetensors file"):
            load_checkpoint(path)


def test_no_file(tmp_path: Path) -> None:
    for load in (load_checkpoint, model_hash):
        with pytest.raises(CheckpointError, match=r"none: cannot be read: .*No such file"):
            load(tmp_path / "none")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load(tmp_path)


def test_every_damage_is_found(model_file: Path) -> None:
    rng = np.random.default_rng(3)
    whole = model_file.read_bytes()
    for length in rng.integers(0, len(whole), 40):
        model_file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=str(model_file)):
            load_checkpoint(model_file)
    refused = 0
    for bit in rng.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        model_file.write_bytes(damaged)
        try:
            found = load_checkpoint(model_file)
        except CheckpointError:
            refused += 1
        else:
            assert found.metadata != {"source": "a test"}  # the only part that is not signed
    assert refused > 290


TRACKS = {
    "human": (
        Track("a+", "RNA:x", "", "sum_sqrt", 0.01, 384.0, 768.0, 1),
        Track("a-", "RNA:x", "", "sum_sqrt", 0.01, 384.0, 768.0, 0),
        Track("c", "CAGE:y", "", "mean", 2.0, None, None, 2),
    ),
    **numbered_tracks({"fly": 2}),
}
ROW = ["c", "CAGE:y", "mean", 2.0, None, None, 0]


@pytest.fixture
def expression_model() -> ExpressionTransformer:
    return random_weights_(ExpressionTransformer(TINY_EXPRESSION, TRACKS)).eval()


@pytest.fixture
def expression_file(tmp_path: Path, expression_model: ExpressionTransformer) -> Path:
    path = tmp_path / "expression.safetensors"
    save_checkpoint(path, expression_model.state_dict(), TINY_EXPRESSION, metadata={"source": "a"}, tracks=TRACKS)
    return path


def test_round_trip_of_an_expression_model(expression_file: Path, expression_model: ExpressionTransformer) -> None:
    found = load_checkpoint(expression_file)
    assert (found.kind, found.config, found.tracks) == ("expression", TINY_EXPRESSION, TRACKS)
    assert found.num_parameters == sum(parameter.numel() for parameter in expression_model.parameters())
    assert found.state_dict.keys() == expression_model.state_dict().keys()
    assert all(torch.equal(found.state_dict[name], t) for name, t in expression_model.state_dict().items())
    model = load_model(expression_file)
    assert isinstance(model, ExpressionTransformer)
    assert not model.training
    assert model.tracks == TRACKS
    assert all(parameter.requires_grad for parameter in model.parameters())
    sequence = random_sequence(2, 96)
    with torch.no_grad():
        expected = expression_model(sequence)
        assert all(torch.equal(tracks, expected[name]) for name, tracks in model(sequence).items())
    model.pointwise.norm.running_mean.add_(1)  # the weights are the model's own, not the file's
    assert torch.equal(load_checkpoint(expression_file).state_dict["pointwise.norm.running_mean"],
                       found.state_dict["pointwise.norm.running_mean"])  # fmt: skip


def test_tracks_without_names(tmp_path: Path, expression_model: ExpressionTransformer) -> None:
    save_checkpoint(tmp_path / "m", expression_model.state_dict(), TINY_EXPRESSION)
    tracks = load_checkpoint(tmp_path / "m").tracks
    assert tracks is not None
    assert [track.identifier for track in tracks["human"]] == ["0", "1", "2"]


def test_models_of_the_other_kind(model_file: Path, expression_file: Path) -> None:
    assert load_consensus_model(model_file).config.num_layers == 2
    assert load_expression_model(expression_file).config == TINY_EXPRESSION
    with pytest.raises(CheckpointError, match=r"safetensors: holds an expression model; expected a consensus model"):
        load_consensus_model(expression_file)
    with pytest.raises(CheckpointError, match=r"safetensors: holds a consensus model; expected an expression model"):
        load_expression_model(model_file)
    with pytest.raises(CheckpointError, match=r"safetensors: holds a consensus model; expected an expression model"):
        read_expression_header(model_file)


def test_a_header_is_read_without_the_tensors(expression_file: Path) -> None:
    checkpoint = load_checkpoint(expression_file)
    assert read_expression_header(expression_file) == (checkpoint.config, checkpoint.tracks)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tracks": None}, "'tracks' of its metadata is None; expected dict"),
        ({"tracks": {}}, "is damaged"),
        ({"tracks": {"human": [ROW] * 3, "fly": [ROW] * 2}}, "is damaged"),
        ({"kind": "consensus"}, "its config: unknown key 'gamma_over'"),
        ({"config": TINY_EXPRESSION.model_dump() | {"window_bp": 1 << 40}}, "the window has 137438953472 bins"),
        ({"config": TINY_EXPRESSION.model_dump() | {"heads": {"a.b": 1}}}, "its config: heads.a.b"),
        ({"config": TINY_EXPRESSION.model_dump() | {"num_layers": 10**12}}, "has no tensor 'layers.2.attention_norm"),
    ],
)
def test_expression_metadata_that_are_refused(expression_file: Path, changes: dict[str, Any], text: str) -> None:
    edit(expression_file, **changes)
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(expression_file)


@pytest.mark.parametrize(
    ("tracks", "text"),
    [
        ({"human": TRACKS["human"]}, "has no list of tracks of head 'fly'; its config has 2"),
        (TRACKS | numbered_tracks({"human": 1}), "has 1 tracks of head 'human'; its config has 3"),
        (
            TRACKS
            | {"fly": TRACKS["human"][:2]}
            | {"human": (*TRACKS["fly"], replace(TRACKS["fly"][0], strand_pair=3))},
            r"a track of head 'human' is \['0', '', 'sum', 1.0, None, None, 3\]; expected identifier, desc",
        ),
        (TRACKS | {"fly": [replace(TRACKS["fly"][0], sum_stat="mode")] * 2}, "a track of head 'fly' is .*'mode'"),
        (TRACKS | {"fly": [replace(TRACKS["fly"][0], clip="x")] * 2}, "a track of head 'fly' is .*'x'"),
    ],
)
def test_tracks_that_do_not_fit(
    tmp_path: Path, expression_model: ExpressionTransformer, tracks: Any, text: str
) -> None:
    with pytest.raises(CheckpointError, match=text):
        save_checkpoint(tmp_path / "m", expression_model.state_dict(), TINY_EXPRESSION, tracks=tracks)
    assert not (tmp_path / "m").exists()


def test_counters_are_whole_numbers(tmp_path: Path, expression_model: ExpressionTransformer) -> None:
    state = expression_model.state_dict()
    state["pointwise.norm.num_batches_tracked"] = torch.zeros(())
    with pytest.raises(CheckpointError, match=r"num_batches_tracked' is torch.float32 .* int64 of \(\)"):
        save_checkpoint(tmp_path / "m", state, TINY_EXPRESSION)


def test_the_package_itself_loads_models(expression_file: Path) -> None:
    assert genoformer.load_model(expression_file).tracks == TRACKS
    assert isinstance(genoformer.load_model("consensus-tiny"), ConsensusTransformer)
    with pytest.raises(UsageError, match=r"the model is 'consensus-tny'; expected a .safetensors file"):
        genoformer.load_model("consensus-tny")
    code = "import sys, genoformer; sys.exit(str({'torch', 'numpy', 'pydantic'} & set(sys.modules) or 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "0"
