"""Genes placed in windows by hand, and their sums held against a plain loop over all bins of all windows."""

import numpy as np
import pytest
import torch

from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.workflows.gene_sums import GeneSums, place_starts

BIN_BP, NUM_BINS = 10, 6
PAIRS = (1, 0, 2)
TRACKS = [
    Track(name, "CAGE:x", "", "sum", 1.0, None, None, pair) for name, pair in zip(("a+", "a-", "b"), PAIRS, strict=True)
]


def gene(name, strand, *tss, chrom="c"):
    return Gene(name, name, "", strand, Interval(chrom, min(tss, default=0), max(tss, default=0) + 1), tuple(tss), ())


def windows(*starts, chrom="c"):
    return [Interval(chrom, start, start + BIN_BP * NUM_BINS) for start in starts]


def test_the_bin_of_a_start_and_its_neighbours():
    """Bins of 10 bp from base 100 on: base 125 is in bin 2, 149 in bin 4."""
    assert place_starts([gene("g", "+", 125)], windows(100), BIN_BP) == {0: {0: [1, 2, 3]}}
    assert place_starts([gene("g", "+", 125, 129, 149)], windows(100), BIN_BP) == {0: {0: [1, 2, 3, 4, 5]}}


@pytest.mark.parametrize(
    ("tss", "is_placed"), [(99, False), (109, False), (110, True), (149, True), (150, False), (160, False)]
)
def test_a_start_needs_its_neighbours(tss, is_placed):
    assert bool(place_starts([gene("g", "+", tss)], windows(100), BIN_BP)) is is_placed


def test_where_windows_overlap_a_start_is_read_where_it_is_most_central():
    """Base 135 is in bin 3 of 6 from 100 on (2 bins to the end), in bin 1 from 120 on, and in bin 2 from 110 on."""
    assert place_starts([gene("g", "+", 135)], windows(120, 100, 110), BIN_BP) == {1: {0: [2, 3, 4]}}
    assert place_starts([gene("g", "+", 135)], windows(120, 110, 100), BIN_BP) == {1: {0: [1, 2, 3]}}


def test_starts_of_one_gene_may_be_in_several_windows_and_contigs_are_kept_apart():
    genes = [gene("g", "+", 125, 225), gene("h", "-", 125, chrom="d"), gene("none", ".")]
    assert place_starts(genes, windows(100, 200), BIN_BP) == {0: {0: [1, 2, 3]}, 1: {0: [1, 2, 3]}}
    assert place_starts(genes, [], BIN_BP) == {}


def test_sums_are_correlated_across_genes_on_their_strands():
    rng = np.random.default_rng(1)
    genes = [gene(f"g{index}", "+-"[index % 2], *rng.integers(100, 400, 1 + index % 3).tolist()) for index in range(40)]
    covered = windows(100, 160, 200, 340)
    predicted, measured = rng.gamma(0.3, 10, (2, len(covered), NUM_BINS, 3))
    sums = GeneSums(genes, covered, BIN_BP, TRACKS)
    for number in range(len(covered)):
        sums.add_(
            number,
            predicted=torch.tensor(predicted[number]),
            measured=torch.tensor(measured[number], dtype=torch.float32),
        )
    rows = []
    for number, one in enumerate(genes):
        total = np.zeros((2, 3))
        for window, found in place_starts(genes, covered, BIN_BP).items():
            for place in found.get(number, ()):
                total += predicted[window, place], measured[window, place].astype(np.float32)
        if total.any():
            rows.append(np.log1p(total)[:, [0, 0, 2] if one.strand == "+" else [1, 1, 2]])
    assert sums.num_genes == len(rows) > 20
    expected = [np.corrcoef(np.array(rows)[:, 0, track], np.array(rows)[:, 1, track])[0, 1] for track in range(3)]
    np.testing.assert_allclose(sums.moments.pearson(), expected, rtol=1e-12)
    assert sums.moments.num_bins == sums.num_genes
