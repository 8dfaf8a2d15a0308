"""Tracks that an expression model predicts for the alleles of variants, each window's reference computed once.

A prediction is the mean over views of the window: moved by shifts, and from either strand. For each view the tower's
bins of the genome's sequence are kept; an allele's bins are computed only where they differ from these. An indel is
predicted twice, anchored left and right, and put together at the bin that it starts in, so that all bins are compared
with the reference's at the same genomic positions.

A row of the model's input gives the same bits whatever other rows are computed with it: on a CPU each is computed
alone, elsewhere in batches of one shape, filled up where rows are missing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.genome.alphabet import one_hot, reverse_complement_codes
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Anchor, Fetch, Variant, allele_codes
from genoformer.models.expression import ExpressionTransformer
from genoformer.models.tower_reuse import Slice, changed_slice, substitution_bins, widened
from genoformer.nn.precision import float32_products

Precision = Literal["fp32", "tf32", "bf16-tower", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RowT = TypeVar("RowT")


class Comparison(NamedTuple):
    """Two alleles in a window of the genome: what is changed there; None: nothing, the sequence of the genome."""

    window: Interval
    ref: Variant | None
    alt: Variant | None


class AlleleTracks(NamedTuple):
    """Predictions for the two alleles of a comparison, [N, T] each, in the dtype of the model."""

    ref: np.ndarray
    alt: np.ndarray


class View(NamedTuple):
    """How a window is read: moved by so many bases, and from which strand."""

    shift_bp: int
    is_reverse: bool


@dataclass(frozen=True)
class PredictorSettings:
    """What is predicted, and how.

    Attributes:
        species: the head.
        track_indices: of the head's outputs, in the order wanted; None: all.
        reverse_complement: take the mean over both strands.
        shifts: take the mean over windows moved by so many bases.
        stitch: put predictions for indels together at the variant; else they are anchored left only.
        reuse: compute the tower where an allele differs from the genome only; else everywhere.
        batch_size: rows that a GPU takes at once; a CPU takes one after the other.
        precision: fp32 has no TF32 in it; bf16-tower leaves the transformer in fp32.
    """

    species: str
    track_indices: tuple[int, ...] | None = None
    reverse_complement: bool = False
    shifts: tuple[int, ...] = (0,)
    stitch: bool = True
    reuse: bool = True
    batch_size: int = 1
    precision: Precision = "fp32"

    def check(self, config: ExpressionConfig) -> None:
        """Raises UsageError for a species, track, shift, batch size or precision that cannot be, or not of a model."""
        if self.species not in config.heads:
            raise UsageError(f"species is '{self.species}'; the model has {', '.join(config.heads)}")
        num_tracks = config.heads[self.species]
        wrong = next((index for index in self.track_indices or () if not 0 <= index < num_tracks), None)
        if wrong is not None:
            raise UsageError(f"track {wrong} is asked for; '{self.species}' has {num_tracks}, from 0")
        most = config.window_bp // 4
        if not self.shifts or any(abs(shift) > most for shift in self.shifts):
            raise UsageError(f"shifts are {list(self.shifts)}; expected at least one, from {-most} to {most} bp")
        if self.batch_size < 1:
            raise UsageError(f"the batch size is {self.batch_size}; expected at least 1")
        if self.precision not in PRECISIONS:
            raise UsageError(f"the precision is '{self.precision}'; expected one of {', '.join(PRECISIONS)}")


class _Row(NamedTuple):
    """A sequence to predict: its codes uint8 [L], and codes and bins of the genome's sequence in the same view."""

    codes: np.ndarray
    known: np.ndarray
    known_bins: Tensor


class _Reference(NamedTuple):
    """The genome's sequence in a window: for each view its codes uint8 [L] and the tower's bins [L / bin_bp, D]."""

    codes: list[np.ndarray]
    bins: list[Tensor]
    tracks: np.ndarray  # [N, T]


class AllelePredictor:
    """Predicts pairs of alleles, in order, as many at a time as a batch has rows.

    Args:
        model: in evaluation mode.
        fetch: gives the genome, with N past the contigs' ends.
    Attributes:
        num_bins: bins of a prediction.
        views: that each prediction is the mean of.
    Raises:
        UsageError: settings that do not fit the model.
    """

    def __init__(self, model: ExpressionTransformer, fetch: Fetch, settings: PredictorSettings) -> None:
        settings.check(model.config)
        self.model, self.fetch, self.settings = model, fetch, settings
        self.config, self.num_bins = model.config, model.config.target_bins
        strands = (False, True) if settings.reverse_complement else (False,)
        self.views = [View(*view) for view in itertools.product(settings.shifts, strands)]
        tracks = model.tracks[settings.species]
        indices = range(len(tracks)) if settings.track_indices is None else settings.track_indices
        # Seen from the other strand, a track of one strand is the track of the other.
        self._columns = {False: list(indices), True: [tracks[index].strand_pair for index in indices]}
        # On a CPU the place of a row in a batch can change its last bits.
        self._rows_at_once = 1 if model.positions.device.type == "cpu" else settings.batch_size
        self._references: dict[Interval, _Reference] = {}

    def predict(self, comparisons: Iterable[Comparison]) -> Iterator[AlleleTracks]:
        """The tracks of each comparison; neighbours with the same window share what they have in common."""
        pending = iter(comparisons)
        while chunk := list(itertools.islice(pending, self.settings.batch_size)):
            with torch.inference_mode(), float32_products(allow_tf32=self.settings.precision == "tf32"):
                found = self._predict_chunk(chunk)
            yield from found

    def covered(self, window: Interval) -> Interval:
        """The bases that the bins of a prediction lie on."""
        start = window.start + self._cropped_bins * self.config.bin_bp
        return Interval(window.chrom, start, start + self.num_bins * self.config.bin_bp)

    def _predict_chunk(self, chunk: list[Comparison]) -> list[AlleleTracks]:
        self._update_references(list(dict.fromkeys(comparison.window for comparison in chunk)))
        edits = [
            (comparison.window, variant)
            for comparison in chunk
            for variant in (comparison.ref, comparison.alt)
            if variant is not None
        ]
        rows = [row for window, variant in edits for row in self._rows(window, variant)]
        predictions = iter(self._tracks(self._bins(rows)))
        edited = {edit: self._put_together(*edit, predictions) for edit in edits}
        return [
            AlleleTracks(*(
                self._references[window].tracks if variant is None else edited[window, variant]
                for variant in (ref, alt)
            ))
            for window, ref, alt in chunk
        ]  # fmt: skip

    def _update_references(self, windows: list[Interval]) -> None:
        """Keeps the references of these windows only, and computes those that are not there yet."""
        known, self._references = self._references, {}
        for window in windows:
            self._references[window] = known.get(window) or self._reference(window)

    def _reference(self, window: Interval) -> _Reference:
        codes = [self._turned(self.fetch(self._moved(window, view)), view) for view in self.views]
        bins = self._tower(codes, 1)  # a whole sequence fills any machine
        tracks = self._tracks(bins)
        return _Reference(codes, bins, _mean([self._forward(*pair) for pair in zip(tracks, self.views, strict=True)]))

    def _anchors(self, variant: Variant) -> tuple[Anchor, ...]:
        return ("left", "right") if variant.is_indel and self.settings.stitch else ("left",)

    def _rows(self, window: Interval, variant: Variant) -> Iterator[_Row]:
        """The sequences that a variant is predicted from: for each view one, or two of an indel."""
        reference = self._references[window]
        for view, known, known_bins in zip(self.views, reference.codes, reference.bins, strict=True):
            for anchor in self._anchors(variant):
                codes = allele_codes(variant, self._moved(window, view), self.fetch, anchor)
                yield _Row(self._turned(codes, view), known, known_bins)

    def _put_together(self, window: Interval, variant: Variant, predictions: Iterator[Tensor]) -> np.ndarray:
        """The tracks of a variant, [N, T], from the predictions for its rows."""
        views = []
        for view in self.views:
            parts = [self._forward(next(predictions), view) for _ in self._anchors(variant)]
            start = self.covered(self._moved(window, view)).start
            following = (variant.start - start) // self.config.bin_bp + 1  # the bin after the one it starts in
            cut = min(max(following, 0), self.num_bins)
            views.append(np.concatenate([parts[0][:cut], parts[-1][cut:]]))
        return _mean(views)

    def _bins(self, rows: Sequence[_Row]) -> list[Tensor]:
        """The tower's bins of each row, [L / bin_bp, D]."""
        if not self.settings.reuse:
            return [self._tower([row.codes], 1)[0] for row in rows]
        num_bins, usual = self.config.window_bp // self.config.bin_bp, substitution_bins(self.config)
        bins, short = [row.known_bins for row in rows], {}
        for place, row in enumerate(rows):
            found = changed_slice(self.config, row.codes, row.known)
            if found is not None and found.end - found.start <= usual:
                short[place] = widened(found, usual, num_bins)
            elif found is not None:
                self._recompute_(bins, rows, {place: found}, 1)
        self._recompute_(bins, rows, short, self._rows_at_once)
        return bins

    def _recompute_(self, bins: list[Tensor], rows: Sequence[_Row], slices: dict[int, Slice], batch_size: int) -> None:
        """Replaces the bins of some rows, by their places, with copies in which the changed ones are right."""
        bin_bp = self.config.bin_bp
        sequences = [rows[place].codes[found.start * bin_bp : found.end * bin_bp] for place, found in slices.items()]
        for (place, found), piece in zip(slices.items(), self._tower(sequences, batch_size), strict=True):
            bins[place] = bins[place].clone()
            bins[place][found.first_changed : found.end_changed] = piece[
                found.first_changed - found.start : found.end_changed - found.start
            ]

    def _tower(self, sequences: Sequence[np.ndarray], batch_size: int) -> list[Tensor]:
        """The tower's bins of sequences of one length, [L / bin_bp, D] each."""
        dtype, device = self.model.positions.dtype, self.model.positions.device

        def run(batch: list[np.ndarray]) -> Tensor:
            with _bf16(device, self.settings.precision in ("bf16-tower", "bf16")):
                return self.model.bins(torch.from_numpy(one_hot(np.stack(batch))).to(device)).to(dtype)

        return _in_batches(run, sequences, batch_size)

    def _tracks(self, bins: Sequence[Tensor]) -> list[Tensor]:
        """All tracks of the species for each row of bins, [N, all tracks], as the strand of the row has them."""
        device = self.model.positions.device

        def run(batch: list[Tensor]) -> Tensor:
            with _bf16(device, self.settings.precision == "bf16"):
                mixed = self.model.mix(torch.stack(batch))
            return self.model.predict(mixed, [self.settings.species])[self.settings.species]

        return _in_batches(run, bins, self._rows_at_once)

    def _forward(self, tracks: Tensor, view: View) -> np.ndarray:
        """The chosen tracks of a prediction in the sense of the genome, [N, T]."""
        found = tracks[:, self._columns[view.is_reverse]].cpu().numpy()
        return found[::-1] if view.is_reverse else found

    @property
    def _cropped_bins(self) -> int:
        return (self.config.window_bp // self.config.bin_bp - self.num_bins) // 2

    @staticmethod
    def _moved(window: Interval, view: View) -> Interval:
        return Interval(window.chrom, window.start + view.shift_bp, window.end + view.shift_bp)

    @staticmethod
    def _turned(codes: np.ndarray, view: View) -> np.ndarray:
        return reverse_complement_codes(codes) if view.is_reverse else codes


def _in_batches(run: Callable[[list[RowT]], Tensor], rows: Sequence[RowT], batch_size: int) -> list[Tensor]:
    """What `run` makes of each row, from batches of one size; the last one is filled up with copies of its last row."""
    found: list[Tensor] = []
    for start in range(0, len(rows), batch_size):
        batch = list(rows[start : start + batch_size])
        found.extend(run(batch + batch[-1:] * (batch_size - len(batch)))[: len(batch)])
    return found


def _mean(views: list[np.ndarray]) -> np.ndarray:
    return sum(views[1:], start=views[0].copy()) / views[0].dtype.type(len(views))


def _bf16(device: torch.device, enabled: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
