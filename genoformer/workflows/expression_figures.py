"""Figures of how well tracks are predicted: of each track, and their averages by assay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from genoformer.genome.track import Track
from genoformer.nn.track_metrics import TrackMoments
from genoformer.workflows.gene_sums import NEIGHBOURS, GeneSums

DEFINITIONS = {
    "pearson_bins": "Pearson correlation over all bins of all windows together",
    "r2_bins": "1 - squared residuals / squared deviations from the mean, over all bins of all windows together",
    "pearson_bins_log1p": "as pearson_bins, of log(1 + value)",
    "r2_bins_log1p": "as r2_bins, of log(1 + value)",
    "pearson_genes_log1p": (
        "Pearson correlation across genes of log(1 + sum over the bins in which the gene's transcripts start and "
        f"{NEIGHBOURS} on either side of each), on the gene's strand where the track has a pair"
    ),
}
_OF_GENES = "pearson_genes_log1p"
_TRACK_COLUMNS = ("index", "identifier", "description", "assay", "mean_measured", "mean_predicted")
_DECIMALS = 6


class TrackTotals:
    """What is added up over windows.

    Args:
        num_tracks: T.
        genes: sums the bins of genes; None: no figures across genes.
    """

    def __init__(self, num_tracks: int, genes: GeneSums | None = None) -> None:
        self.plain, self.log1p, self.genes = TrackMoments(num_tracks), TrackMoments(num_tracks), genes

    def add_(self, first: int, *, predicted: Tensor, measured: Tensor) -> None:
        """Adds windows from number `first` on, [B, N, T] each."""
        self.plain.update_(predicted=predicted, measured=measured)
        self.log1p.update_(predicted=predicted.double().log1p(), measured=measured.double().log1p())
        if self.genes is not None:
            for window, values in enumerate(zip(predicted, measured, strict=True), first):
                self.genes.add_(window, predicted=values[0], measured=values[1])

    def figures(self, tracks: Sequence[Track]) -> dict[str, Any]:
        """What the figures are called and mean, those of each track, and averages of all tracks and of each assay's.

        A figure is None where it is not defined: a track never varies, or is below -1 and has no logarithm.
        """
        rows = _track_rows(tracks, self)
        metrics = [name for name in DEFINITIONS if name in rows[0]]
        assays = {assay: [row for row in rows if row["assay"] == assay] for assay in sorted({r["assay"] for r in rows})}
        return {
            "definitions": {name: DEFINITIONS[name] for name in metrics},
            "all": _averages(rows, metrics),
            "assays": {assay: _averages(found, metrics) for assay, found in assays.items()},
            "tracks": rows,
        }


def _track_rows(tracks: Sequence[Track], totals: TrackTotals) -> list[dict[str, Any]]:
    """A row a track: what it is, and its figures; None where a figure is not defined."""
    mean_predicted, mean_measured = totals.plain.means()
    figures = {
        "mean_measured": mean_measured,
        "mean_predicted": mean_predicted,
        "pearson_bins": totals.plain.pearson(),
        "r2_bins": totals.plain.r2(),
        "pearson_bins_log1p": totals.log1p.pearson(),
        "r2_bins_log1p": totals.log1p.r2(),
    }
    if totals.genes is not None:
        figures[_OF_GENES] = totals.genes.moments.pearson()
    columns = {name: values.tolist() for name, values in figures.items()}
    return [
        {
            "index": place,
            "identifier": track.identifier,
            "description": track.description,
            "assay": track.assay or "other",
        }
        | {name: _rounded(values[place]) for name, values in columns.items()}
        for place, track in enumerate(tracks)
    ]


def _rounded(value: float) -> float | None:
    """None for NaN and infinities, which JSON does not have."""
    return round(value, _DECIMALS) if math.isfinite(value) else None


def _averages(rows: list[dict[str, Any]], metrics: list[str]) -> dict[str, Any]:
    """The number of tracks, and of each metric mean and median of those for which it is defined, and their number."""
    found: dict[str, Any] = {"tracks": len(rows)}
    for name in metrics:
        values = [row[name] for row in rows if row[name] is not None]
        mean, median = (np.mean(values), np.median(values)) if values else (math.nan, math.nan)
        found[name] = {"mean": _rounded(float(mean)), "median": _rounded(float(median)), "tracks": len(values)}
    return found


def tracks_tsv(summary: dict[str, Any]) -> bytes:
    """A line a track; a field is empty where a figure is not defined.

    Args:
        summary: holds what `TrackTotals.figures` returns.
    """
    columns = [*_TRACK_COLUMNS, *summary["definitions"]]
    lines = [columns, *([_field(row[name]) for name in columns] for row in summary["tracks"])]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _field(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.{_DECIMALS}f}" if isinstance(value, float) else str(value)
