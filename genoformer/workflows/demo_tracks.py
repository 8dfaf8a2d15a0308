"""`python -m genoformer.workflows.demo_tracks PREDICTED_DIR TARGETS REGION OUT.png`: predicted and measured tracks.

Prints the correlation of each track over the bins of the region, and draws both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from genoformer.genome.interval import Interval, parse_interval
from genoformer.genome.track import Track, bin_coverage, fill_missing
from genoformer.io.bigwig import BigWig
from genoformer.io.reads import read_json, whole_files
from genoformer.io.targets import read_targets
from genoformer.workflows.output import summary_path
from genoformer.workflows.prediction_store import store_path
from genoformer.workflows.report_tracks import TrackPanel, tracks_png


def panels(predicted_dir: Path, targets: Path, region: Interval) -> list[TrackPanel]:
    """Measured and predicted values of all tracks of a targets table, which `predict` wrote into a folder.

    Args:
        region: as it was predicted, of whole bins.
    """
    summary = read_json(summary_path(store_path(predicted_dir)))
    files = [predicted_dir / name for name in summary["files"]]
    return [
        _panel(track, file, region, summary["bin_bp"]) for track, file in zip(read_targets(targets), files, strict=True)
    ]


def _panel(track: Track, file: Path, region: Interval, bin_bp: int) -> TrackPanel:
    with BigWig(track.file) as coverage, BigWig(file) as predictions:
        measured = bin_coverage(fill_missing(coverage.values(region), interpolate=False), track, bin_bp)
        return TrackPanel(track.description, measured, predictions.values(region)[::bin_bp])


def main(predicted_dir: str, targets: str, region: str, png: str) -> None:
    """Prints the correlation of each track and writes the picture."""
    interval = parse_interval(region)
    found = panels(Path(predicted_dir), Path(targets), interval)
    print(f"{len(found[0].measured)} bins of {region:<30}Pearson correlation of predicted and measured")
    for panel in found:
        print(f"{panel.title:<40}{np.corrcoef(panel.measured, panel.predicted)[0, 1]:8.3f}")
    with whole_files([png]) as files:
        files[png].write(tracks_png(interval, found))


if __name__ == "__main__":
    main(*sys.argv[1:])
