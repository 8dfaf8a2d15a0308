"""What experiments would measure along a genome with planted promoters and enhancers.

Source: nobody's data; shapes and sizes are set so that the tracks look like DNase, H3K27ac and CAGE from afar.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genoformer.genome.regulatory_grammar import PROMOTER, Element
from genoformer.genome.track import Track

STEP_BP = 8  # resolution of the coverage
LEAK = 0.08  # transcription from a promoter without a whole core in place
ONE_SITE = 0.2  # what a whole site alone does for an enhancer
DECAY_BP = 700  # distance over which the effect of an enhancer on a promoter falls to 1 / e
ENHANCER_GAIN, GC_BOX_GAIN = 1.5, 1.0
READS_PER_UNIT = 4  # how many reads a step's coverage of 1 stands for: the fewer, the noisier
BACKGROUND = {"DNASE": 0.25, "CHIP": 0.25, "CAGE": 0.002}

TRACKS = (
    Track("dnase_a", "DNASE:cell A", "dnase_a.bw", "mean", 1.0, None, None, 0),
    Track("dnase_b", "DNASE:cell B", "dnase_b.bw", "mean", 1.0, None, None, 1),
    Track("h3k27ac_a", "CHIP:H3K27ac:cell A", "h3k27ac_a.bw", "mean", 1.0, None, None, 2),
    Track("cage_a_plus", "CAGE:cell A, plus strand", "cage_a_plus.bw", "sum", 0.25, None, None, 4),
    Track("cage_a_minus", "CAGE:cell A, minus strand", "cage_a_minus.bw", "sum", 0.25, None, None, 3),
)

_DNASE_SD, _ACETYLATION_SD, _ACETYLATION_FROM_MIDDLE, _CAGE_SD = 55.0, 110.0, 220.0, 12.0
_DNASE_PEAK, _ACETYLATION_PEAK, _CAGE_PEAK = 8.0, 5.0, 1.5


def expression(promoter: Element, elements: Sequence[Element]) -> float:
    """Transcription from a promoter in cell A, 1 for one with its core alone."""
    core = 1.0 if promoter.is_functional else LEAK
    gain = sum(
        np.exp(-abs(element.position - promoter.position) / DECAY_BP)
        for element in elements
        if element.kind == "enhancer_A" and element.is_functional
    )
    return float(core * (1 + GC_BOX_GAIN * promoter.num_gc_boxes) * (1 + ENHANCER_GAIN * gain))


def openness(element: Element, cell: str) -> float:
    """How open an element is in a cell, A or B: promoters in both, enhancers in their own."""
    if element.kind == PROMOTER:
        return 0.1 + 0.3 * element.num_gc_boxes + 0.5 * element.is_functional
    alone = ONE_SITE * sum(site.broken_at is None for site in element.sites)
    return (1.0 if element.is_functional else alone) * element.kind.endswith(cell)


def expected_coverage(length_bp: int, elements: Sequence[Element]) -> np.ndarray:
    """Mean coverage of each track in `TRACKS` at every step of a contig, float64 [T, ceil(length / STEP_BP)]."""
    middles = STEP_BP * np.arange(-(-length_bp // STEP_BP)) + STEP_BP / 2
    coverage = np.stack([np.full(len(middles), BACKGROUND[track.assay]) for track in TRACKS])
    for element in elements:
        for row, cell in enumerate("AB"):
            coverage[row] += _DNASE_PEAK * openness(element, cell) * _bell(middles - element.position, _DNASE_SD)
        is_promoter = element.kind == PROMOTER
        marked = min(expression(element, elements), 2.0) / 2 if is_promoter else openness(element, "A")
        for side in (-1, 1):
            from_flank = middles - element.position - side * _ACETYLATION_FROM_MIDDLE
            coverage[2] += _ACETYLATION_PEAK * marked * _bell(from_flank, _ACETYLATION_SD)
        if is_promoter:
            row = 3 if element.strand == "+" else 4
            coverage[row] += _CAGE_PEAK * expression(element, elements) * _bell(middles - element.position, _CAGE_SD)
    return coverage


def noisy(coverage: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Coverage as reads that fall at random give it, float32."""
    return (rng.poisson(coverage * READS_PER_UNIT) / READS_PER_UNIT).astype(np.float32)


def _bell(distance: np.ndarray, sd: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / sd) ** 2)
