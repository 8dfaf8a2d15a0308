import struct

import numpy as np

from genoformer.genome.interval import Interval
from genoformer.workflows.report_tracks import TrackPanel, tracks_png

REGION = Interval("chr8", 1000, 2000)


def panel(title="CAGE:x"):
    return TrackPanel(title, np.arange(10.0), np.arange(10.0)[::-1])


def size(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_a_panel_for_each_track():
    one, three = size(tracks_png(REGION, [panel()])), size(tracks_png(REGION, [panel("a"), panel("b"), panel("c")]))
    assert one[0] == three[0]
    assert three[1] > 2 * one[1]


def test_equal_figures_give_equal_bytes():
    assert tracks_png(REGION, [panel()]) == tracks_png(REGION, [panel()])
    assert tracks_png(REGION, [panel()]) != tracks_png(REGION, [panel("other")])
