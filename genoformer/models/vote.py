"""A consensus without weights: in every column, each pass that covers it has one vote.

It is the baseline that a trained model has to beat, and the demo's model until trained weights ship.
"""

from __future__ import annotations

import numpy as np

from genoformer.genome.alphabet import NUM_PILEUP_CODES
from genoformer.genome.quality import error_prob

# Fitted to six real molecules (74.7 kb, 4 to 19 passes): what all passes get wrong together, mostly the length of
# homopolymers, falls with the number of passes; what is wrong by chance falls with the lead of the winner.
SHARED_ERROR = 0.02
LEAD_OFFSET, LEAD_WEIGHT = 1.0, 1.5


def vote(
    codes: np.ndarray, span: np.ndarray, ccs_codes: np.ndarray, ccs_quals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent code of each column and the probability that it is wrong.

    A tie that involves the gap is a gap; among bases the order is A, T, C, G. A column that no pass covers keeps the
    CCS base and its quality.

    Args:
        codes: uint8 [P, W], pileup codes of the passes, 0 at gaps.
        span: [P, 2], half-open column range that each pass covers; outside it a pass does not vote.
        ccs_codes: uint8 [W]; ccs_quals: Phred of the CCS bases [W], negative at gaps.
    Returns:
        codes uint8 [W] and error probabilities float32 [W].
    """
    num_columns = len(ccs_codes)
    votes = np.zeros((num_columns, NUM_PILEUP_CODES), dtype=np.int64)  # [W, V]
    columns = np.arange(num_columns)
    for row, (start, end) in zip(codes, span, strict=True):
        votes[columns[start:end], row[start:end]] += 1
    num_votes = votes.sum(axis=1)
    called = votes.argmax(axis=1).astype(np.uint8)
    second, first = np.partition(votes, NUM_PILEUP_CODES - 2, axis=1)[:, -2:].T
    by_chance = 1 / (1 + np.exp(LEAD_OFFSET + LEAD_WEIGHT * (first - second)))
    error = np.minimum(by_chance + SHARED_ERROR / (num_votes + 1), 1 - 1 / NUM_PILEUP_CODES)
    uncovered = num_votes == 0
    called[uncovered] = ccs_codes[uncovered]
    error[uncovered] = error_prob(np.maximum(ccs_quals[uncovered], 0))
    return called, error.astype(np.float32)
