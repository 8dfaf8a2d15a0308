"""How variants change genes: coverage summed over the bins of a gene, as the logarithm of its fold change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.genome.variant_scores import log_fold_change

GeneBins = Literal["tss", "exons"]
GENE_BINS: tuple[GeneBins, ...] = get_args(GeneBins)


class GeneScorer:
    """Scores the genes that lie in the bins of a prediction.

    Args:
        genes: with the genome's names of contigs.
        bins_of: "tss": the bins with a base at which transcription starts; "exons": those with a base of an exon.
        bin_bp: bases of a bin.
    Attributes:
        names: identifier and name of each gene.
        score: what its number is called.
    """

    def __init__(self, genes: Sequence[Gene], bins_of: GeneBins, bin_bp: int) -> None:
        self.bins_of, self.bin_bp = bins_of, bin_bp
        self.names = tuple((gene.identifier, gene.name) for gene in genes)
        self.score = f"{bins_of}_sum_logfc"
        self._stretches = [self._stretches_of(gene) for gene in genes]
        self._numbers: dict[str, np.ndarray] = {}
        self._starts: dict[str, np.ndarray] = {}
        self._longest: dict[str, int] = {}
        for chrom in {gene.span.chrom for gene in genes}:
            numbers = [number for number, gene in enumerate(genes) if gene.span.chrom == chrom]
            numbers.sort(key=lambda number: genes[number].span.start)
            self._numbers[chrom] = np.array(numbers)
            self._starts[chrom] = np.array([genes[number].span.start for number in numbers])
            self._longest[chrom] = max(genes[number].span.length for number in numbers)

    def _stretches_of(self, gene: Gene) -> list[Interval]:
        if self.bins_of == "exons":
            return list(gene.exons)
        return [Interval(gene.span.chrom, start, start + 1) for start in gene.tss]

    def around(self, covered: Interval) -> list[int]:
        """Numbers of the genes with a stretch in an interval, ascending."""
        starts = self._starts.get(covered.chrom)
        if starts is None:
            return []
        first = np.searchsorted(starts, covered.start - self._longest[covered.chrom])
        last = np.searchsorted(starts, covered.end)
        near = self._numbers[covered.chrom][first:last].tolist()
        return sorted(gene for gene in near if any(stretch.overlaps(covered) for stretch in self._stretches[gene]))

    def scores(self, covered: Interval, ref: np.ndarray, alt: np.ndarray) -> tuple[list[int], np.ndarray]:
        """The genes around, and log2(1 + ALT) - log2(1 + REF) of the sums over their bins, float32 [genes, T].

        Args:
            covered: by the bins.
            ref, alt: predictions [N, T].
        """
        genes = self.around(covered)
        values = np.empty((len(genes), ref.shape[1]), np.float32)
        for row, gene in enumerate(genes):
            bins = self._bins(covered, self._stretches[gene])
            values[row] = log_fold_change(*(tracks[bins].sum(axis=0, dtype=np.float64) for tracks in (ref, alt)))
        return genes, values

    def _bins(self, covered: Interval, stretches: Sequence[Interval]) -> np.ndarray:
        """Which bins have a base of the stretches, bool [N]."""
        chosen = np.zeros(covered.length // self.bin_bp, bool)
        for stretch in stretches:
            first = max(0, stretch.start - covered.start) // self.bin_bp
            chosen[first : max(0, -(-(stretch.end - covered.start) // self.bin_bp))] = True
        return chosen
