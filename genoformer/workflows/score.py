"""`genoformer variants score`: the effects of a VCF file's variants on the tracks of an expression model."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genoformer.config import ExpressionConfig
from genoformer.genome.variant import KINDS
from genoformer.io.genome_fasta import Genome
from genoformer.io.gtf import read_gtf
from genoformer.io.vcf import STDIN, STDIN_NAME, VcfPart, read_vcf, seekable_vcf
from genoformer.workflows.device import find_devices
from genoformer.workflows.device_stream import DeviceStream
from genoformer.workflows.gene_scores import GeneScorer
from genoformer.workflows.output import file_identity
from genoformer.workflows.score_options import ScoreOptions
from genoformer.workflows.score_output import ScoreOutput, finished_summary
from genoformer.workflows.score_units import UnitScorer
from genoformer.workflows.track_model import TrackModel, open_track_model
from genoformer.workflows.variant_scorer import Scoring, make_scoring, score_table
from genoformer.workflows.variant_source import PlacedVariant, VariantSource

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]


def score(options: ScoreOptions, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Scores all variants of a file, or of one shard of it; returns the summary.

    The whole file is read and held against the genome before the first variant is scored. Sets torch's number of
    threads for this process.

    Args:
        on_progress: told how many variants are done, and of how many.
    Raises:
        UsageError: options that cannot work.
        DataError: files that are damaged or do not belong together.
        OutputError: an output cannot be written.
    """
    began = time.perf_counter()
    options.check()
    with seekable_vcf(options.vcf) as vcf, Genome(options.genome) as genome:
        settings, devices = options.settings, find_devices(options.device)
        model = open_track_model(options.model, settings.species, settings.tracks, devices, options.threads)
        genes = _gene_scorer(options, model.config, genome)
        scoring = make_scoring(model.config, model.outputs, settings, model.device_kind, options.background, genes)
        identity = run_identity(options, model, vcf, scoring)
        if options.resume and (done := finished_summary(options.outputs, identity)) is not None:
            return done
        source = _source(options, vcf, genome, model.config)
        records = shard_records(source.count_records(), options.shard)
        checked = source.check(records)
        origin = model.notes | {"command": command_line(options, scoring), "identity": json.dumps(identity)}
        part = VcfPart(vcf, _shown_name(options), records)
        table = score_table(scoring, genome, origin)
        output = ScoreOutput(options.outputs, table, identity, part, resume=options.resume)
        num_before, total = output.num_done, sum(checked[kind] for kind in KINDS)
        try:
            unscored = itertools.islice(source.variants(records, Counter()), num_before, None)
            facts = _fill(output, UnitScorer(model, options.genome, scoring), unscored, total, on_progress)
            facts["seconds"]["total"] = round(time.perf_counter() - began, 3)
            run = {"model": model.path.name, "variants": output.num_done - num_before} | facts
            return output.finish({"records": len(records), "counts": dict(sorted(checked.items())), "run": run})
        except BaseException:
            output.stop()
            raise


def _fill(
    output: ScoreOutput,
    scorer: UnitScorer,
    variants: Iterator[PlacedVariant],
    total: int,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Scores the variants that are missing; returns how that went."""
    with scorer.open_devices() as pool:
        stream = DeviceStream(pool)
        for rows in stream.results(scorer.units(variants)):
            for row in rows:
                output.add(row)
                if on_progress is not None:
                    on_progress(output.num_done, total)
        return stream.facts()


def shard_records(num_records: int, shard: tuple[int, int]) -> range:
    """Numbers, from 1, of the records in the i-th of n parts."""
    index, count = shard
    return range(num_records * (index - 1) // count + 1, num_records * index // count + 1)


def _source(options: ScoreOptions, vcf: Path, genome: Genome, config: ExpressionConfig) -> VariantSource:
    noted: set[str] = set()

    def note(text: str) -> None:
        if text not in noted:
            logger.info("%s", text)
        noted.add(text)

    name = _shown_name(options)
    return VariantSource(
        name,
        functools.partial(read_vcf, vcf, note, name),
        genome,
        ref_mismatch=options.settings.ref_mismatch,
        max_allele_bp=config.window_bp // 2,
    )


def _shown_name(options: ScoreOptions) -> str:
    """What messages call the file of variants."""
    return STDIN_NAME if options.vcf == STDIN else options.vcf


def _gene_scorer(options: ScoreOptions, config: ExpressionConfig, genome: Genome) -> GeneScorer | None:
    if options.genes is None:
        return None
    return GeneScorer(read_gtf(options.genes, genome.lengths), options.gene_bins, config.bin_bp)


def run_identity(options: ScoreOptions, model: TrackModel, vcf: Path, scoring: Scoring) -> dict[str, Any]:
    """Everything that determines the rows of a run, but for the part of the file; JSON values."""
    return model.identity | {
        "vcf": file_identity(vcf),
        "genome": file_identity(options.genome),
        **scoring.identity(model.device_kind),
        "background": file_identity(options.background) if options.background else None,
        "genes": file_identity(options.genes) if options.genes else None,
        "gene_bins": options.gene_bins if options.genes else None,
        "shard": list(options.shard),
    }


def command_line(options: ScoreOptions, scoring: Scoring) -> str:
    """The command line, without folders and without flags that cannot change a record."""
    vcf = "-" if options.vcf == STDIN else Path(options.vcf).name
    words = ["genoformer variants score", vcf, options.genome.name, "-m", Path(options.model).name]
    words += scoring.flags()
    if options.genes:
        words.append(f"--genes {options.genes.name} --gene-bins {options.gene_bins}")
    if options.background:
        words.append(f"--background {options.background.name}")
    return " ".join(words)
