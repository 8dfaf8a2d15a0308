"""One simulated ZMW: the passes of a polymerase around a molecule, as the instrument delivers them.

The strands alternate from a random first one. A first pass mostly starts, and a last one ends, within the molecule: all
six real ZMWs that the error model was measured on are so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.error_model import ErrorModel, draw_conditions, read_template
from genoformer.io.read_groups import SUBREAD, read_group_id
from genoformer.io.reads import OutputRead

ADAPTER_BP = 45  # between two passes in the coordinates of the polymerase read
ADAPTER_BEFORE, ADAPTER_AFTER = 1, 2  # bits of the `cx` tag
SUBREAD_QUALITY = 0.8  # the constant `rq` of Sequel subreads

MIN_FULL_PASSES = 3  # `ccs` asks for as many; where there are no more passes, all are full
PARTIAL_PROB = 0.9  # of the first pass, and of the last
PARTIAL_SHARE = (0.05, 0.95)  # of the molecule
MIN_SUBREAD_BP = 50  # the instrument leaves out shorter ones


@dataclass(frozen=True)
class ZmwName:
    """Movie, hole number and the id of the read group of its subreads."""

    movie: str
    hole: int

    def __str__(self) -> str:
        return f"{self.movie}/{self.hole}"


def simulate_subreads(
    molecule: bytes, num_passes: int, name: ZmwName, model: ErrorModel, rng: np.random.Generator
) -> list[OutputRead]:
    """Raw subreads of a molecule in the order of sequencing, with PacBio's tags.

    Args:
        molecule: letters A, C, G, T.
        num_passes: at least 1.
    """
    conditions = draw_conditions(model, rng)
    strands = molecule, reverse_complement(molecule)
    first_strand, query_start, reads = int(rng.integers(2)), 0, []
    for index in range(num_passes):
        start, end, context = _span(len(molecule), index, num_passes, rng)
        noisy = read_template(strands[(first_strand + index) % 2][start:end], conditions, model, rng)
        sequence = noisy.sequence
        pw, ip = noisy.base_kinetics.astype(np.uint8)
        query_end = query_start + len(sequence)
        tags = (
            ("cx", "i", context),
            ("ip", "B", ip),
            ("np", "i", 1),
            ("pw", "B", pw),
            ("qe", "i", query_end),
            ("qs", "i", query_start),
            ("rq", "f", SUBREAD_QUALITY),
            ("sn", "B", conditions.sn.astype(np.float32)),
            ("zm", "i", name.hole),
            ("RG", "Z", read_group_id(name.movie, SUBREAD)),
        )
        no_quals = np.zeros(len(sequence), dtype=np.uint8)
        reads.append(OutputRead(f"{name}/{query_start}_{query_end}", sequence, no_quals, tags))
        query_start = query_end + ADAPTER_BP
    return reads


def _span(length: int, index: int, num_passes: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Template range of a pass along its own strand, and its `cx` tag."""
    partial = max(MIN_SUBREAD_BP, round(length * rng.uniform(*PARTIAL_SHARE)))
    is_partial = rng.random() < PARTIAL_PROB
    if index == 0 and is_partial and num_passes > MIN_FULL_PASSES + 1:
        return length - partial, length, ADAPTER_AFTER
    if index == num_passes - 1 and is_partial and num_passes > MIN_FULL_PASSES:
        return 0, partial, ADAPTER_BEFORE
    return 0, length, ADAPTER_BEFORE | ADAPTER_AFTER
