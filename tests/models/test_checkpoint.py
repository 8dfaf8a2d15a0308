import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, OutputError, UsageError
from genoformer.models.checkpoint import consensus_shapes, load_checkpoint, load_model, model_hash, save_checkpoint
from genoformer.models.consensus import ConsensusTransformer

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
def test_the_layout_is_that_of_the_model(variant: dict[str, Any]) -> None:
    config = ConsensusConfig(**TINY | variant)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in ConsensusTransformer(config).state_dict().items()}
    assert dict(consensus_shapes(config)) == expected


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
    kind, loaded_config, loaded, metadata = load_checkpoint(path)
    assert (kind, loaded_config, metadata) == ("consensus", config, {"source": "a test", "notes": ["one"]})
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
    with pytest.raises(CheckpointError, match=text.replace("torch.int64", "I64")):
        load_checkpoint(model_file)


def test_an_unknown_kind(tmp_path: Path, config: ConsensusConfig, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="model kind is 'protein'; expected one of consensus"):
        save_checkpoint(tmp_path / "model", state, config, kind="protein")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 2}, "has format version 2, this genoformer reads 1; install the genoformer that wrote it"),
        ({"format_version": None}, "'format_version' of its metadata is None; expected int"),
        ({"kind": "protein"}, "holds a model of kind 'protein'; expected consensus"),
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
