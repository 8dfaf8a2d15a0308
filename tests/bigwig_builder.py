"""bigWig files for tests."""

import numpy as np
import pyBigWig


def write_bigwig(path, contigs, lengths=None):
    """A bigWig file with a value for every base that is not NaN.

    Args:
        contigs: float arrays by name.
        lengths: of contigs by name; None: those of the arrays.
    """
    lengths = lengths or {chrom: len(values) for chrom, values in contigs.items()}
    file = pyBigWig.open(str(path), "w")
    file.addHeader(list(lengths.items()))
    for chrom, values in contigs.items():
        starts, ends = runs(np.asarray(values, float))
        if len(starts):
            file.addEntries([chrom] * len(starts), starts.tolist(), ends=ends.tolist(), values=values[starts].tolist())
    file.close()
    return path


def runs(values):
    """Starts and ends of stretches of one value, without those of NaN."""
    edges = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan) != 0)
    starts, ends = edges[:-1], edges[1:]
    known = ~np.isnan(values[starts])
    return starts[known], ends[known]


def write_entries(path, lengths, entries):
    """A bigWig file of (chrom, start, end, value), values that are no numbers among them."""
    file = pyBigWig.open(str(path), "w")
    file.addHeader(list(lengths.items()))
    for chrom, start, end, value in entries:
        file.addEntries([chrom], [start], ends=[end], values=[float(value)])
    file.close()
    return path
