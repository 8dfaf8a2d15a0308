"""`genoformer variants report`: the variants of a file of scores that matter most, as one HTML page."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import DataError, UsageError
from genoformer.genome.interval import find_contig
from genoformer.genome.track_choice import choose_tracks
from genoformer.genome.variant import Variant, centred_window, grid_window
from genoformer.genome.variant_scores import full_name
from genoformer.io.reads import write_bytes
from genoformer.io.score_hdf5 import ScoreFile
from genoformer.wording import counted, near_hint
from genoformer.workflows.report_variants import ReportedVariant, ReportFacts, variants_html

logger = logging.getLogger(__name__)

IGV_VERSION = "3.8.10"  # of npm's package igv, with which the page is tested
IGV_SHA256 = "87b991ae2a720978172e269dd5127c495e56df5af31144dff19c83124e2f5744"  # of its dist/igv.min.js
MAX_TOP = 10_000
_SCORES_SHOWN = 8  # in a message
_MAX_IGV_BYTES = 1 << 25
_HTML_SUFFIXES = (".html", ".htm")
_TOLD = ("model", "genome", "species", "version", "precision")


@dataclass(frozen=True)
class ReportOptions:
    """What to report, and where.

    Attributes:
        scores: a .h5 file of `score` or `join`.
        top: number of variants.
        rank_by: score that ranks them; None: the first of the file.
        tracks: that count; see `genome.track_choice.choose_tracks`; none: all of the file.
        num_plots: tracks, those with the largest scores, that are drawn of a variant.
        igv: igv.min.js; None: the page has no genome browser.
    """

    scores: Path
    output: Path
    top: int = 50
    rank_by: str | None = None
    tracks: tuple[str, ...] = ()
    num_plots: int = 3
    igv: Path | None = None

    def check(self) -> None:
        """Raises UsageError for options that cannot work, whatever is in the files."""
        if self.output.suffix.lower() not in _HTML_SUFFIXES:
            raise UsageError(f"--output is '{self.output}'; expected a .html file")
        if not 1 <= self.top <= MAX_TOP:
            raise UsageError(f"--top is {self.top}; expected 1 to {MAX_TOP:,}")
        if self.num_plots < 0:
            raise UsageError(f"--plots is {self.num_plots}; expected at least 0")


def report_scores(options: ReportOptions) -> dict[str, Any]:
    """Writes the page; returns how many variants it has of how many, and whether it has tracks and a browser.

    Raises:
        UsageError: options that cannot work.
        DataError: a damaged file, or one without variants.
        OutputError: the page cannot be written.
    """
    options.check()
    igv = None if options.igv is None else _read_igv(options.igv)
    with ScoreFile(options.scores) as file:
        if not file.num_rows:
            raise DataError(f"{options.scores}: has no variants; there is nothing to report")
        scores = _ranked_scores(options, file.table.scores)
        columns = choose_tracks(list(file.table.tracks.values()), options.tracks)
        places, best = _top(file, scores[0], columns, options.top)
        order = [file.table.scores.index(score) for score in scores]
        variants = [
            _reported(file, place, column, order, columns, options.num_plots)
            for place, column in zip(places, best, strict=True)
        ]
        facts = _facts(file, scores)
    write_bytes(options.output, variants_html(facts, variants, igv))
    has_tracks = bool(file.table.num_bins and options.num_plots)
    if not file.table.num_bins:
        logger.info("%s: %s", options.scores, facts.no_tracks)
    if igv is None:
        logger.info("no --igv: the page has no genome browser")
    return {"variants": len(variants), "of": file.num_rows, "tracks": has_tracks, "browser": igv is not None}


def _read_igv(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_IGV_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > _MAX_IGV_BYTES or "igv" not in text:
        raise DataError(f"{path}: is not igv.js; expected dist/igv.min.js of npm's package igv")
    if hashlib.sha256(content).hexdigest() != IGV_SHA256:
        logger.warning("%s: is not that of igv %s, with which the page is tested", path, IGV_VERSION)
    return text


def _ranked_scores(options: ReportOptions, scores: Sequence[str]) -> list[str]:
    """The names of a file's scores, the one that ranks first."""
    wanted = scores[0] if options.rank_by is None else options.rank_by
    first = wanted if wanted in scores else full_name(wanted)
    if first not in scores:
        shown, more = ", ".join(scores[:_SCORES_SHOWN]), len(scores) - _SCORES_SHOWN
        shown += f" and {counted(more, 'other score')}" if more > 0 else ""
        raise UsageError(f"--rank-by is '{wanted}'; {options.scores} has {shown}{near_hint(wanted, scores)}")
    return [first, *(score for score in scores if score != first)]


def _top(file: ScoreFile, score: str, columns: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """Places of the variants with the largest magnitudes, in that order, and the column where each is."""
    largest, best = [], []
    for block in file.blocks(score):
        magnitude = np.nan_to_num(np.abs(block[:, columns]), nan=0.0)
        best.append(magnitude.argmax(axis=1))
        largest.append(magnitude.max(axis=1))
    places = np.argsort(-np.concatenate(largest), kind="stable")[:most]
    return places.tolist(), [columns[column] for column in np.concatenate(best)[places].tolist()]


def _reported(
    file: ScoreFile, place: int, best: int, order: Sequence[int], columns: Sequence[int], num_plots: int
) -> ReportedVariant:
    row, indices = file.row(place), list(file.table.tracks)
    variant = row.head.variant
    magnitude = np.abs(row.values[order[0]])
    drawn = sorted(columns, key=lambda column: -magnitude[column])[:num_plots]
    predictions = {} if row.predictions is None else {indices[c]: row.predictions[:, :, c] for c in drawn}
    contig = find_contig(variant.chrom, file.table.contigs) or variant.chrom
    return ReportedVariant(
        variant, row.head.note, contig, row.values[order, best], indices[best], _first_base(file, variant), predictions
    )


def _first_base(file: ScoreFile, variant: Variant) -> int:
    """Where the predicted bins of a variant begin."""
    attributes = file.table.attributes
    window_bp, bin_bp, grid_bp = (int(attributes[name]) for name in ("window_bp", "bin_bp", "grid_bp"))
    if grid_bp:
        window = grid_window(variant, window_bp, grid_bp)
    else:
        window = centred_window(variant, window_bp, attributes["centre"])
    return window.start + (window_bp // bin_bp - file.table.num_bins) // 2 * bin_bp


def _facts(file: ScoreFile, scores: Sequence[str]) -> ReportFacts:
    attributes = file.table.attributes
    return ReportFacts(
        scores,
        {index: track.description or track.identifier for index, track in file.table.tracks.items()},
        file.table.contigs,
        {name: str(attributes[name]) for name in _TOLD if name in attributes},
        file.num_rows,
        int(attributes["bin_bp"]),
        "no predictions are kept in it, so the page has no tracks: score with --predictions",
    )
