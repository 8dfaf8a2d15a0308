"""What the templates for clusters are tested with: the commands of this checkout, and the example genome."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TEMPLATES = CHECKOUT / "genoformer" / "workflows" / "cluster"
EXAMPLES = CHECKOUT / "data" / "examples"
GENOME = EXAMPLES / "expression" / "genome.fa"
DEMO_MODEL = CHECKOUT / "data" / "checkpoints" / "expression-demo.safetensors"
NUM_VARIANTS = 16


def environment(programs: Path, path: str) -> dict[str, str]:
    """Where jobs find torchrun and `genoformer`: those of this Python and of this checkout."""
    command = programs / "genoformer"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genoformer.cli.main "$@"\n')
    command.chmod(0o755)
    places = (str(programs), str(Path(sys.executable).parent), path)
    return {"PATH": os.pathsep.join(places), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "kernels")])}


def write_regions(folder: Path) -> Path:
    """A BED file of regions of the example genome, one longer than a window."""
    path = folder / "regions.bed"
    path.write_text("chr3\t1000\t9000\nchr3\t9000\t9100\nchr3\t20000\t20100\n")
    return path


def write_variants(folder: Path) -> Path:
    """The first variants of the example genome."""
    lines = (EXAMPLES / "expression" / "variants.vcf").read_text().splitlines(keepends=True)
    header = [line for line in lines if line.startswith("#")]
    path = folder / "variants.vcf"
    path.write_text("".join(lines[: len(header) + NUM_VARIANTS]))
    return path
