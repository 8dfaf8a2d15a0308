"""Which examples train, validate and test a model, and whether these are apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from genoformer.errors import DataError, UsageError
from genoformer.genome.interval import Interval, overlaps_between
from genoformer.io.regions import Region

_NAME = re.compile(r"[A-Za-z0-9_.]+")
_MAX_SPLITS = 100


def assign_splits(regions: Sequence[Region], path: Path, valid: Sequence[str], test: Sequence[str]) -> list[str]:
    """The split of each region of a BED file.

    Args:
        valid, test: names in column 4, or chromosomes, of these splits; all else trains. Without any, column 4 is the
            split.
    Raises:
        UsageError: a name that no region has, or that is given for both.
        DataError: nothing is given, and column 4 holds no splits.
    """
    if not valid and not test:
        return _named_splits(regions, path)
    there = {region.name for region in regions} | {region.interval.chrom for region in regions}
    for name in (*valid, *test):
        if name not in there:
            raise UsageError(f"'{name}' is neither in column 4 of {path} nor one of its chromosomes")
        if name in valid and name in test:
            raise UsageError(f"'{name}' is given for both --valid and --test")
    splits = []
    for region in regions:
        names = {region.name, region.interval.chrom}
        splits.append("valid" if names & set(valid) else "test" if names & set(test) else "train")
    return splits


def _named_splits(regions: Sequence[Region], path: Path) -> list[str]:
    for region in regions:
        if region.name is None or not _NAME.fullmatch(region.name):
            raise DataError(
                f"{path} line {region.line}: column 4 is {region.name!r}; expected a split such as train, valid, "
                "test or fold0, or name those of --valid and --test"
            )
    splits = [region.name or "" for region in regions]
    if len(set(splits)) > _MAX_SPLITS:
        raise DataError(
            f"{path}: column 4 has {len(set(splits))} names, too many for splits; name those of --valid and --test"
        )
    return splits


def count_overlaps(bins: Sequence[Interval], splits: Sequence[str], sequence_bp: int, names: Sequence[str]) -> int:
    """Number of examples whose sequence, but not whose bins, overlaps that of an example of another split.

    Args:
        bins: what the bins of each example cover.
        sequence_bp: bases of its sequence around them.
        names: what to call each example in an error.
    Raises:
        DataError: bins of two splits overlap: what a model learned would be tested.
    """
    named = dict(zip(zip(splits, bins, strict=True), names, strict=True))
    for split, one, other_split, other in overlaps_between(_by_split(bins, splits)):
        raise DataError(
            f"{named[other_split, other]}: {other} of split {other_split} overlaps {one} of split {split}, "
            f"{named[split, one]}; leave out one of them"
        )
    sequences = [interval.resized(sequence_bp) for interval in bins]
    return len({(split, interval) for _, _, split, interval in overlaps_between(_by_split(sequences, splits))})


def _by_split(intervals: Sequence[Interval], splits: Sequence[str]) -> dict[str, list[Interval]]:
    groups: dict[str, list[Interval]] = {split: [] for split in splits}
    for interval, split in zip(intervals, splits, strict=True):
        groups[split].append(interval)
    return groups
