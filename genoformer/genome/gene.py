"""Genes: where they lie, where their transcription starts, and which bases remain after splicing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from genoformer.genome.interval import Interval


@dataclass(frozen=True)
class Gene:
    """A gene on one contig.

    Attributes:
        identifier: as the annotation has it, with its version.
        name: the identifier where the annotation has no other.
        biotype: for instance protein_coding; "" where the annotation does not say.
        strand: "+", "-", or "." where it is not known.
        span: from its first base to its last.
        tss: 0-based positions of the first bases of its transcripts, ascending, each once; none without a strand.
        exons: what its transcripts have in common or apart, in genome order; none touches another.
    """

    identifier: str
    name: str
    biotype: str
    strand: str
    span: Interval
    tss: tuple[int, ...]
    exons: tuple[Interval, ...]


def joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The bases of intervals as few intervals in genome order; those that overlap or touch become one."""
    found: list[Interval] = []
    for interval in sorted(intervals):
        last = found[-1] if found else None
        if last is None or last.chrom != interval.chrom or last.end < interval.start:
            found.append(interval)
        elif last.end < interval.end:
            found[-1] = Interval(last.chrom, last.start, interval.end)
    return tuple(found)
