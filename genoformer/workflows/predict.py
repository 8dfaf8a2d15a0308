"""`genoformer expression predict`: tracks along regions of a genome, as bigWigs or in one HDF5 file.

A region has the bins of one window in whose middle it lies. One that is longer than a window's bins has as many as
cover it, from several windows that overlap: each bin comes from one of them, the one in which it lies nearer to the
middle. Predictions go to a file whose layout is fixed from the start, so memory is that of a batch; bigWigs are made
of that file at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genoformer.io.genome_fasta import Genome
from genoformer.io.predictions import Layout
from genoformer.workflows.device import find_device
from genoformer.workflows.predict_options import PredictOptions
from genoformer.workflows.prediction_plan import (
    Window,
    read_regions,
    shard_of,
    stretch_of,
    tiles_of,
    windows_of,
)
from genoformer.workflows.prediction_run import run_predictions
from genoformer.workflows.prediction_store import PredictionStore
from genoformer.workflows.track_model import TrackModel
from genoformer.workflows.track_predictor import TrackPredictor

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Averaged:
    """Predicts some of the tracks, as the mean over sequences that are moved while the bins stay.

    Attributes:
        shifts: bases to the right.
        indices: of the tracks.
    """

    predictor: TrackPredictor
    shifts: Sequence[int]
    indices: Sequence[int]

    @property
    def margin_bp(self) -> int:
        """Bases that are read before and after a window."""
        return max(map(abs, self.shifts))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Predicted tracks, float32 [B, T, N], from genome codes of windows with their margins, uint8 [B, L + 2 M]."""
        length = self.predictor.shape.sequence_bp
        starts = [self.margin_bp + shift for shift in self.shifts]
        sequence = torch.from_numpy(codes)
        predicted = [self.predictor(sequence[:, start : start + length])[..., self.indices] for start in starts]
        return torch.stack(predicted).mean(0).transpose(1, 2).cpu().numpy()


def predict(options: PredictOptions, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Predicts the tracks of all regions, or of one shard of them; returns the summary.

    Sets torch's number of threads for this process.

    Args:
        on_progress: told how many windows are done, and of how many.
    Raises:
        UsageError: options that cannot work.
        DataError: files that are damaged or do not belong together.
        OutputError: the output cannot be written.
    """
    began = time.perf_counter()
    options.check()
    device = find_device(options.device)
    model = options.open_model(str(device))
    species, tracks, _ = model.outputs
    with Genome(options.genome) as genome:
        layout, windows = _plan(options, model, genome)
        predictor = TrackPredictor(model.load(), species, tracks, device, options.precision, options.rc)
        averaged = _Averaged(predictor, options.shifts, list(layout.tracks))
        batch_size = 1 if device.type == "cpu" else options.batch_size

        def fill(store: PredictionStore) -> dict[str, Any]:
            _fill(store, windows, genome, averaged, batch_size, on_progress)
            return {"model": model.path.name, "device": str(device), "windows": len(windows)}

        return run_predictions(options, layout, fill, began=began)


def _plan(options: PredictOptions, model: TrackModel, genome: Genome) -> tuple[Layout, list[Window]]:
    """What will be in the output, and the windows that it comes from."""
    config, outputs = model.config, model.outputs
    regions, shared_bins = read_regions(options.regions, genome), options.shared_bins_of(config)
    stretches = [stretch_of(region, config) for region in regions]
    tiling = [tiles_of(stretch, config, shared_bins) for stretch in stretches]
    own = shard_of([len(tiles) for tiles in tiling], options.shard)
    identity = options.identity(model, regions) | {
        "rc": options.rc,
        "shifts": list(options.shifts),
        "overlap": shared_bins,
        "batch_size": None if model.device_kind == "cpu" else options.batch_size,  # on a CPU windows come one by one
        "precision": options.precision,
    }
    notes = model.notes | {"window_bp": config.window_bp, "command": _command(options, model)}
    layout = Layout(
        stretches[own],
        config.bin_bp,
        genome.lengths,
        tracks=outputs.chosen,
        num_outputs=len(outputs.tracks),
        identity=identity,
        notes=notes,
    )
    return layout, windows_of(stretches[own], tiling[own], config)


def _command(options: PredictOptions, model: TrackModel) -> str:
    flags = ["--rc"] if options.rc else []
    if options.shifts != (0,):
        flags.append(f"--shifts {','.join(map(str, options.shifts))}")
    if options.shared_bins is not None:
        flags.append(f"--overlap {options.shared_bins}")
    return options.command("predict", model, [*flags, "--precision", options.precision])


def _fill(
    store: PredictionStore,
    windows: Sequence[Window],
    genome: Genome,
    predictor: _Averaged,
    batch_size: int,
    on_progress: OnProgress | None,
) -> None:
    """Predicts the windows that are missing.

    A batch is always full: what the other windows of the last one are, does not matter.
    """
    for start in range(store.num_done, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        codes = np.stack([_codes(genome, window, predictor.margin_bp) for window in batch])
        padding = np.repeat(codes[:1], batch_size - len(batch), axis=0)
        predicted = predictor(np.concatenate([codes, padding]))
        for window, values in zip(batch, predicted, strict=False):
            store.write(window.first_bin, values[:, window.low : window.high])
        store.advance(len(batch))
        if on_progress is not None:
            on_progress(store.num_done, len(windows))


def _codes(genome: Genome, window: Window, margin_bp: int) -> np.ndarray:
    return genome.codes(window.sequence.resized(window.sequence.length + 2 * margin_bp))
