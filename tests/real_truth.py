"""The six real molecules that have a CCS read of several passes: their truth and their subreads as sequenced."""

from __future__ import annotations

from pathlib import Path

import pysam

from genoformer.io.fasta import write_fasta
from tests.align_inputs import write_as_sequenced

MOVIE = "m54238_180901_011437"
HOLES = ("4194375", "4194381", "4194382", "4194383", "4194384", "4194388")

RawRead = tuple[bytes, list[int], list[int]]  # sequence, PW, IP


def read_real_molecules(shared_data: Path) -> dict[str, tuple[bytes, list[RawRead]]]:
    """Truth and subreads by hole number."""
    molecules: dict[str, tuple[bytes, list[RawRead]]] = {
        hole: (truth, []) for hole, truth in _truths(shared_data).items()
    }
    with pysam.AlignmentFile(str(_human(shared_data) / "subreads_to_ccs.bam"), check_sq=False) as file:
        for read in file:
            hole = read.query_name.split("/")[1]
            if hole in molecules:
                sequence = read.get_forward_sequence().encode()
                molecules[hole][1].append((sequence, list(read.get_tag("pw")), list(read.get_tag("ip"))))
    return molecules


def write_reads_to_truth(shared_data: Path, folder: Path) -> tuple[Path, Path]:
    """A BAM file of the subreads aligned to their truth, and its FASTA file."""
    from genoformer.workflows.align import AlignOptions, align

    truths = _truths(shared_data)
    raw = write_as_sequenced(_human(shared_data) / "subreads_to_ccs.bam", folder / "raw.bam")
    with pysam.AlignmentFile(str(folder / "truth.bam"), "wb", text="@HD\tVN:1.5\n") as file:
        for hole, truth in truths.items():
            record = pysam.AlignedSegment(file.header)
            record.query_name, record.flag, record.query_sequence = f"{MOVIE}/{hole}/ccs", 4, truth.decode()
            file.write(record)
    reads, reference = folder / "subreads_to_truth.bam", folder / "truth.fa"
    align(AlignOptions(str(raw), str(folder / "truth.bam"), str(reads), threads=1))
    write_fasta(reference, ((f"{MOVIE}/{hole}/ccs", truth) for hole, truth in truths.items()))
    return reads, reference


def _human(shared_data: Path) -> Path:
    return shared_data / "consensus" / "human_1m"


def _truths(shared_data: Path) -> dict[str, bytes]:
    with pysam.AlignmentFile(str(_human(shared_data) / "truth_to_ccs.fixed.bam"), check_sq=False) as file:
        truths = {read.query_name.split("/")[1]: read.query_sequence.encode() for read in file}
    return {hole: truths[hole] for hole in HOLES}
