"""Stretches of a genome, 0-based and half-open."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from genoformer.errors import UsageError

_REGION = re.compile(r"(?P<chrom>.+):(?P<first>[0-9][0-9,]{0,14})-(?P<last>[0-9][0-9,]{0,14})")


@dataclass(frozen=True, order=True)
class Interval:
    """The bases of a contig from `start` up to, but not with, `end`; may reach past the contig's ends."""

    chrom: str
    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bases."""
        return self.end - self.start

    def resized(self, length_bp: int) -> Interval:
        """The interval of `length_bp` around the same centre; where it cannot be halved, one base more at the end."""
        start = self.start - (length_bp - self.length) // 2
        return replace(self, start=start, end=start + length_bp)

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share a base."""
        return self.chrom == other.chrom and self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        """As genome browsers write it: chrom:first-last, 1-based."""
        return f"{self.chrom}:{self.start + 1}-{self.end}"


def parse_interval(text: str) -> Interval:
    """The interval that is written chrom:first-last, 1-based, with or without commas in the numbers.

    Raises:
        UsageError: another form, or a first base that does not come before the last.
    """
    match = _REGION.fullmatch(text)
    first, last = (int(match[name].replace(",", "")) for name in ("first", "last")) if match else (0, 0)
    if match is None or not 1 <= first <= last:
        raise UsageError(f"'{text}'; expected chrom:first-last, 1-based, for instance chr8:11,500,000-11,600,000")
    return Interval(match["chrom"], first - 1, last)


def renamed_contig(chrom: str) -> str:
    """What a contig is called where names begin with 'chr' if this one does not, and the other way round."""
    return chrom.removeprefix("chr") if chrom.startswith("chr") else f"chr{chrom}"


def find_contig(chrom: str, contigs: Collection[str]) -> str | None:
    """What a contig is called among `contigs`, with or without 'chr'; None where it is not there."""
    return next((name for name in (chrom, renamed_contig(chrom)) if name in contigs), None)


def overlaps_between(groups: dict[str, list[Interval]]) -> Iterator[tuple[str, Interval, str, Interval]]:
    """Pairs of intervals of two groups that overlap, at least one for each interval that overlaps another group's.

    Yields:
        group and interval that starts first, group and interval that overlaps it; in genome order of the second.
    """
    farthest: dict[str, Interval] = {}
    for interval, group in sorted((interval, group) for group, intervals in groups.items() for interval in intervals):
        for other, reaching in farthest.items():
            if other != group and reaching.overlaps(interval):
                yield other, reaching, group, interval
        last = farthest.get(group)
        if last is None or last.chrom != interval.chrom or last.end < interval.end:
            farthest[group] = interval
