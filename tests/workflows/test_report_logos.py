import io

import numpy as np
import pytest

from genoformer.genome.interval import Interval
from genoformer.workflows.report_logos import logo_png

pytest.importorskip("logomaker")
PLACE = Interval("chr1", 10, 14)


def inked(png):
    """Which rows of a PNG have colour in them, as the letters have and axes and text have not."""
    from matplotlib.image import imread

    image = imread(io.BytesIO(png))[..., :3]
    coloured = image.max(-1) - image.min(-1) > 0.3
    return coloured.any(1)


def test_equal_values_give_equal_bytes_of_a_png():
    values = np.array([1.0, -2.0, 0.5, 3.0])
    drawn = logo_png(PLACE, b"ACGT", values, "a $b")
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert drawn == logo_png(PLACE, b"ACGT", values, "a $b")
    assert drawn != logo_png(PLACE, b"ACGA", values, "a $b")


def test_letters_stand_where_they_count_and_n_nowhere():
    assert inked(logo_png(PLACE, b"ACAC", np.ones(4), "")).any()
    assert not inked(logo_png(PLACE, b"NNNN", np.ones(4), "")).any()


def test_a_long_logo_has_rows():
    place = Interval("chr1", 0, 201)
    rows = inked(logo_png(place, b"A" * 201, np.ones(201), ""))
    starts = np.flatnonzero(np.diff(np.r_[0, rows.astype(int)]) == 1)
    assert len(starts) == 3
