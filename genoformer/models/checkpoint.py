"""Model files: weights, config and origin of one model in one `.safetensors` file.

The layout is safetensors' own, with a single metadata entry `genoformer`: a JSON object of `format_version`, `kind`,
`config`, `sha256` (of config, tensors and tracks), `metadata` (free: the source, notes) and, of an expression model,
`tracks` (by species a list of lists of `_TRACK_FIELDS`). It is a single entry because safetensors orders several at
random, and the same model must give the same bytes. The tensors of each kind are those that `shapes.py` lists.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from genoformer.config import ConsensusConfig, ExpressionConfig, parse_config
from genoformer.errors import CheckpointError, ConfigError, OutputError
from genoformer.genome.track import SUM_STATS, Track, Tracks, numbered_tracks
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.expression import ExpressionTransformer
from genoformer.models.shapes import BUFFERS, COUNTER, Shape, Shapes, consensus_shapes, expression_shapes

FORMAT_VERSION = 1

_ENTRY = "genoformer"
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}

# Of a track, what a prediction needs to be understood; where its coverage lay is left out.
_TRACK_FIELDS: dict[str, tuple[type, ...]] = {
    "identifier": (str,),
    "description": (str,),
    "sum_stat": (str,),
    "scale": (int, float),
    "clip_soft": (int, float, NoneType),
    "clip": (int, float, NoneType),
    "strand_pair": (int,),
}

ModelConfig = ConsensusConfig | ExpressionConfig
Model = ConsensusTransformer | ExpressionTransformer
Device = str | torch.device

_CONFIGS: dict[str, type[ModelConfig]] = {"consensus": ConsensusConfig, "expression": ExpressionConfig}


class Checkpoint(NamedTuple):
    """What a model file holds, or a converter makes."""

    config: ModelConfig
    state_dict: dict[str, torch.Tensor]
    metadata: dict[str, Any]  # what the writer added: "source", "notes", ...
    tracks: Tracks | None = None  # of an expression model

    @property
    def kind(self) -> str:
        """Either "consensus" or "expression"."""
        return _kind(self.config)

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned by gradients."""
        return sum(tensor.numel() for name, tensor in self.state_dict.items() if not name.endswith(BUFFERS))


def save_checkpoint(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, torch.Tensor],
    config: ModelConfig,
    *,
    metadata: Mapping[str, Any] | None = None,
    tracks: Tracks | None = None,
) -> None:
    """Write a model file; it appears whole or not at all, and equal arguments give equal bytes.

    Args:
        state_dict: the tensors of `consensus_shapes` or `expression_shapes`, float32, float16 or bfloat16 (counters
            int64), on any device.
        metadata: JSON values by name, for people and `genoformer model info`.
        tracks: what an expression model's outputs are; None: numbers.
    Raises:
        CheckpointError: tensors or tracks that do not fit the config.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    _check_tensors(path, config, {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()})
    values = config.model_dump(mode="json")
    header: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": _kind(config),
        "config": values,
        "metadata": dict(metadata or {}),
    }
    if isinstance(config, ExpressionConfig):
        header["tracks"] = _track_rows(numbered_tracks(config.heads) if tracks is None else tracks)
        _parse_tracks(path, config, header["tracks"])
    header["sha256"] = _digest(header, tensors)
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
    with _open_safetensors(path) as file:
        header, config = _parse_header(path, (file.metadata() or {}).get(_ENTRY))
        _check_tensors(path, config, {name: _claim(file, name) for name in file.keys()})  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    found = _digest(header, tensors)
    if found != header["sha256"]:
        raise CheckpointError(f"{path}: is damaged: its tensors have digest {found[:12]}; copy or convert it again")
    tracks = _parse_tracks(path, config, header["tracks"]) if isinstance(config, ExpressionConfig) else None
    return Checkpoint(config, tensors, header["metadata"], tracks)


def read_expression_header(path: str | os.PathLike[str]) -> tuple[ExpressionConfig, Tracks]:
    """Config and tracks of an expression model's file, whose tensors are left alone.

    Raises:
        CheckpointError: as `load_checkpoint`, tensors apart, or a model of another kind.
    """
    path = Path(path)
    with _open_safetensors(path) as file:
        header, config = _parse_header(path, (file.metadata() or {}).get(_ENTRY))
    if not isinstance(config, ExpressionConfig):
        raise CheckpointError(f"{path}: holds a consensus model; expected an expression model")
    return config, _parse_tracks(path, config, header["tracks"])


def read_foreign_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of another program's safetensors file.

    Raises:
        CheckpointError: no such file, no safetensors file, or one of ours.
    """
    with _open_safetensors(path) as file:
        if _ENTRY in (file.metadata() or {}):
            raise CheckpointError(f"{path}: is a genoformer model file already; expected that of another program")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def load_model(path: str | os.PathLike[str], device: Device = "cpu") -> Model:
    """The model of a file in evaluation mode on `device`, its weights float32.

    Raises:
        CheckpointError: as `load_checkpoint`, or a config that no model can have.
    """
    checkpoint = load_checkpoint(path)
    try:
        model = _build(checkpoint)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    weights = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in checkpoint.state_dict.items()
    }
    model.load_state_dict(weights, assign=True)
    return model.to(device).eval()


def load_consensus_model(path: str | os.PathLike[str], device: Device = "cpu") -> ConsensusTransformer:
    """`load_model` for what takes consensus models only.

    Raises:
        CheckpointError: as `load_model`, or a model of another kind.
    """
    model = load_model(path, device)
    if not isinstance(model, ConsensusTransformer):
        raise CheckpointError(f"{path}: holds an expression model; expected a consensus model")
    return model


def load_expression_model(path: str | os.PathLike[str], device: Device = "cpu") -> ExpressionTransformer:
    """`load_model` for what takes expression models only.

    Raises:
        CheckpointError: as `load_model`, or a model of another kind.
    """
    model = load_model(path, device)
    if not isinstance(model, ExpressionTransformer):
        raise CheckpointError(f"{path}: holds a consensus model; expected an expression model")
    return model


def _build(checkpoint: Checkpoint) -> Model:
    """A model of the config; a large one gets no random weights, which it would not keep."""
    if isinstance(checkpoint.config, ExpressionConfig):
        with torch.device("meta"):
            return ExpressionTransformer(checkpoint.config, checkpoint.tracks)
    return ConsensusTransformer(checkpoint.config)


def _kind(config: ModelConfig) -> str:
    return "expression" if isinstance(config, ExpressionConfig) else "consensus"


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


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    """A safetensors file to read from; what goes wrong with it is a CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no whole safetensors file ({error}); copy or convert it again") from None


def _parse_header(path: Path, text: str | None) -> tuple[dict[str, Any], ModelConfig]:
    """Our metadata entry, with every member present and of its type, and the config in it."""
    if text is None:
        raise CheckpointError(f"{path}: safetensors of another program; expected a genoformer model file")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata are no JSON ({error}); copy or convert it again") from None
    types = {"format_version": int, "kind": str, "config": dict, "sha256": str, "metadata": dict}
    if isinstance(header, dict) and header.get("kind") == "expression":
        types["tracks"] = dict
    for name, expected in types.items():
        found = header.get(name) if isinstance(header, dict) else None
        if not isinstance(found, expected):
            raise CheckpointError(f"{path}: '{name}' of its metadata is {found!r:.80}; expected {expected.__name__}")
        if name == "format_version" and found != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: has format version {found}, this genoformer reads {FORMAT_VERSION}; "
                "install the genoformer that wrote it, or convert the model again"
            )
    if header["kind"] not in _CONFIGS:
        raise CheckpointError(f"{path}: holds a model of kind '{header['kind']}'; expected {', '.join(_CONFIGS)}")
    try:
        return header, parse_config(_CONFIGS[header["kind"]], header["config"], f"{path}: its config")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _parse_tracks(path: Path, config: ExpressionConfig, rows: dict[str, Any]) -> Tracks:
    """Tracks from the rows of a header, as many for each head as it has outputs."""
    tracks = {}
    for species, num_tracks in config.heads.items():
        found = rows.get(species)
        count = len(found) if isinstance(found, list) else "no list of"
        if not isinstance(found, list) or count != num_tracks:
            raise CheckpointError(f"{path}: has {count} tracks of head '{species}'; its config has {num_tracks}")
        tracks[species] = tuple(_parse_track(path, species, row, num_tracks) for row in found)
    return tracks


def _parse_track(path: Path, species: str, row: Any, num_tracks: int) -> Track:
    is_row = isinstance(row, list) and len(row) == len(_TRACK_FIELDS)
    values = dict(zip(_TRACK_FIELDS, row, strict=True)) if is_row else {}
    is_sound = all(isinstance(values.get(name), types) for name, types in _TRACK_FIELDS.items())
    if not is_sound or values["sum_stat"] not in SUM_STATS or not 0 <= values["strand_pair"] < num_tracks:
        raise CheckpointError(
            f"{path}: a track of head '{species}' is {row!r:.80}; expected {', '.join(_TRACK_FIELDS)}"
        )
    return Track(**values, file="")


def _track_rows(tracks: Tracks) -> dict[str, list[list[Any]]]:
    return {
        species: [[getattr(track, name) for name in _TRACK_FIELDS] for track in found]
        for species, found in tracks.items()
    }


def _claim(file: Any, name: str) -> tuple[torch.dtype | str, Shape]:
    """Dtype and shape of a tensor by the file's header, which is read before any data."""
    claimed = file.get_slice(name)
    dtype = claimed.get_dtype()
    return _DTYPES.get(dtype, dtype), tuple(claimed.get_shape())


def _check_tensors(path: Path, config: ModelConfig, claims: Mapping[str, tuple[torch.dtype | str, Shape]]) -> None:
    """Raise unless `claims` are exactly the tensors of the config; stops at the first that is not.

    A config that asks for a billion layers therefore costs no more than the file it comes with.
    """
    kind, known = _kind(config), set()
    for name, shape in _shapes(config):
        if name not in claims:
            raise CheckpointError(f"{path}: has no tensor '{name}', which its {kind} config asks for")
        dtype, found = claims[name]
        is_counter = name.endswith(COUNTER)
        if found != shape or dtype not in _DTYPES.values() or (dtype == torch.int64) != is_counter:
            raise CheckpointError(
                f"{path}: tensor '{name}' is {dtype} of shape {found}; its config asks for "
                f"{'int64' if is_counter else 'floats'} of {shape}"
            )
        known.add(name)
    extra = sorted(set(claims) - known)
    if extra:
        raise CheckpointError(f"{path}: has {len(extra)} tensors that its {kind} config does not know: {extra[0]}, ...")


def _shapes(config: ModelConfig) -> Shapes:
    return expression_shapes(config) if isinstance(config, ExpressionConfig) else consensus_shapes(config)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of config and tracks as the file has them and of the tensors: safetensors has no checksum of its own."""
    digest = hashlib.sha256(json.dumps(header["config"], sort_keys=True).encode())
    if "tracks" in header:
        digest.update(json.dumps(header["tracks"], sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
