"""The truth of a pileup window: the label that a consensus model learns to call.

The truth is laid over the CCS read like a subread, but its own insertions never make room: they stand in line and push
the rest of the truth to the right. A window's label is what lies between the truth's columns of the window's first and
last CCS base. With the CCS read ACT and the truth ACGT (2=1I1=), in windows of two CCS bases:

    CCS      A C T        label of the window AC:  A C
    truth    A C G T      label of the window T:   T      (an insertion at a window's border belongs to no window)

Source: DeepConsensus v1.2, `pre_lib.space_out_subreads`, `Read.ccs_slice` and `DcExample.iter_examples`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.datasets.pileup import Pileup, Windows, place_read
from genoformer.io.subreads import Subread

KEPT, ADJUSTED, OVERFLOW = 0, 1, 2  # as it is, without its gaps, too long even so


@dataclass(frozen=True)
class Labels:
    """Labels of windows: `codes` uint8 [n, L], gaps at the end; `status` uint8 [n], one of the three above."""

    codes: np.ndarray
    status: np.ndarray


def window_labels(pileup: Pileup, windows: Windows, truth: Subread, length: int) -> Labels:
    """The label of each window, for windows of `length` columns.

    A label that is longer than the window loses its gaps; what is longer even then has status OVERFLOW and codes 0.

    Raises:
        AlignmentError: a truth that reaches beyond the CCS read.
    """
    line, column = _truth_line(pileup, truth)
    covered_end = truth.start + len(column)
    codes = np.zeros((len(windows), length), dtype=np.uint8)
    status = np.zeros(len(windows), dtype=np.uint8)
    for row, (start, end) in enumerate(zip(windows.ccs_start.tolist(), windows.ccs_end.tolist(), strict=True)):
        first, last = max(start, truth.start), min(end, covered_end) - 1
        if first > last or column[last - truth.start] == 0:
            continue  # uncovered; the original also loses a label that is the very first column alone
        label = line[column[first - truth.start] : column[last - truth.start] + 1]
        if len(label) > length:
            label, status[row] = label[label > 0], ADJUSTED
        if len(label) > length:
            status[row] = OVERFLOW
        else:
            codes[row, : len(label)] = label
    return Labels(codes, status)


def _truth_line(pileup: Pileup, truth: Subread) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the truth in its own columns, and the column of each CCS position that it covers."""
    placement = place_read(truth, 0, pileup.ccs)
    base_column = np.flatnonzero(pileup.ccs_index >= 0)
    slot_start = np.concatenate([[0], base_column + 1])
    inserted = placement.rank >= 0
    num_inserted = np.bincount(placement.ref[inserted], minlength=len(slot_start))
    inserted_so_far = np.cumsum(num_inserted)  # in the slots up to and with a position's own
    position = np.minimum(placement.ref, len(base_column) - 1)
    of_base = base_column[position] + inserted_so_far[position]
    before = inserted_so_far[placement.ref] - num_inserted[placement.ref]
    of_insertion = slot_start[placement.ref] + before + placement.rank
    where = np.where(inserted, of_insertion, of_base)
    covered = np.arange(truth.start, placement.end)
    column = base_column[covered] + inserted_so_far[covered]
    line = np.zeros(max(where.max(initial=-1), column.max(initial=-1)) + 1, dtype=np.uint8)
    line[where] = truth.codes[placement.kept]
    return line, column
