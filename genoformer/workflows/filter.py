"""`genoformer consensus filter`: reads whose mean error is low enough.

Source: DeepConsensus v1.2, `quality_calibration/filter_reads.py`. Deviation: it rounds the Phred to five decimals only
for FASTQ; here also for BAM, so that a file gives the same reads in either format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import UsageError
from genoformer.genome.quality import mean_error_phred
from genoformer.io.bam import BamReader, BamRecord
from genoformer.io.reads import BAM, STDOUT, ReadWriter, output_format, quals_of, read_sequences

HEADER = "@HD\tVN:1.6\tSO:unknown\n"


@dataclass
class FilterCounts:
    """Reads seen, reads kept, and the bases kept."""

    total: int = 0
    kept: int = 0
    kept_bases: int = 0

    def keep(self, quals: np.ndarray, min_quality: float) -> bool:
        """Whether a read with these qualities is kept; counts it."""
        is_kept = round(mean_error_phred(quals), 5) >= min_quality
        self.total += 1
        self.kept += is_kept
        self.kept_bases += len(quals) * is_kept
        return is_kept


def filter_reads(reads: str, output: str, min_quality: float) -> FilterCounts:
    """Writes the reads whose mean-error Phred, rounded to five decimals, is at least `min_quality`.

    From BAM to BAM, records and header stay as they are.

    Raises:
        UsageError: an output of unknown format, or the same as the input.
        AlignmentError: input that is damaged or has no qualities.
    """
    if output != STDOUT and Path(output).resolve() == Path(reads).resolve():
        raise UsageError(f"output '{output}' is the input file")
    if not math.isfinite(min_quality):
        raise UsageError(f"--min-quality is {min_quality}; expected a number")
    counts = FilterCounts()
    if reads.endswith(".bam") and output_format(output) == BAM:
        with BamReader(reads) as reader:
            header = reader.binary_header()
            reader.seek(reader.first_record)
            with _whole_output(output, header) as writer:
                for record in reader:
                    quals = quals_of(BamRecord(record, reads), reads)
                    if counts.keep(quals, min_quality):
                        writer.write_record(record)
        return counts
    with _whole_output(output, HEADER) as writer:
        for read in read_sequences(reads):
            if counts.keep(read.quals, min_quality):
                writer.write(read)
    return counts


@contextmanager
def _whole_output(output: str, header: str | bytes) -> Iterator[ReadWriter]:
    """A writer whose file gets its name if nothing goes wrong, and leaves nothing behind otherwise."""
    writer = ReadWriter(output, header)
    try:
        yield writer
        writer.end()
    except BaseException:
        writer.discard()
        raise
    writer.publish()
