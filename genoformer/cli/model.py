"""`genoformer model`: convert models of other programs, and show what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Convert models of other programs, and show what a model file holds.", no_args_is_help=True)


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
    from genoformer.errors import UsageError
    from genoformer.models.checkpoint import save_checkpoint
    from genoformer.models.convert import convert_deepconsensus

    if output.suffix != ".safetensors":
        raise UsageError(f"output '{output}': expected a name ending in .safetensors")
    if output.exists() and not force:
        raise UsageError(f"{output} is already there; choose another name, or replace it with --force")
    conversion = convert_deepconsensus(checkpoint, params)
    save_checkpoint(output, conversion.state_dict, conversion.config, metadata=conversion.metadata)
    num_parameters = sum(tensor.numel() for tensor in conversion.state_dict.values())
    for note in conversion.metadata["notes"]:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {output}: {num_parameters:,} parameters from {conversion.metadata['source']}", err=True)


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
        "notes": checkpoint.metadata.get("notes", []),
        "config": checkpoint.config.model_dump(mode="json"),
    }


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
