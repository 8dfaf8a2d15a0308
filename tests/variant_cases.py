"""A small expression model with Enformer's bins of 128 bp and strong effects, and a random genome for variants."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from genoformer.config import ExpressionConfig
from genoformer.genome.alphabet import GENOME_LETTERS, genome_codes
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.genome.variant import Variant
from genoformer.models.checkpoint import save_checkpoint
from genoformer.models.expression import ExpressionTransformer
from tests.expression_reference import random_weights_

WINDOW_BP, TARGET_BINS = 4096, 20  # 32 bins of 128 bp, 6 cropped at either end
TOWER_GAIN, HEAD_GAIN = 1.4, 0.3  # of the random weights: effects far above rounding, predictions about 1

SMALL = ExpressionConfig(
    window_bp=WINDOW_BP, target_bins=TARGET_BINS, heads={"human": 4, "mouse": 2}, stem_width=6,
    tower_widths=(6, 8, 8, 8, 10, 12), num_layers=2, num_heads=2, key_width=4, value_width=6, filter_width=12,
    pointwise_width=12, position_features=12,
)  # fmt: skip

# Tracks 1 and 2 are the strands of one experiment.
TRACKS = {
    "human": tuple(
        Track(f"ENC{i}", f"{assay}:{cell}", "", "sum", 1.0, None, None, pair)
        for i, (assay, cell, pair) in enumerate([("CAGE", "liver", 0), ("RNA", "liver +", 2), ("RNA", "liver -", 1),
                                                 ("DNASE", "K562", 3)])
    ),
    "mouse": tuple(Track(f"MUS{i}", "", "", "sum", 1.0, None, None, i) for i in range(2)),
}  # fmt: skip


def small_model(config: ExpressionConfig = SMALL) -> ExpressionTransformer:
    """With random weights under which variants matter."""
    model = random_weights_(ExpressionTransformer(config, TRACKS)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(("stem.", "tower.")) and name.endswith("convolution.weight"):
                weight *= TOWER_GAIN
            if name.startswith("heads.") and name.endswith("weight"):
                weight *= HEAD_GAIN
    return model


def random_letters(length: int, seed: int = 0) -> str:
    """A contig of random bases."""
    codes = np.random.default_rng(seed).integers(0, 4, length)
    return np.frombuffer(GENOME_LETTERS, np.uint8)[codes].tobytes().decode()


def letters_of(contig: str, start: int, end: int) -> str:
    """The bases from start to end, N past the contig's ends."""
    return "".join(contig[i] if 0 <= i < len(contig) else "N" for i in range(start, end))


def fetch_from(contigs: dict[str, str]):
    """What gives the codes of an interval."""

    def fetch(interval: Interval) -> np.ndarray:
        return genome_codes(letters_of(contigs[interval.chrom], interval.start, interval.end).encode())

    return fetch


@dataclass(frozen=True)
class Case:
    """Files of a run: a model, a genome with chr1 and chr2, and a VCF of variants of every kind in them."""

    model: Path
    genome: Path
    vcf: Path
    contigs: dict[str, str]
    variants: list[Variant]


def write_case(folder: Path, num_each: int = 2) -> Case:
    """Writes a case with `num_each` substitutions, insertions and deletions, and two ALTs that are left out."""
    contigs = {"chr1": random_letters(9000, seed=1), "chr2": random_letters(5000, seed=2)}
    (folder / "genome.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in contigs.items()))
    model = small_model()
    save_checkpoint(folder / "model.safetensors", model.state_dict(), SMALL, tracks=TRACKS)
    variants = []
    for i in range(num_each):
        one, two = contigs["chr1"], contigs["chr2"]
        variants.append(snv(one, 3000 + 37 * i))
        variants.append(Variant("chr1", 3010 + 37 * i, one[3010 + 37 * i], one[3010 + 37 * i] + "GAT"))
        variants.append(Variant("chr2", 100 + 41 * i, two[100 + 41 * i : 107 + 41 * i], two[100 + 41 * i]))
    write_vcf(folder / "calls.vcf", variants, extra=f"chr2\t2000\tmany\t{contigs['chr2'][1999]}\t*,<DEL>\t.\t.\t.\n")
    return Case(folder / "model.safetensors", folder / "genome.fa", folder / "calls.vcf", contigs, variants)


def write_vcf(path: Path, variants: list[Variant], extra: str = "") -> None:
    """A VCF file of variants, one a record."""
    rows = "".join(f"{v.chrom}\t{v.start + 1}\t{v.name or '.'}\t{v.ref}\t{v.alt}\t.\t.\t.\n" for v in variants)
    path.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + rows + extra)


def snv(contig: str, start: int, chrom: str = "chr1") -> Variant:
    """The base of the contig at `start` replaced by the next one in the alphabet."""
    ref = contig[start]
    return Variant(chrom, start, ref, "ACGT"["ACGT".index(ref) - 3])


def damaged_copies(rng: random.Random, content: bytes) -> Iterator[bytes]:
    """Fifty truncated copies and 200 with a flipped bit."""
    for _ in range(50):
        yield content[: rng.randrange(len(content))]
    for _ in range(200):
        at = rng.randrange(len(content))
        yield content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
