"""Genes around a variant, on bins of 10 bp from position 100 to 200, worked by hand."""

import numpy as np
import pytest

from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.workflows.gene_scores import GeneScorer

COVERED = Interval("chr1", 100, 200)


def gene(name, tss, exons, chrom="chr1"):
    intervals = tuple(Interval(chrom, *exon) for exon in exons)
    span = Interval(chrom, intervals[0].start, intervals[-1].end)
    return Gene(f"ENSG_{name}", name, "", "+", span, tss, intervals)


GENES = [
    gene("inside", (120, 125, 151), [(120, 128), (149, 161)]),
    gene("elsewhere", (120,), [(120, 130)], chrom="chr2"),
    gene("before", (99,), [(50, 100)]),
    gene("long", (10,), [(10, 20), (195, 400)]),
    gene("after", (200,), [(200, 210)]),
]


@pytest.mark.parametrize(
    ("bins_of", "genes", "bins"),
    [("tss", [0], {0: [2, 5]}), ("exons", [0, 3], {0: [2, 4, 5, 6], 3: [9]})],
)
def test_bins_of_genes(bins_of, genes, bins):
    scorer = GeneScorer(GENES, bins_of, 10)
    assert scorer.score == f"{bins_of}_sum_logfc"
    assert scorer.names[0] == ("ENSG_inside", "inside")
    rng = np.random.default_rng(0)
    ref, alt = rng.random((2, 10, 3), dtype=np.float32)
    found, values = scorer.scores(COVERED, ref, alt)
    assert found == genes
    assert values.dtype == np.float32
    for row, number in enumerate(genes):
        expected = np.log2((1 + alt[bins[number]].sum(0)) / (1 + ref[bins[number]].sum(0)))
        np.testing.assert_allclose(values[row], expected, rtol=1e-5)


def test_contigs_without_genes():
    scorer = GeneScorer(GENES, "tss", 10)
    found, values = scorer.scores(Interval("chr3", 0, 100), np.ones((10, 3)), np.ones((10, 3)))
    assert found == []
    assert values.shape == (0, 3)
