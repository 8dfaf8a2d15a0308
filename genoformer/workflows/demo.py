"""`python -m genoformer.workflows.demo CORRECTED.fastq.gz`: errors of the example reads before and after correction."""

from __future__ import annotations

import sys
from pathlib import Path

from genoformer import assets
from genoformer.io.fasta import read_fasta
from genoformer.io.reads import read_sequences
from genoformer.nn.metrics import AlignmentCounts, align_globally


def total_counts(reads: dict[str, str], truth: dict[str, str]) -> AlignmentCounts:
    """Alignment columns of all reads against their truth, added up."""
    parts = [align_globally(called=sequence, truth=truth[_molecule(name)]) for name, sequence in reads.items()]
    return AlignmentCounts(
        sum(part.matches for part in parts),
        sum(part.mismatches for part in parts),
        sum(part.insertions for part in parts),
        sum(part.deletions for part in parts),
    )


def _molecule(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _sequences(path: Path) -> dict[str, str]:
    return {read.name: read.sequence.decode() for read in read_sequences(path)}


def main(corrected_path: str) -> None:
    """Prints the errors of the CCS reads and of the corrected reads of the bundled example."""
    molecules = read_fasta(assets.path("examples", "truth.fasta"))
    truth = {_molecule(name): sequence.decode() for name, sequence in molecules.items()}
    corrected = _sequences(Path(corrected_path))
    draft = {name: read for name, read in _sequences(assets.path("examples", "ccs.bam")).items() if name in corrected}
    print(f"{len(corrected)} reads against their truth   identity   errors   mismatch   extra   missing")
    for label, reads in (("before (CCS)", draft), ("after", corrected)):
        counts = total_counts(reads, truth)
        print(
            f"{label:<32}{counts.identity:9.5f}{counts.errors:9d}"
            f"{counts.mismatches:11d}{counts.insertions:8d}{counts.deletions:10d}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
