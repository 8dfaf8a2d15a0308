"""Tracks around the transcription starts of genes, summed for each gene and correlated across genes."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track, sense_tracks
from genoformer.nn.track_metrics import TrackMoments

NEIGHBOURS = 1  # bins that count on either side of the one in which transcription starts

Placed = dict[int, dict[int, list[int]]]  # by window and gene, both by number: bins of the window, ascending


class GeneSums:
    """Sums of each gene's bins, predicted and measured, and their moments across genes as log(1 + sum).

    A gene's bins are those in which one of its transcripts starts and their neighbours, each counted once; a start that
    no window holds with its neighbours is left out, and one that several hold is read where it is most central. Tracks
    with a pair for the other strand are read on the gene's strand.

    Args:
        genes: of any contigs.
        windows: what the bins of each window cover, all of one length.
        tracks: T, in the order of the values.
    Attributes:
        moments: across the genes that are complete.
        num_genes: genes that some window holds a start of.
    """

    def __init__(
        self, genes: Sequence[Gene], windows: Sequence[Interval], bin_bp: int, tracks: Sequence[Track]
    ) -> None:
        self._genes, self._placed = genes, place_starts(genes, windows, bin_bp)
        self._last = {gene: window for window in sorted(self._placed) for gene in self._placed[window]}
        self._sums: dict[int, Tensor] = {}  # of genes that are not complete, [2, T]
        self._senses = {strand: torch.tensor(sense_tracks(tracks, strand)) for strand in ("+", "-")}
        self.num_genes = len(self._last)
        self.moments = TrackMoments(len(tracks))

    def add_(self, window: int, *, predicted: Tensor, measured: Tensor) -> None:
        """Adds a window, [N, T] each; windows come in the order of their numbers."""
        for gene, bins in self._placed.get(window, {}).items():
            sums = torch.stack([predicted[bins], measured[bins]]).double().sum(1).cpu()  # [2, T]
            self._sums[gene] = self._sums[gene] + sums if gene in self._sums else sums
            if self._last[gene] == window:
                self._complete_(gene)

    def _complete_(self, gene: int) -> None:
        sense = self._senses[self._genes[gene].strand]
        predicted, measured = self._sums.pop(gene)[:, sense].log1p()[:, None, None]  # [1, 1, T]
        self.moments.update_(predicted=predicted, measured=measured)


def place_starts(genes: Sequence[Gene], windows: Sequence[Interval], bin_bp: int) -> Placed:
    """The bins around the transcription starts of genes, in the windows that hold them."""
    num_bins = windows[0].length // bin_bp if windows else 0
    ordered: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by contig: starts and numbers of windows
    for place, window in enumerate(windows):
        ordered[window.chrom].append((window.start, place))
    for found in ordered.values():
        found.sort()
    placed: defaultdict[int, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for number, gene in enumerate(genes):
        for tss in gene.tss:
            # Of each window that holds the start: bins between it and the nearer end, window, bin.
            choices = [
                (min(middle, num_bins - 1 - middle), -place, middle)
                for start, place in _windows_around(ordered.get(gene.span.chrom, []), tss, num_bins * bin_bp)
                for middle in [(tss - start) // bin_bp]
            ]
            if choices and max(choices)[0] >= NEIGHBOURS:
                _, place, middle = max(choices)
                placed[-place][number].update(range(middle - NEIGHBOURS, middle + NEIGHBOURS + 1))
    return {place: {gene: sorted(bins) for gene, bins in found.items()} for place, found in placed.items()}


def _windows_around(ordered: list[tuple[int, int]], position: int, length: int) -> list[tuple[int, int]]:
    """Starts and numbers of the windows, in order of their starts, that hold a position."""
    first = bisect.bisect_left(ordered, (position - length + 1, -1))
    return ordered[first : bisect.bisect_right(ordered, (position + 1, -1))]
