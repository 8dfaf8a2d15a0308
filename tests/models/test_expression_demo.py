"""The expression model that ships, on a simulated genome that it was not trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genoformer.datasets.expression import one_hot
from genoformer.genome.interval import Interval
from genoformer.io.genome_fasta import Genome
from genoformer.models.checkpoint import load_expression_model

DATA = Path(__file__).resolve().parents[2] / "data"
EXAMPLE = DATA / "examples" / "expression"


@pytest.fixture(scope="module")
def scores():
    """Of each variant: how much it lowers the tracks, and whether it breaks a site."""
    model = load_expression_model(DATA / "checkpoints" / "expression-demo.safetensors")
    length, found = model.config.window_bp, []
    with Genome(EXAMPLE / "genome.fa") as genome, torch.inference_mode():
        for line in (EXAMPLE / "variants.vcf").read_text().splitlines():
            if line.startswith("#"):
                continue
            chrom, position, _, ref, alt, _, _, info = line.split("\t")
            at, start = int(position) - 1, int(position) - length // 2
            codes = np.stack([genome.codes(Interval(chrom, start, start + length))] * 2)
            assert codes[0, at - start] == "ACGT".index(ref)
            codes[1, at - start] = "ACGT".index(alt)
            tracks = model(one_hot(torch.from_numpy(codes)))["simulated"].sum(1)  # [2, T]
            lowered = (1 + tracks).log2().diff(dim=0).neg().max()
            found.append((lowered.item(), info != "BREAKS=."))
    return found


def test_breaking_a_site_lowers_a_track_more_than_a_neutral_variant(scores):
    """AUROC, by counting pairs."""
    breaking, neutral = ([score for score, breaks in scores if breaks is kind] for kind in (True, False))
    assert len(breaking) == len(neutral) == 55
    pairs = [one > other for one in breaking for other in neutral]
    assert np.mean(pairs) >= 0.95
