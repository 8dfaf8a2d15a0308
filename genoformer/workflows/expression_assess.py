"""`genoformer expression assess`: predicted tracks held against the measured ones of a split.

Figures are of values as the data have them: scaled, pooled and clipped. In memory are a few numbers for each track, and
of genes those whose bins are not all read yet.

Source: Avsec et al. 2021 (Enformer) and its code: Pearson correlation by track over windows and bins together; with R2,
the figures of Baskerville's `hound_eval`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from genoformer import __version__
from genoformer.datasets.expression import ExpressionDataset
from genoformer.datasets.loader import SinglePass
from genoformer.errors import DataError, UsageError
from genoformer.io.gtf import read_gtf
from genoformer.io.reads import whole_files
from genoformer.models.checkpoint import model_hash
from genoformer.workflows.expression_figures import TrackTotals, tracks_tsv
from genoformer.workflows.gene_sums import GeneSums
from genoformer.workflows.head_choice import choose_head
from genoformer.workflows.model_choice import find_model
from genoformer.workflows.report import HTML, JSON, TSV, check_outputs
from genoformer.workflows.report_expression import expression_html
from genoformer.workflows.track_predictor import PRECISIONS, TrackPredictor, load_track_model, window_shape

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_READING_PROCESSES = 2  # beside a GPU
_SHARD_NAME = re.compile(r"(.+)-(\d+)-of-(\d+)\.h5")


@dataclass(frozen=True)
class AssessExpressionOptions:
    """What to assess; the command line's options of the same names.

    Attributes:
        model: a file, or the name of a model that ships.
        outputs: files ending in .tsv, .json or .html.
        species: a head of the model; None: the one with the tracks of the data.
        gene_types: of the genes that count; none: all.
        batch_size: windows at a time on a GPU; on a CPU they come one by one.
    """

    model: str
    data: Path
    split: str
    outputs: tuple[str, ...]
    species: str | None = None
    genes: Path | None = None
    gene_types: tuple[str, ...] = ()
    rc: bool = False
    batch_size: int = 4
    device: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        check_outputs(self.outputs)
        files = [Path(self.model), *([] if self.genes is None else [self.genes]), *map(Path, self.outputs)]
        if len({path.resolve() for path in files}) != len(files):
            raise UsageError("model, genes and outputs must be different files")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision is '{self.precision}'; expected one of {', '.join(PRECISIONS)}")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size is {self.batch_size}; expected at least 1")
        if self.gene_types and self.genes is None:
            raise UsageError("--gene-type is of genes; name their file with --genes")


def assess_expression(
    options: AssessExpressionOptions, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Writes how well a model predicts the windows of a split; returns the figures, which are the JSON output.

    Args:
        on_progress: called with the number of windows done.
    Raises:
        UsageError: options that cannot work, or an extra that is not installed.
        DataError: input that is damaged or does not fit together, output that cannot be written.
    """
    options.check()
    shards = find_shards(options.data, options.split)
    with whole_files(options.outputs) as files:
        summary = _assess(options, shards, on_progress)
        for output in options.outputs:
            files[output].write(_RENDER[Path(output).suffix](summary))
    return summary


def find_shards(folder: Path, split: str) -> list[Path]:
    """The shards of a split that `genoformer expression examples` wrote into a folder.

    Raises:
        DataError: no such folder, or no shard of the split there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected what 'genoformer expression examples' wrote")
    named = [(path, match) for path in sorted(folder.iterdir()) if (match := _SHARD_NAME.fullmatch(path.name))]
    shards = [path for path, match in named if match[1] == split]
    if not shards:
        splits = ", ".join(sorted({match[1] for _, match in named})) or "no split at all"
        raise DataError(f"{folder}: has no shards {split}-*.h5; it has {splits}")
    num_shards = max(int(match[3]) for path, match in named if path in shards)
    if len(shards) < num_shards:
        logger.warning("%s has %d of the %d shards of split %s", folder, len(shards), num_shards, split)
    return shards


def _assess(
    options: AssessExpressionOptions, shards: list[Path], on_progress: Callable[[int], None] | None
) -> dict[str, Any]:
    path = find_model(options.model, "or the name of a model that ships")
    model = load_track_model(path, options.device, options.threads)
    device = model.positions.device
    if (model.config.window_bp // model.config.bin_bp - model.config.target_bins) % 2:
        raise DataError(f"{path}: predicts bins that are not in the middle of its window, as those of examples are")
    source = ExpressionDataset(shards, window_shape(model.config))
    if not len(source):
        raise DataError(f"{options.data}: the shards of split '{options.split}' have no windows")
    head = choose_head(model.tracks, source.tracks, options.species, path, options.data)
    predictor = TrackPredictor(model, head.species, head.tracks, device, options.precision, options.rc)
    totals = TrackTotals(len(source.tracks), _gene_sums(options, source))
    on_gpu = device.type != "cpu"
    batches = SinglePass(
        source,
        batch_size=options.batch_size if on_gpu else 1,
        num_workers=_READING_PROCESSES if on_gpu else 0,
        pin_memory=on_gpu,
    )
    done = 0
    for batch in batches:
        predicted = predictor(batch["sequence"])[..., head.columns]
        _check_finite(path, predicted, source, done)
        totals.add_(done, predicted=predicted, measured=batch["targets"].to(device))
        done += len(predicted)
        if on_progress is not None:
            on_progress(done)
    return _describe(options, path, source, head.species, totals) | totals.figures(source.tracks)


def _check_finite(path: Path, predicted: Tensor, source: ExpressionDataset, first: int) -> None:
    is_bad = ~predicted.isfinite().flatten(1).all(1)
    if is_bad.any():
        window = source.bins(first + int(is_bad.nonzero()[0]))
        raise DataError(f"{path}: predicts values that are no numbers at {window}; its weights are broken")


def _gene_sums(options: AssessExpressionOptions, source: ExpressionDataset) -> GeneSums | None:
    """Genes of the annotation, placed in the windows; None where none is asked for."""
    if options.genes is None:
        return None
    windows = [source.bins(index) for index in range(len(source))]
    genes = read_gtf(options.genes, {window.chrom for window in windows})
    types = {gene.biotype for gene in genes}
    unknown = [wanted for wanted in options.gene_types if wanted not in types]
    if unknown:
        raise DataError(
            f"{options.genes}: has no gene of type '{unknown[0]}' on the contigs of the windows; it has "
            f"{', '.join(sorted(types - {''})) or 'no types'}"
        )
    genes = [gene for gene in genes if not options.gene_types or gene.biotype in options.gene_types]
    sums = GeneSums(genes, windows, source.shape.bin_bp, source.tracks)
    if not sums.num_genes:
        raise DataError(
            f"{options.genes}: none of its {len(genes):,} genes on the contigs of the windows starts in one of these; "
            "is it an annotation of this genome build?"
        )
    unsigned = sum(track.strand_pair != place and not track.strand for place, track in enumerate(source.tracks))
    if unsigned:
        logger.warning("%d paired tracks do not end in + or -: genes of both strands are read from each", unsigned)
    return sums


def _describe(
    options: AssessExpressionOptions, path: Path, source: ExpressionDataset, species: str, totals: TrackTotals
) -> dict[str, Any]:
    """What was assessed, before the figures."""
    inputs = {"model": path, "data": options.data, "genes": options.genes}
    return {
        "format": "genoformer expression assessment",
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "inputs": {name: file.name for name, file in inputs.items() if file is not None},
        "model_sha256": model_hash(path),
        "species": species,
        "split": options.split,
        "rc": options.rc,
        "precision": options.precision,
        "windows": len(source),
        "bins": len(source) * source.shape.num_bins,
        **vars(source.shape),
        "genes": None if totals.genes is None else totals.genes.num_genes,
    }


_RENDER: dict[str, Callable[[dict[str, Any]], bytes]] = {
    HTML: expression_html,
    TSV: tracks_tsv,
    JSON: lambda summary: f"{json.dumps(summary, indent=1)}\n".encode(),
}
