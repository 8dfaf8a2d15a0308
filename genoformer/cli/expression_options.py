"""What the commands that run an expression model share: options, and the forms of some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

_SHIFT_RANGE = re.compile(r"(-?\d{1,6})\.\.(-?\d{1,6})")
_SHIFT = re.compile(r"[+-]?\d{1,6}")

GenomeFile = Annotated[Path, typer.Argument(help="FASTA file, plain or bgzip; its index is made if missing.")]
Regions = Annotated[str, typer.Argument(help="BED file, in any order, or a region: chr8:11,500,000-11,600,000.")]
Model = Annotated[str, typer.Option("-m", "--model", help="A .safetensors file, or the name of a model that ships.")]
Species = Annotated[str | None, typer.Option(help="Head of the model. Default: its only one.")]
TrackChoice = Annotated[
    list[str] | None,
    typer.Option(
        help="Tracks by index (7), indices from first to last (10-19), or identifier or description with * and ? "
        "('CAGE:*'); may be given several times. Default: all."
    ),
]
BothStrands = Annotated[bool, typer.Option("--rc", help="Average over both strands.")]
Shifts = Annotated[
    str, typer.Option(help="Average over sequences moved by so many bases: -3..3, or -1,0,1.", show_default="0")
]
WindowBatch = Annotated[
    int, typer.Option(help="Windows that a GPU takes at once; a CPU takes one after the other.", min=1)
]
ChangeBatch = Annotated[
    int | None,
    typer.Option(help="Sequences that a GPU takes at once, 8 by default; a CPU takes one after the other.", min=1),
]
Precision = Annotated[
    Literal["fp32", "tf32", "bf16-tower", "bf16"],
    typer.Option(help="Arithmetic of the model. All but fp32 hide small effects."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. Default: cuda where there is one, else cpu.")]
Threads = Annotated[
    int | None,
    typer.Option("-t", "--threads", help="CPU cores to use. Default: all that this process may use.", min=1),
]
RegionShard = Annotated[
    str, typer.Option(help="i/N: only the i-th of N parts of the regions, as .h5; 'join' puts them together.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run of the same kind ended.")]


def parse_shifts(text: str) -> tuple[int, ...]:
    """Numbers of bases written from..to or one after the other."""
    if match := _SHIFT_RANGE.fullmatch(text):
        shifts = tuple(range(int(match[1]), int(match[2]) + 1))
    else:
        parts = text.split(",")
        shifts = tuple(map(int, parts)) if all(map(_SHIFT.fullmatch, parts)) else ()
    if not shifts:
        raise typer.BadParameter(f"'{text}'; expected for instance -3..3 or -1,0,1", param_hint="--shifts")
    return shifts
