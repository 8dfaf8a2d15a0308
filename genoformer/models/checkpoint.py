"""Model files: weights, config and origin of one model in one `.safetensors` file.

The layout is safetensors' own, with a single metadata entry `genoformer`: a JSON object of `format_version`, `kind`,
`config`, `sha256` (of config and tensors) and `metadata` (free: the source, notes). It is a single entry because
safetensors orders several at random, and the same model must give the same bytes. The tensors of each kind are those
that its `..._shapes` function lists.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from genoformer.config import ConsensusConfig, parse_config
from genoformer.errors import CheckpointError, ConfigError, OutputError, UsageError
from genoformer.models.consensus import NUM_STRANDS, NUM_SYMBOLS, ConsensusTransformer

FORMAT_VERSION = 1

_ENTRY = "genoformer"
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Shape = tuple[int, ...]


class Checkpoint(NamedTuple):
    """What a model file holds."""

    kind: str  # "consensus"
    config: ConsensusConfig
    state_dict: dict[str, torch.Tensor]
    metadata: dict[str, Any]  # what the writer added: "source", "notes", ...


def save_checkpoint(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, torch.Tensor],
    config: ConsensusConfig,
    kind: str = "consensus",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file; it appears whole or not at all, and equal arguments give equal bytes.

    Args:
        state_dict: the tensors of `consensus_shapes`, float32, float16 or bfloat16, on any device.
        metadata: JSON values by name, for people and `genoformer model info`.
    Raises:
        UsageError: an unknown kind.
        CheckpointError: tensors that do not fit the config.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if kind not in _SHAPES:
        raise UsageError(f"model kind is '{kind}'; expected one of {', '.join(_SHAPES)}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    _check_tensors(path, kind, config, {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()})
    values = config.model_dump(mode="json")
    header = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "config": values,
        "sha256": _digest(values, tensors),
        "metadata": dict(metadata or {}),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:  # safetensors' own save_file would make it readable by its owner only
            file.write(save(tensors, {_ENTRY: json.dumps(header, sort_keys=True)}))
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """A model file's content, every tensor on the CPU and checked against the config and the file's own digest.

    Raises:
        CheckpointError: no such file, no safetensors file, not one of ours, of a later format, damaged, or with
            tensors that do not fit its config.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header, config = _parse_header(path, (file.metadata() or {}).get(_ENTRY))
            _check_tensors(path, header["kind"], config, {name: _claim(file, name) for name in file.keys()})  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no whole safetensors file ({error}); copy or convert it again") from None
    found = _digest(header["config"], tensors)
    if found != header["sha256"]:
        raise CheckpointError(f"{path}: is damaged: its tensors have digest {found[:12]}; copy or convert it again")
    return Checkpoint(header["kind"], config, tensors, header["metadata"])


def load_model(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> ConsensusTransformer:
    """The model of a file in evaluation mode on `device`, its weights float32.

    Raises:
        CheckpointError: as `load_checkpoint`, or a config that no model can have.
    """
    checkpoint = load_checkpoint(path)
    try:
        model = ConsensusTransformer(checkpoint.config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model.load_state_dict(checkpoint.state_dict)
    return model.to(device).eval()


def model_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a model file, 64 hexadecimal digits: what a result names as its model.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None


def consensus_shapes(config: ConsensusConfig) -> Iterator[tuple[str, Shape]]:
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


_SHAPES: dict[str, Callable[[ConsensusConfig], Iterator[tuple[str, Shape]]]] = {"consensus": consensus_shapes}


def _parse_header(path: Path, text: str | None) -> tuple[dict[str, Any], ConsensusConfig]:
    """Our metadata entry, with every member present and of its type, and the config in it."""
    if text is None:
        raise CheckpointError(f"{path}: safetensors of another program; expected a genoformer model file")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata are no JSON ({error}); copy or convert it again") from None
    types = {"format_version": int, "kind": str, "config": dict, "sha256": str, "metadata": dict}
    for name, expected in types.items():
        found = header.get(name) if isinstance(header, dict) else None
        if not isinstance(found, expected):
            raise CheckpointError(f"{path}: '{name}' of its metadata is {found!r:.80}; expected {expected.__name__}")
        if name == "format_version" and found != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: has format version {found}, this genoformer reads {FORMAT_VERSION}; "
                "install the genoformer that wrote it, or convert the model again"
            )
    if header["kind"] not in _SHAPES:
        raise CheckpointError(f"{path}: holds a model of kind '{header['kind']}'; expected {', '.join(_SHAPES)}")
    try:
        return header, parse_config(ConsensusConfig, header["config"], f"{path}: its config")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _claim(file: Any, name: str) -> tuple[torch.dtype | str, Shape]:
    """Dtype and shape of a tensor by the file's header, which is read before any data."""
    claimed = file.get_slice(name)
    dtype = claimed.get_dtype()
    return _DTYPES.get(dtype, dtype), tuple(claimed.get_shape())


def _check_tensors(
    path: Path, kind: str, config: ConsensusConfig, claims: Mapping[str, tuple[torch.dtype | str, Shape]]
) -> None:
    """Raise unless `claims` are exactly the tensors of the config; stops at the first that is not.

    A config that asks for a billion layers therefore costs no more than the file it comes with.
    """
    known = set()
    for name, shape in _SHAPES[kind](config):
        if name not in claims:
            raise CheckpointError(f"{path}: has no tensor '{name}', which its {kind} config asks for")
        dtype, found = claims[name]
        if found != shape or dtype not in _DTYPES.values():
            raise CheckpointError(
                f"{path}: tensor '{name}' is {dtype} of shape {found}; its config asks for floats of {shape}"
            )
        known.add(name)
    extra = sorted(set(claims) - known)
    if extra:
        raise CheckpointError(f"{path}: has {len(extra)} tensors that its {kind} config does not know: {extra[0]}, ...")


def _digest(config: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a config as the file has it and of the tensors: safetensors has no checksum of its own."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
