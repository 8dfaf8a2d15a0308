"""Molecules with known errors, their truth and their reads, for tests of `assess` and `calibrate`."""

from __future__ import annotations

import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pysam

from genoformer.genome.alphabet import reverse_complement
from tests.bam_builder import ccs_read, write_bam

LETTERS = np.frombuffer(b"ACGT", np.uint8)


def random_letters(rng: np.random.Generator, length: int) -> bytes:
    """Bases of which no two neighbours are equal, so that every error has one place."""
    steps = rng.integers(1, 4, length)
    return LETTERS[np.cumsum(steps) % 4].tobytes()


def substituted(truth: bytes, is_wrong: np.ndarray) -> bytes:
    """The truth with the bases at `is_wrong` replaced by their complement."""
    turned = np.frombuffer(reverse_complement(truth)[::-1], np.uint8)
    return np.where(is_wrong, turned, np.frombuffer(truth, np.uint8)).tobytes()


def write_truth(path: Path, truths: Iterable[tuple[str, bytes]]) -> str:
    path.write_text("".join(f">{name}\n{letters.decode()}\n" for name, letters in truths))
    return str(path)


def real_truth(shared: Path, path: Path) -> str:
    """The truth of the nine real molecules that have one, as FASTA."""
    source = shared / "consensus" / "human_1m" / "truth_to_ccs.fixed.bam"
    with pysam.AlignmentFile(str(source), check_sq=False) as file:
        return write_truth(path, [(read.query_name, read.query_sequence.encode()) for read in file])


def miscalibrated_reads(folder: Path, name: str, zmws: Iterable[int], seed: int, size: int = 5000) -> tuple[str, str]:
    """Reads and their truth; predicted qualities are 8 too high, copied bases say Q93 and are worth Q25."""
    rng = np.random.default_rng(seed)
    reads, truths = [], []
    for zmw in zmws:
        truth = random_letters(rng, size)
        is_copied = np.arange(size) % 1000 >= 800
        quals = np.where(is_copied, 93, rng.choice([18, 22, 25, 30, 35], size))
        real = np.where(is_copied, 25, quals - 8)
        read = substituted(truth, rng.random(size) < 10 ** (-real / 10))
        runs = array.array("I", [800, 200] * (size // 1000))
        reads.append(ccs_read(zmw, read.decode(), quals.tolist(), movie="m", cp=runs))
        truths.append((f"m/{zmw}/truth", truth))
    bam = write_bam(folder / f"{name}.bam", reads)
    return str(bam), write_truth(folder / f"{name}.fa", truths)
