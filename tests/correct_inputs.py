"""Inputs of `correct` made for tests: simulated molecules, renumbered real ones, and what comes out, read by pysam."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pysam
import torch

from genoformer.config import ConsensusConfig
from genoformer.io.subreads import CcsRead
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.convert_deepconsensus import convert_deepconsensus
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.prepare import Calls, PreparedMolecule
from tests.bam_builder import REVERSE, Read, bgzf, ccs_read, subread, write_bam

BASES = "ACGT"
CALLED_LETTERS = "-ATCG"  # pileup codes 0 to 4, as DeepConsensus numbers them
READ_GROUP = "c0ffee00"


class Inputs(NamedTuple):
    """The two files that `correct` reads."""

    subreads: str
    ccs: str


@dataclass(frozen=True)
class Molecule:
    ccs: Read
    subreads: tuple[Read, ...]


def erroneous_copy(rng: random.Random, truth: str, error_rate: float = 0.02) -> tuple[str, str]:
    """A copy of `truth` with each kind of error at `error_rate`, and its CIGAR; both ends match."""
    letters, ops = [truth[0]], ["="]
    for base in truth[1:-1]:
        kind = rng.choices("=XID", [1 - 3 * error_rate] + [error_rate] * 3)[0]
        if kind == "I":
            letters.append(rng.choice(BASES))
            ops.append("I")
        if kind != "D":
            letters.append(rng.choice(BASES.replace(base, "")) if kind == "X" else base)
        ops.append("=" if kind == "I" else kind)
    runs = re.finditer(r"(.)\1*", "".join([*ops, "="]))
    return "".join([*letters, truth[-1]]), "".join(f"{len(run[0])}{run[1]}" for run in runs)


def simulate_molecules(
    num_zmws: int, seed: int = 7, lengths: Sequence[int] = (90, 350), passes: Sequence[int] = (2, 3, 5)
) -> list[Molecule]:
    """Molecules with errors in their subreads; from base 150 on a CCS read has quality 93, so windows are skipped."""
    rng, molecules = random.Random(seed), []
    for index in range(num_zmws):
        zmw, length = 1000 + 7 * index, lengths[index % len(lengths)]
        letters = "".join(rng.choices(BASES, k=length))
        quals = [93 if at >= 150 else rng.randint(5, 40) for at in range(length)]
        num_passes = passes[index % len(passes)]
        tags = {"zm": zmw, "np": num_passes, "ec": num_passes + 0.5, "rq": 0.5, "RG": READ_GROUP}
        copies = [erroneous_copy(rng, letters) for _ in range(num_passes)]
        subreads = tuple(
            subread(zmw, copy, cigar, flag=REVERSE if number % 2 else 0) for number, (copy, cigar) in enumerate(copies)
        )
        molecules.append(Molecule(ccs_read(zmw, letters, quals, **tags), subreads))
    return molecules


def write_inputs(
    folder: Path, molecules: Iterable[Molecule], *, ccs_order: Iterable[Molecule] | None = None, block_bytes: int = 0
) -> Inputs:
    """Both BAM files, the subreads in the order of the molecules; `block_bytes` cuts the subreads into such blocks."""
    molecules = list(molecules)
    folder.mkdir(parents=True, exist_ok=True)
    reads = [read for molecule in molecules for read in molecule.subreads]
    subreads = write_bam(folder / "subreads_to_ccs.bam", reads, [molecule.ccs.name for molecule in molecules])
    ccs = write_bam(folder / "ccs.bam", [molecule.ccs for molecule in ccs_order or molecules])
    if block_bytes:
        recut_blocks(subreads, block_bytes)
    return Inputs(str(subreads), str(ccs))


def recut_blocks(path: Path, block_bytes: int) -> None:
    """Rewrites a BGZF file with blocks of another size, so that records span them."""
    path.write_bytes(bgzf(gzip.decompress(path.read_bytes()), block_bytes))


def renumber(source: Inputs, folder: Path, num_copies: int) -> Inputs:
    """Both files repeated, with other hole numbers in each copy."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))
    for old, new in zip(source, paths, strict=True):
        with pysam.AlignmentFile(old, check_sq=False) as file:
            header, records = file.header.to_dict(), [record.to_dict() for record in file.fetch(until_eof=True)]
        copies = range(num_copies)
        header["SQ"] = [{**line, "SN": _moved(line["SN"], copy)} for copy in copies for line in header.get("SQ", [])]
        with pysam.AlignmentFile(new, "wb", header=header) as file:
            for copy in copies:
                for record in records:
                    moved = {**record, "name": _moved(record["name"], copy)}
                    if record["ref_name"] != "*":
                        moved["ref_name"] = _moved(record["ref_name"], copy)
                    file.write(pysam.AlignedSegment.from_dict(moved, file.header))
    return paths


def _moved(name: str, copy: int) -> str:
    movie, hole, *rest = name.split("/")
    return "/".join([movie, str(int(hole) + 10_000_000 * copy), *rest])


def fastq_records(path: str | Path) -> list[tuple[str, str, str]]:
    """Name, sequence and quality letters of each read, by pysam."""
    with pysam.FastxFile(str(path)) as file:
        return [(entry.name, entry.sequence, entry.quality) for entry in file]


def bam_records(path: str | Path) -> list[dict[str, Any]]:
    """All fields and tags of each record, by pysam."""
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        return [record.to_dict() for record in file.fetch(until_eof=True)]


def records(path: str | Path) -> list[Any]:
    return bam_records(path) if str(path).endswith(".bam") else fastq_records(path)


def run_correct(inputs: Inputs, output: str | Path, **options: Any) -> dict[str, Any]:
    """The summary of a run in this process, without a quality filter unless one is asked for."""
    options = {"min_quality": 0, "threads": 1, **options}
    return correct(CorrectOptions(str(inputs.subreads), str(inputs.ccs), str(output), **{"model": "vote", **options}))


def as_molecule(
    ccs: str = "ACGT",
    quals: Iterable[int] = (30, 31, 32, 33),
    ccs_range: Sequence[tuple[int, int]] = ((0, 4),),
    is_called: Sequence[bool] = (True,),
    num_subreads: int = 3,
    **of_ccs: Any,
) -> PreparedMolecule:
    """A prepared molecule, ZMW 17, without its model input; `of_ccs` are fields of its CCS read."""
    return PreparedMolecule(
        zmw=17,
        ccs=CcsRead("m/17/ccs", ccs.encode(), np.array(list(quals), np.uint8), **of_ccs),
        ccs_range=np.array(ccs_range),
        is_called=np.array(is_called),
        rows=None,
        calls=None,
        num_subreads=num_subreads,
        num_unusable=0,
        num_trimmed_bases=0,
        num_overflowing=0,
        num_empty=0,
        next_offset=1,
        seconds=0.0,
    )


def as_calls(*windows: str, quals: Sequence[Sequence[float]]) -> Calls:
    """Calls written in letters, one string a window, '-' a gap; `quals` is the Phred of every column."""
    codes = [[CALLED_LETTERS.index(letter) for letter in window] for window in windows]
    error = [[10.0 ** (-qual / 10) for qual in row] for row in quals]
    return Calls(np.array(codes, np.uint8), np.array(error, np.float32))


TINY = ConsensusConfig(max_passes=4, window_length=20, condenser_width=16, num_layers=1, filter_width=8)


def save_tiny_model(folder: Path, config: ConsensusConfig = TINY, seed: int = 1) -> str:
    """A model file of random weights."""
    torch.manual_seed(seed)
    model = ConsensusTransformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)  # ReZero's scales start at 0, where the layers would do nothing
    path = folder / f"tiny_{seed}.safetensors"
    save_checkpoint(path, model.state_dict(), config)
    return str(path)


def convert_golden(checkpoint: Path, folder: Path) -> str:
    """A checkpoint of the original as a model file."""
    converted = convert_deepconsensus(checkpoint)
    path = folder / f"{checkpoint.name}.safetensors"
    save_checkpoint(path, converted.state_dict, converted.config, metadata=converted.metadata)
    return str(path)
