"""`genoformer consensus filter`: reads whose mean error is low enough.

Source: DeepConsensus v1.2, `quality_calibration/filter_reads.py`. Deviation: it rounds the Phred to five decimals only
for FASTQ; here also for BAM, so that a file gives the same reads in either format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genoformer.errors import UsageError
from genoformer.genome.quality import mean_error_phred
from genoformer.io.reads import STDOUT, ReadWriter, read_sequences

HEADER = "@HD\tVN:1.6\tSO:unknown\n"


@dataclass
class FilterCounts:
    """Reads seen, reads kept, and the bases kept."""

    total: int = 0
    kept: int = 0
    kept_bases: int = 0


def filter_reads(reads: str, output: str, min_quality: float) -> FilterCounts:
    """Writes the reads whose mean-error Phred, rounded to five decimals, is at least `min_quality`.

    Raises:
        UsageError: an output of unknown format, or the same as the input.
        AlignmentError: input that is damaged or has no qualities.
    """
    if output != STDOUT and Path(output).resolve() == Path(reads).resolve():
        raise UsageError(f"output '{output}' is the input file")
    counts = FilterCounts()
    writer = ReadWriter(output, HEADER)
    try:
        for read in read_sequences(reads):
            counts.total += 1
            if round(mean_error_phred(read.quals), 5) >= min_quality:
                counts.kept += 1
                counts.kept_bases += len(read.sequence)
                writer.write(read)
        writer.end()
    except BaseException:
        writer.discard()
        raise
    writer.publish()
    return counts
