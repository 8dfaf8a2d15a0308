"""Predictions of a run, from one file or from shards, as a bigWig for each track.

Where the bins of several regions overlap, a base has the mean of their values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer.errors import OutputError
from genoformer.genome.track_choice import track_stem
from genoformer.io.bigwig_writer import BigWigWriter
from genoformer.io.predictions import Layout, PredictionFile
from genoformer.io.reads import write_text
from genoformer.workflows.ordered_map import ordered_map

TRACK_TABLE = "tracks.tsv"
_SUFFIX = ".bw"
_BLOCK_BINS = 1 << 16  # that are averaged at a time
_TRACKS_AT_A_TIME = 8
_AHEAD_PER_WORKER = 2


@dataclass(frozen=True)
class _Placed:
    """The stretches of one contig, by their first base: arrays of one length.

    Attributes:
        start, end: bases that the bins cover, int64.
        file: number of the file that they are in.
        first_bin: in that file, int64.
    """

    start: np.ndarray
    end: np.ndarray
    file: np.ndarray
    first_bin: np.ndarray


def track_files(layout: Layout) -> list[str]:
    """Names of the bigWigs of a layout's tracks."""
    return [f"{track_stem(track, index, layout.num_outputs)}{_SUFFIX}" for index, track in layout.tracks.items()]


def check_folder(folder: Path, files: Sequence[str]) -> None:
    """Makes the folder of bigWigs; raises OutputError where it has others than `files`, which are written anew."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None
    other = next((path for path in sorted(folder.glob(f"*{_SUFFIX}")) if path.name not in files), None)
    if other is not None:
        raise OutputError(f"{other}: is a track of another run; remove those of {folder}, or choose another folder")


def write_tracks(
    paths: Sequence[Path],
    folder: Path,
    files: Sequence[str],
    num_workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    num_written: int = 0,
) -> None:
    """Writes a bigWig for each track of prediction files with the same tracks, and a table of them.

    Args:
        files: names of the bigWigs, in the order of the tracks.
        num_written: the first bigWigs, which are there already.
        on_progress: told how many tracks are written, and of how many.
    Raises:
        DataError: a damaged file of predictions.
        OutputError: a file cannot be written.
    """
    rows = range(num_written, len(files))
    groups = (rows[start : start + _TRACKS_AT_A_TIME] for start in range(0, len(rows), _TRACKS_AT_A_TIME))
    work = functools.partial(_write_group, paths=list(paths), targets=[folder / name for name in files])
    done = num_written
    for count in ordered_map(work, groups, num_workers, _AHEAD_PER_WORKER * max(1, num_workers)):
        done += count
        if on_progress is not None:
            on_progress(done, len(files))
    with PredictionFile(paths[0]) as first:
        names = [
            f"{index}\t{track.identifier}\t{name}\t{track.description}"
            for (index, track), name in zip(first.layout.tracks.items(), files, strict=True)
        ]
    write_text(folder / TRACK_TABLE, "\n".join(["index\tidentifier\tfile\tdescription", *names]) + "\n")


def _write_group(rows: range, paths: list[Path], targets: list[Path]) -> int:
    """Writes the tracks in some rows of the files; returns their number."""
    with ExitStack() as stack:
        files = [stack.enter_context(PredictionFile(path)) for path in paths]
        placed = _placed(files)
        lengths, max_values = files[0].layout.lengths, _max_values(files)
        for row in rows:
            writer = BigWigWriter(targets[row], lengths, max_values)
            try:
                for chrom, stretches in placed.items():
                    for edges, values in _averaged(files, row, stretches, lengths[chrom]):
                        writer.write(chrom, edges, values)
            except BaseException:
                writer.discard()
                raise
            writer.finish()
    return len(rows)


def _max_values(files: Sequence[PredictionFile]) -> int:
    """Bound of the values of a track: where stretches overlap, each of their edges may begin one."""
    return sum(file.num_bins + len(file.layout.stretches) for file in files)


def _placed(files: Sequence[PredictionFile]) -> dict[str, _Placed]:
    """Stretches by contig, in the order of the genome."""
    rows: dict[str, list[tuple[int, int, int, int]]] = {chrom: [] for chrom in files[0].layout.lengths}
    for number, file in enumerate(files):
        for stretch, first_bin in zip(file.layout.stretches, file.first_bins.tolist(), strict=False):
            rows[stretch.bins.chrom].append((stretch.bins.start, stretch.bins.end, number, first_bin))
    return {chrom: _Placed(*np.array(sorted(found)).T) for chrom, found in rows.items() if found}


def _averaged(
    files: Sequence[PredictionFile], row: int, placed: _Placed, length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Edges [n + 1] and values float32 [n] of consecutive stretches of a contig of `length` bases, in their order."""
    bin_bp = files[0].layout.bin_bp
    longest = (placed.end - placed.start).max()
    for low, high in _blocks(placed, bin_bp * _BLOCK_BINS):
        low, high = max(low, 0), min(high, length)
        first = np.searchsorted(placed.start, low - longest)
        last = np.searchsorted(placed.start, high)
        found = [index for index in range(first, last) if placed.end[index] > low]
        if low < high:
            yield _mean([_cut(files, row, placed, index, low, high) for index in found])


def _blocks(placed: _Placed, block_bp: int) -> Iterator[tuple[int, int]]:
    """Pieces, of at most `block_bp`, of what the stretches cover; ends where one stretch after the other ends."""
    reach = np.maximum.accumulate(placed.end)
    breaks = np.flatnonzero(placed.start[1:] >= reach[:-1]) + 1
    for start, end in zip(placed.start[[0, *breaks]].tolist(), reach[[*(breaks - 1), -1]].tolist(), strict=True):
        for low in range(start, end, block_bp):
            yield low, min(low + block_bp, end)


def _cut(
    files: Sequence[PredictionFile], row: int, placed: _Placed, index: int, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """Edges and values of the bins of a stretch that have bases between low and high, cut there."""
    file, start = files[placed.file[index]], int(placed.start[index])
    bin_bp, first_bin = file.layout.bin_bp, int(placed.first_bin[index])
    first = max(0, (low - start) // bin_bp)
    last = min(-(-(high - start) // bin_bp), (int(placed.end[index]) - start) // bin_bp)
    edges = np.clip(start + bin_bp * np.arange(first, last + 1), low, high)
    return edges, file.values(row, first_bin + first, first_bin + last)


def _mean(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of piecewise constant values that together have no gaps: its edges, and values float32."""
    edges = np.unique(np.concatenate([own for own, _ in pieces]))
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, np.int64)
    for own, values in pieces:
        places = np.searchsorted(edges, own)
        total[places[0] : places[-1]] += np.repeat(values, np.diff(places))
        count[places[0] : places[-1]] += 1
    return edges, (total / count).astype(np.float32)
