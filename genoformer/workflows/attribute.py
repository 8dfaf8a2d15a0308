"""`genoformer expression attribute`: what each base of regions contributes to their predicted tracks.

A region lies in the middle of a window, as for `predict`; its bases contribute to the sum of the chosen tracks over its
bins. Contributions are a track whose bins are bases: an HDF5 file as `predict` writes it, or a bigWig, in which a base
has the mean over the regions that it is in, and logos.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.config import ExpressionConfig
from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.genome.track import named_track
from genoformer.genome.track_choice import safe_stem
from genoformer.io.genome_fasta import Genome
from genoformer.io.predictions import Layout, PredictionFile, Stretch
from genoformer.io.reads import partial_path, write_bytes
from genoformer.io.regions import Region
from genoformer.workflows.attribute_options import AttributeOptions
from genoformer.workflows.contributions import Contributions, ContributionSettings
from genoformer.workflows.device import find_device
from genoformer.workflows.prediction_plan import place_of, read_regions, shard_of, window_of
from genoformer.workflows.prediction_run import run_predictions
from genoformer.workflows.prediction_store import CONTRIBUTIONS, PredictionStore
from genoformer.workflows.report_logos import MAX_LOGO_BP, check_can_draw_logos, logo_png
from genoformer.workflows.track_model import TrackModel

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Target:
    """A region to explain.

    Attributes:
        window: what the model reads.
        bins: of the predicted ones, that are summed.
        span: bases whose contributions are kept.
    """

    region: Region
    window: Interval
    bins: range
    span: Interval


def attribute(options: AttributeOptions, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Computes the contributions of all regions, or of one shard of them; returns the summary.

    Sets torch's number of threads for this process.

    Args:
        on_progress: told how many regions are done, and of how many.
    Raises:
        UsageError, DataError, OutputError: as `predict`, or regions that the model cannot predict at once.
    """
    began = time.perf_counter()
    options.check()
    if options.num_logos:
        check_can_draw_logos()
    model = options.open_model(str(find_device(options.device)))
    options.check_model(model.config)
    contributions = Contributions(model.load(), model.outputs.species, list(model.outputs.chosen), options.settings)
    with Genome(options.genome) as genome:
        regions = read_regions(options.regions, genome)
        own = regions[shard_of([1] * len(regions), options.shard)]
        targets = [_target(options, region, model.config) for region in own]
        identity = options.identity(model, regions) | {
            **asdict(options.settings),
            "shifts": list(options.settings.shifts),
            "bins": options.num_bins,
            "span": options.span_bp,
        }
        layout = _layout(options, targets, genome, identity, model)

        def fill(store: PredictionStore) -> dict[str, Any]:
            _fill(store, targets, contributions, genome, on_progress)
            _draw_logos(store, targets[: options.num_logos], genome, options.output)
            return {"model": model.path.name, "device": model.devices[0], "regions": len(targets)}

        return run_predictions(options, layout, fill, began=began)


def _target(options: AttributeOptions, region: Region, config: ExpressionConfig) -> _Target:
    most = config.target_bins * config.bin_bp
    if region.interval.length > most:
        raise DataError(
            f"{place_of(options.regions, region)}: {region.interval} has {region.interval.length} bp; the model "
            f"predicts {most} bp at once: cut it into parts"
        )
    predicted = region.interval.resized(most)
    if options.num_bins is None:
        first = (region.interval.start - predicted.start) // config.bin_bp
        bins = range(first, -(-(region.interval.end - predicted.start) // config.bin_bp))
    else:
        first = (config.target_bins - options.num_bins) // 2
        bins = range(first, first + options.num_bins)
    span = region.interval if options.span_bp is None else region.interval.resized(options.span_bp)
    return _Target(region, window_of(predicted.chrom, predicted.start, config), bins, span)


def _layout(
    options: AttributeOptions, targets: Sequence[_Target], genome: Genome, identity: dict[str, Any], model: TrackModel
) -> Layout:
    stretches = [Stretch(target.region.interval, target.region.name, target.span) for target in targets]
    notes = model.notes | {"command": _command(options, model)}
    track = named_track(CONTRIBUTIONS, "", 0)
    return Layout(stretches, 1, genome.lengths, {0: track}, 1, identity, notes, CONTRIBUTIONS)


def _command(options: AttributeOptions, model: TrackModel) -> str:
    settings, defaults = options.settings, ContributionSettings()
    flags = []
    if settings.shifts != defaults.shifts:
        flags.append(f"--shifts {','.join(map(str, settings.shifts))}")
    flags += ["--rc"] * settings.reverse_complement + ["--mean-centred"] * settings.mean_centred
    if settings.num_noisy:
        flags.append(f"--smooth {settings.num_noisy} --noise {settings.noise} --seed {settings.seed}")
    for flag, value in (("--bins", options.num_bins), ("--span", options.span_bp)):
        flags += [] if value is None else [f"{flag} {value}"]
    return options.command("attribute", model, flags)


def _fill(
    store: PredictionStore,
    targets: Sequence[_Target],
    contributions: Contributions,
    genome: Genome,
    on_progress: OnProgress | None,
) -> None:
    """Computes the regions that are missing."""
    first_bases = store.layout.first_bins.tolist()
    for index in range(store.num_done, len(targets)):
        target = targets[index]
        values = contributions(target.window, target.bins, genome.codes)
        start = target.window.start - contributions.settings.margin_bp
        store.write(first_bases[index], _cut(values, start, target.span)[None])
        store.advance(1)
        if on_progress is not None:
            on_progress(store.num_done, len(targets))


def _cut(values: np.ndarray, start: int, span: Interval) -> np.ndarray:
    """The values of a span's bases, of which the first value is that of base `start`; 0 where there are none."""
    found = np.zeros(span.length, values.dtype)
    low, high = max(span.start, start), min(span.end, start + len(values))
    found[low - span.start : high - span.start] = values[low - start : high - start]
    return found


def _draw_logos(store: PredictionStore, targets: Sequence[_Target], genome: Genome, folder: Path) -> None:
    """A logo of each region, or of the middle of one that is long."""
    if not targets:
        return
    store.commit()
    with PredictionFile(partial_path(store.path)) as file:
        for number, (target, first) in enumerate(zip(targets, file.first_bins.tolist(), strict=False), 1):
            shown = target.span if target.span.length <= MAX_LOGO_BP else target.span.resized(MAX_LOGO_BP)
            start = first + shown.start - target.span.start
            name = target.region.name or str(target.region.interval)
            drawn = logo_png(shown, genome.letters(shown), file.values(0, start, start + shown.length), name)
            write_bytes(folder / f"{safe_stem([f'logo_{number:04d}', name])}.png", drawn)
