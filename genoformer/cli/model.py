"""`genoformer model`: convert models of other programs, export one's own, and show what a model file holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Convert models of other programs, export your own, and show what a model file holds.", no_args_is_help=True
)


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="TensorFlow checkpoint of DeepConsensus or Enformer (its prefix, or the directory of one); "
            "pytorch_model.bin of enformer-pytorch, or the Hugging Face folder of one; with --to, a model file."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.safetensors).")],
    params: Annotated[
        Path | None, typer.Option(help="DeepConsensus: params.json; by default the one beside the checkpoint.")
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(metavar="SPECIES=FILE", help="Enformer: the targets table that names the tracks of a head."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Enformer: a size that its tensors do not tell."),
    ] = None,
    to: Annotated[
        Literal["enformer-pytorch"] | None,
        typer.Option(help="Write a model file in this layout instead: a state dict (.bin) or a Hugging Face folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")] = False,
) -> None:
    """Convert a DeepConsensus (v0.1 to v1.2) or Enformer checkpoint to a model file, without TensorFlow."""
    from genoformer.errors import UsageError

    _check_output(output, force, suffix=".safetensors" if to is None else None)
    if to is None:
        _import(checkpoint, output, params, targets or [], settings or [])
    elif params or targets or settings:
        raise UsageError("--params, --targets and --set are for checkpoints of other programs, not for --to")
    else:
        _write_for_others(checkpoint, output)


def _import(checkpoint: Path, output: Path, params: Path | None, targets: list[str], settings: list[str]) -> None:
    from genoformer.config import apply_setting_
    from genoformer.errors import UsageError
    from genoformer.models.checkpoint import save_checkpoint
    from genoformer.models.convert import ConvertOptions, convert

    values: dict[str, Any] = {}
    for setting in settings:
        apply_setting_(values, setting)
    tables: dict[str, Path] = {}
    for text in targets:
        species, equals, path = text.partition("=")
        if not (species and equals and path) or species in tables:
            raise UsageError(f"--targets {text}: expected SPECIES=FILE, once for each species")
        tables[species] = Path(path)
    converted = convert(checkpoint, ConvertOptions(params, tables, values))
    config, metadata = converted.config, converted.metadata
    save_checkpoint(output, converted.state_dict, config, metadata=metadata, tracks=converted.tracks)
    for note in metadata["notes"]:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {output}: {converted.num_parameters:,} parameters from {metadata['source']}", err=True)


def _write_for_others(checkpoint: Path, output: Path) -> None:
    from genoformer.models.checkpoint import load_checkpoint
    from genoformer.models.export_enformer import save_enformer_pytorch

    save_enformer_pytorch(load_checkpoint(checkpoint), output)
    typer.echo(f"wrote {output} in the layout of enformer-pytorch", err=True)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors), as training writes it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.safetensors).")],
    dtype: Annotated[Literal["fp16", "bf16", "fp32"], typer.Option(help="Type of the weights in the file.")] = "fp16",
    calibration: Annotated[
        Path | None,
        typer.Option(help="File of 'consensus calibrate', which 'correct' then applies to what this model predicts."),
    ] = None,
    note: Annotated[list[str] | None, typer.Option(help="For people: 'model info' shows it. Repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")] = False,
) -> None:
    """Write a trained model for others: smaller weights, with the calibration of its qualities inside."""
    import torch

    from genoformer.models.export import export_model

    _check_output(output, force)
    types = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    export_model(model, output, dtype=types[dtype], calibration=calibration, notes=tuple(note or ()))
    typer.echo(f"wrote {output}: {output.stat().st_size:,} bytes", err=True)


def _check_output(output: Path, force: bool, suffix: str | None = ".safetensors") -> None:
    from genoformer.errors import UsageError

    if suffix is not None and output.suffix != suffix:
        raise UsageError(f"output '{output}': expected a name ending in {suffix}")
    if output.exists() and (not force or output.is_dir()):
        advice = "remove it first" if output.is_dir() else "replace it with --force"
        raise UsageError(f"{output} is already there; choose another name, or {advice}")


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Show kind, size, origin and configuration of a model file, once its content is verified."""
    described = _describe(model)
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    config, notes, tracks = described.pop("config"), described.pop("notes"), described.pop("tracks", {})
    rows = [
        *described.items(),
        *(("note", note) for note in notes),
        *((f"tracks of {species}", _counts(assays)) for species, assays in tracks.items()),
        *config.items(),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:<{width}}  {_text(value)}")


def _describe(model: Path) -> dict[str, Any]:
    """What `info` shows of a model file, by name."""
    from genoformer.models.checkpoint import load_checkpoint, model_hash

    checkpoint = load_checkpoint(model)
    described = {
        "kind": checkpoint.kind,
        "parameters": checkpoint.num_parameters,
        "sha256": model_hash(model),
        "source": checkpoint.metadata.get("source"),
        "calibration_table": "calibration" in checkpoint.metadata,
        "notes": checkpoint.metadata.get("notes", []),
        "config": checkpoint.config.model_dump(mode="json"),
    }
    if checkpoint.tracks:
        described["tracks"] = {
            species: dict(Counter(track.assay or "unnamed" for track in tracks))
            for species, tracks in checkpoint.tracks.items()
        }
    return described


def _counts(assays: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {assay}" for assay, count in assays.items())


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(found)}" for name, found in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
