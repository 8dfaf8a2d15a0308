"""`genoformer model`: convert models of other programs, export one's own, and show what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Convert models of other programs, export your own, and show what a model file holds.", no_args_is_help=True
)


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="TensorFlow checkpoint of DeepConsensus: its prefix, or the directory of one.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.safetensors).")],
    params: Annotated[
        Path | None, typer.Option(help="The model's params.json; by default the one beside the checkpoint.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")] = False,
) -> None:
    """Convert a DeepConsensus checkpoint (v0.1 to v1.2) to a model file, without TensorFlow."""
    from genoformer.models.checkpoint import save_checkpoint
    from genoformer.models.convert import convert_deepconsensus

    _check_output(output, force)
    conversion = convert_deepconsensus(checkpoint, params)
    save_checkpoint(output, conversion.state_dict, conversion.config, metadata=conversion.metadata)
    num_parameters = sum(tensor.numel() for tensor in conversion.state_dict.values())
    for note in conversion.metadata["notes"]:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {output}: {num_parameters:,} parameters from {conversion.metadata['source']}", err=True)


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


def _check_output(output: Path, force: bool) -> None:
    from genoformer.errors import UsageError

    if output.suffix != ".safetensors":
        raise UsageError(f"output '{output}': expected a name ending in .safetensors")
    if output.exists() and not force:
        raise UsageError(f"{output} is already there; choose another name, or replace it with --force")


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
    config, notes = described.pop("config"), described.pop("notes")
    rows = [*described.items(), *(("note", note) for note in notes), *config.items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:<{width}}  {_text(value)}")


def _describe(model: Path) -> dict[str, Any]:
    """What `info` shows of a model file, by name."""
    from genoformer.models.checkpoint import load_checkpoint, model_hash

    checkpoint = load_checkpoint(model)
    return {
        "kind": checkpoint.kind,
        "parameters": sum(tensor.numel() for tensor in checkpoint.state_dict.values()),
        "sha256": model_hash(model),
        "source": checkpoint.metadata.get("source"),
        "calibration_table": "calibration" in checkpoint.metadata,
        "notes": checkpoint.metadata.get("notes", []),
        "config": checkpoint.config.model_dump(mode="json"),
    }


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
