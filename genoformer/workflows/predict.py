"""`genoformer expression predict`: tracks along regions of a genome, as bigWigs or in one HDF5 file.

A region has the bins of one window in whose middle it lies. One that is longer than a window's bins has as many as
cover it, from several windows that overlap: each bin comes from one of them, the one in which it lies nearer to the
middle. Predictions go to a file whose layout is fixed from the start, so memory is that of a batch; bigWigs are made
of that file at the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from genoformer.io.genome_fasta import Genome
from genoformer.io.predictions import Layout
from genoformer.workflows.device import enough_memory, find_devices
from genoformer.workflows.device_pool import ArrayForm, Arrays, DevicePool, Forms
from genoformer.workflows.device_stream import DeviceStream
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
class _WindowModel:
    """Predicts tracks as the mean over sequences that are moved while the bins stay; picklable.

    Attributes:
        shifts: bases to the right.
    """

    model: TrackModel
    shifts: tuple[int, ...]
    precision: Literal["fp32", "bf16"]
    both_strands: bool
    batch_size: int

    @property
    def margin_bp(self) -> int:
        """Bases that are read before and after a window."""
        return max(map(abs, self.shifts))

    def open_devices(self) -> DevicePool[np.ndarray, Arrays]:
        """What predicts tracks, float32 [B, T, N], from codes of windows with their margins, uint8 [B, L + 2 M]."""
        config = self.model.config
        codes = ArrayForm((self.batch_size, config.window_bp + 2 * self.margin_bp), np.uint8)
        tracks = ArrayForm((self.batch_size, len(self.model.outputs.chosen), config.target_bins), np.float32)
        return DevicePool(self.load, self.model.devices, Forms(codes, (tracks,)), in_thread=not self.model.on_cpu)

    @contextlib.contextmanager
    def load(self, device: str) -> Iterator[Callable[[np.ndarray], Arrays]]:
        """The function of `open_devices` on one of them."""
        species, tracks, chosen = self.model.outputs
        predictor = TrackPredictor(
            self.model.load(device), species, tracks, torch.device(device), self.precision, self.both_strands
        )
        starts = [self.margin_bp + shift for shift in self.shifts]
        length, indices = self.model.config.window_bp, list(chosen)

        def predict_codes(codes: np.ndarray) -> Arrays:
            sequence = torch.from_numpy(codes)
            with enough_memory(device, f"{len(codes)} windows"):
                views = [predictor(sequence[:, start : start + length])[..., indices] for start in starts]
                return (torch.stack(views).mean(0).transpose(1, 2).contiguous().cpu().numpy(),)

        yield predict_codes


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
    model = options.open_model(*find_devices(options.device))
    with Genome(options.genome) as genome:
        layout, windows = _plan(options, model, genome)
        batch_size = 1 if model.on_cpu else options.batch_size
        window_model = _WindowModel(model, options.shifts, options.precision, options.rc, batch_size)

        def fill(store: PredictionStore) -> dict[str, Any]:
            with window_model.open_devices() as pool:
                stream = DeviceStream(pool)
                _fill(store, windows, genome, window_model, stream, on_progress)
            return {"model": model.path.name, "windows": len(windows)} | stream.facts()

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
        "batch_size": None if model.on_cpu else options.batch_size,  # on a CPU windows come one by one
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
    window_model: _WindowModel,
    stream: DeviceStream[np.ndarray, Arrays],
    on_progress: OnProgress | None,
) -> None:
    """Predicts the windows that are missing."""
    size = window_model.batch_size
    batches = [windows[start : start + size] for start in range(store.num_done, len(windows), size)]
    all_codes = (_codes(genome, batch, window_model) for batch in batches)
    for batch, (predicted,) in zip(batches, stream.results(all_codes), strict=True):
        for window, values in zip(batch, predicted, strict=False):
            store.write(window.first_bin, values[:, window.low : window.high])
        store.advance(len(batch))
        if on_progress is not None:
            on_progress(store.num_done, len(windows))


def _codes(genome: Genome, batch: Sequence[Window], window_model: _WindowModel) -> np.ndarray:
    """Codes of a batch that is always full: what the other windows of the last one are, does not matter."""
    margins_bp = 2 * window_model.margin_bp
    codes = [genome.codes(window.sequence.resized(window.sequence.length + margins_bp)) for window in batch]
    return np.stack(codes + codes[:1] * (window_model.batch_size - len(batch)))
