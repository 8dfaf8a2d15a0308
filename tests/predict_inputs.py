"""A small genome, a model with random weights and regions at every edge, and what the model itself says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from genoformer.genome.alphabet import genome_codes, one_hot, reverse_complement
from genoformer.genome.track import Track
from genoformer.models.checkpoint import load_model, save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.predict_options import PredictOptions
from tests.expression_reference import TINY, random_weights_

BIN_BP, NUM_BINS, WINDOW_BP = 8, 7, 96  # of the tiny model, whose window has 2 bins before and 3 after these
LENGTHS = {"chr2": 1003, "chr10": 700, "chr1": 160}  # in no order that a sort would give

# Both ends of contigs, bases that are all N, overlapping and doubled, longer than a window; in no order.
BED = """\
chr10\t300\t310\tmiddle
chr2\t990\t1003\tend
chr1\t0\t160\twhole
chr2\t0\t1\tstart
chr10\t320\t345\toverlapping
chr2\t500\t556\tN
chr10\t300\t310
chr2\t100\t300\tlong
"""

TRACKS = {
    "human": (
        Track("x+", "CAGE:x/../y, adult", "", "sum", 1.0, None, 384.0, 2),
        Track("d", "DNASE:d", "", "mean", 2.0, 32.0, None, 1),
        Track("x-", "CAGE:x/../y, adult", "", "sum", 1.0, None, 384.0, 0),
    ),
    "fly": (Track("0", "", "", "sum", 1.0, None, None, 0), Track("1", "", "", "sum", 1.0, None, None, 1)),
}


def letters_of(chrom):
    """Bases in both cases; a stretch of chr2 is N."""
    rng = np.random.default_rng(LENGTHS[chrom])
    letters = rng.choice(np.frombuffer(b"ACGTacgt", np.uint8), LENGTHS[chrom])
    if chrom == "chr2":
        letters[400:680] = ord("N")
    return letters.tobytes()


def write_inputs(folder):
    """The files, and the options of a run on them."""
    folder.mkdir(exist_ok=True)
    (folder / "genome.fa").write_bytes(b"".join(b">%s\n%s\n" % (c.encode(), letters_of(c)) for c in LENGTHS))
    (folder / "regions.bed").write_text(BED)
    model = random_weights_(ExpressionTransformer(TINY))
    save_checkpoint(folder / "model.safetensors", model.state_dict(), TINY, tracks=TRACKS)
    return PredictOptions(
        folder / "genome.fa", str(folder / "regions.bed"), folder / "out.h5", str(folder / "model.safetensors"),
        species="human", threads=1, device="cpu",
    )  # fmt: skip


def sequence_of(chrom, start, end):
    """Letters with N past the contig's ends."""
    padded = b"N" * 2000 + letters_of(chrom).upper() + b"N" * 2000
    return padded[start + 2000 : end + 2000]


def forward(options, chrom, first_base, *, shift=0, rc=False):
    """What the model itself says of the bins [7, 3] from a base on."""
    model = load_model(options.model)
    start = first_base - 2 * BIN_BP + shift
    letters = sequence_of(chrom, start, start + WINDOW_BP)
    letters = reverse_complement(letters) if rc else letters
    with torch.inference_mode():
        return model(torch.from_numpy(one_hot(genome_codes(letters)))[None])[options.species or "human"][0].numpy()


def bins_of(chrom, start, end):
    """Where the bins of a region that is no longer than a window's begin, by hand: its middle is theirs."""
    return start - (BIN_BP * NUM_BINS - (end - start)) // 2


def with_bed(options, text):
    path = options.genome.parent / "other.bed"
    path.write_text(text)
    return replace(options, regions=str(path))
