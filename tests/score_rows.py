"""Scored variants of made-up numbers, for the formats that hold them."""

from __future__ import annotations

import json

import numpy as np

from genoformer.genome.track import Track
from genoformer.genome.variant import Variant
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead

TABLE = ScoreTable(
    scores=("sad_sum", "js", "sad_sum_z"),
    tracks={
        2: Track("ENC2", "CAGE:liver", "", "sum", 1.0, None, None, 2),
        5: Track("ENC5", "DNASE:a \"b\"\tc", "", "sum", 1.0, None, None, 5),
    },
    num_bins=3,
    genes=(("ENSG1", "ABC1"), ("ENSG2", "XYZ")),
    gene_score="tss_sum_logfc",
    contigs={"chr1": 1000, "chr2": 500},
    attributes={
        "version": "0.1.0", "command": "genoformer variants score", "genome": "hg38.fa", "window_bp": 6144,
        "scores": json.dumps(["sad_sum", "js", "sad_sum_z"]), "identity": json.dumps({"shard": [1, 1]}),
    },
)  # fmt: skip

VARIANTS = [
    Variant("chr1", 9, "A", "C", "rs1"), Variant("chr1", 9, "A", "ATTT"), Variant("chr1", 99, "GATTACA", "G", "del"),
    Variant("chr2", 4, "AC", "GT"),
]  # fmt: skip


class Rows:
    """As many rows as asked for."""

    def __init__(self, variants=VARIANTS, table=TABLE):
        self.variants, self.table = variants, table

    def heads(self):
        for record, variant in enumerate(self.variants, 1):
            yield VariantHead(record, variant, "flipped" if record == 3 else "")

    def rows(self):
        table, rng = self.table, np.random.default_rng(0)
        num_tracks = len(table.tracks)
        for place, head in enumerate(self.heads()):
            values = rng.normal(size=(len(table.scores), num_tracks)).astype(np.float32)
            predictions = rng.random((2, table.num_bins, num_tracks), dtype=np.float32) if table.num_bins else None
            genes = [[], [0], [0, 1], [1]][place % 4] if table.gene_score else None
            of_genes = None if genes is None else (genes, rng.random((len(genes), num_tracks), dtype=np.float32))
            yield ScoredVariant(head, values, predictions, of_genes)


def assert_same_rows(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.head == theirs.head
        np.testing.assert_array_equal(mine.values, theirs.values)
        assert (mine.predictions is None) == (theirs.predictions is None)
        if mine.predictions is not None:
            np.testing.assert_array_equal(mine.predictions, theirs.predictions)
        assert (mine.genes is None) == (theirs.genes is None)
        if mine.genes is not None:
            assert list(mine.genes[0]) == list(theirs.genes[0])
            np.testing.assert_array_equal(mine.genes[1], theirs.genes[1])
