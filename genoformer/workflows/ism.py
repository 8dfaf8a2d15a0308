"""`genoformer variants ism`: saturation mutagenesis, every base of a region or around variants changed to every other.

All changes of a stretch are compared with the genome in one window, whose prediction they share: a region lies in the
middle of its window, a variant where `score` puts it. Scores go base by base to a file whose layout is fixed from the
start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.genome.alphabet import GENOME_LETTERS
from genoformer.genome.interval import parse_interval
from genoformer.genome.track_choice import safe_stem
from genoformer.genome.variant import Variant
from genoformer.genome.variant_scores import centre_bins, score_alleles
from genoformer.io.genome_fasta import Genome
from genoformer.io.mutagenesis import NUM_LETTERS, MutagenesisFile, MutagenesisLayout, MutagenesisWriter
from genoformer.io.reads import partial_path, write_bytes
from genoformer.io.vcf import STDIN, seekable_vcf
from genoformer.workflows.allele_predictor import Comparison
from genoformer.workflows.device import find_device
from genoformer.workflows.filled_output import FilledOutput, finished_summary
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.mutated_sites import Site, sites_of
from genoformer.workflows.output import FORMAT_VERSION, file_identity
from genoformer.workflows.report_logos import MAX_LOGO_BP, check_can_draw_logos, mutagenesis_png
from genoformer.workflows.track_model import TrackModel, open_track_model
from genoformer.workflows.variant_scorer import Scoring, VariantScorer, make_scorer, make_scoring

OnProgress = Callable[[int, int], None]

Store = FilledOutput[MutagenesisWriter]


def ism(options: IsmOptions, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Scores all changes, or those of one shard; returns the summary.

    Sets torch's number of threads for this process.

    Args:
        on_progress: told how many bases are done, and of how many.
    Raises:
        UsageError: options that cannot work.
        DataError: files that are damaged or do not belong together.
        OutputError: an output cannot be written, or is of another run.
    """
    began = time.perf_counter()
    options.check()
    if options.num_logos:
        check_can_draw_logos()
    settings, device = options.settings, str(find_device(options.device))
    model = open_track_model(options.model, settings.species, settings.tracks, (device,), options.threads)
    scoring = make_scoring(model.config, model.outputs, settings, device)
    with Genome(options.genome) as genome, _vcf(options) as vcf:
        identity = run_identity(options, model, vcf, scoring)
        if options.resume and (done := finished_summary(options.output, identity)) is not None:
            return done
        sites = sites_of(options, vcf, genome, model.config)
        notes = model.notes | {"command": command_line(options, scoring)}
        stretches = [site.stretch for site in sites]
        layout = MutagenesisLayout(stretches, scoring.own_scores, model.outputs.chosen, identity, notes)
        scorer = make_scorer(model.load(), genome.codes, scoring)
        store = open_store(options.output, layout, resume=options.resume)
        try:
            num_changes = _fill(store, sites, genome, scorer, on_progress)
            _draw_logos(store, options.num_logos)
        except BaseException:
            store.stop()
            raise
    seconds = round(time.perf_counter() - began, 3)
    run = {"model": model.path.name, "device": device, "changes": num_changes, "seconds": seconds}
    summary = summary_of(layout) | {"run": run}
    store.finish(summary)
    return summary


def open_store(output: Path, layout: MutagenesisLayout, *, resume: bool) -> Store:
    """What bases are written to, one after the other; raises what `FilledOutput` does."""

    def new_writer(again: bool) -> MutagenesisWriter:
        return MutagenesisWriter(output, layout, resume=again)

    return FilledOutput(output, layout.identity, new_writer, items="bases", resume=resume)


def _vcf(options: IsmOptions) -> contextlib.AbstractContextManager[Path | None]:
    return contextlib.nullcontext() if options.vcf is None else seekable_vcf(options.vcf)


def run_identity(options: IsmOptions, model: TrackModel, vcf: Path | None, scoring: Scoring) -> dict[str, Any]:
    """Everything that determines the scores of a run, JSON values."""
    return model.identity | {
        "genome": file_identity(options.genome),
        "region": None if options.region is None else str(parse_interval(options.region)),
        "vcf": None if vcf is None else file_identity(vcf),
        "around": None if vcf is None else options.around_bp,
        **scoring.identity(model.device_kind),
        "shard": list(options.shard),
    }


def command_line(options: IsmOptions, scoring: Scoring) -> str:
    """The command line, without folders and without flags that cannot change a score."""
    words = ["genoformer variants ism", options.genome.name]
    if options.vcf is None:
        words.append(str(parse_interval(options.region or "")))
    else:
        vcf = STDIN if options.vcf == STDIN else Path(options.vcf).name
        words.append(f"--vcf {vcf} --around {options.around_bp}")
    return " ".join([*words, "-m", Path(options.model).name, *scoring.flags()])


def summary_of(layout: MutagenesisLayout) -> dict[str, Any]:
    """The part of a summary that does not depend on the machine."""
    counts = {"stretches": len(layout.stretches), "bases": layout.num_bases, "tracks": len(layout.tracks)}
    return {"format_version": FORMAT_VERSION, "identity": dict(layout.identity), "counts": counts}


def _fill(
    store: Store, sites: Sequence[Site], genome: Genome, scorer: VariantScorer, on_progress: OnProgress | None
) -> int:
    """Scores the bases that are missing; returns the number of changes."""
    num_changes, num_bases = 0, sum(site.stretch.place.length for site in sites)
    end = 0
    for site in sites:
        length = site.stretch.place.length
        end += length
        missing = range(length - max(0, end - store.num_done), length)
        for changes, values in scored_bases(site, missing, genome.length(site.stretch.place.chrom), scorer):
            store.writer.write(store.num_done, values[:, None])
            store.advance(1)
            num_changes += len(changes)
            if on_progress is not None:
                on_progress(store.num_done, num_bases)
    return num_changes


def scored_bases(
    site: Site, places: range, contig_bp: int, scorer: VariantScorer
) -> Iterator[tuple[dict[int, Variant], np.ndarray]]:
    """Of some bases of a site the changes, by the code of their letter, and their scores, float32 [scores, 4, T].

    Args:
        places: of the bases in the stretch.
        contig_bp: the length of the contig, past whose ends nothing is changed.
    """
    predictor, scoring = scorer.predictor, scorer.scoring
    changes = [_changes(site, place, contig_bp) for place in places]
    covered = predictor.covered(site.window)
    predicted = predictor.predict(Comparison(site.window, None, variant) for own in changes for variant in own.values())
    for own in changes:
        values = np.zeros((len(scoring.own_scores), NUM_LETTERS, len(scoring.outputs.chosen)), np.float32)
        for (letter, variant), (ref, alt) in zip(own.items(), predicted, strict=False):  # the next base's come after
            bin_of_change = (variant.start - covered.start) // scoring.config.bin_bp
            centre = centre_bins(len(ref), bin_of_change, scoring.settings.centre_bins)
            values[:, letter] = score_alleles(ref, alt, scoring.own_scores, centre)
        yield own, values


def _changes(site: Site, place: int, contig_bp: int) -> dict[int, Variant]:
    """A base as every letter that it is not, N as all four, by the letter's code; nothing past the contig's ends."""
    chrom, start = site.stretch.place.chrom, site.stretch.place.start + place
    if not 0 <= start < contig_bp:
        return {}
    ref, letters = chr(site.stretch.letters[place]), GENOME_LETTERS.decode()
    return {code: Variant(chrom, start, ref, alt) for code, alt in enumerate(letters) if alt != ref}


def _draw_logos(store: Store, num_logos: int) -> None:
    """A logo and a map of effects of each of the first stretches, or of the middle of one that is long."""
    if not num_logos:
        return
    store.commit()
    with MutagenesisFile(partial_path(store.path)) as file:
        for index, stretch in enumerate(file.layout.stretches[:num_logos]):
            place = stretch.place
            shown = place if place.length <= MAX_LOGO_BP else place.resized(MAX_LOGO_BP)
            part = slice(shown.start - place.start, shown.end - place.start)
            effects = file.values(index, part.start, part.stop)[0].sum(axis=-1, dtype=np.float64)  # [L, 4]
            drawn = mutagenesis_png(shown, stretch.letters[part], effects, stretch.name, file.layout.scores[0])
            name = f"{safe_stem([store.path.stem, f'logo_{index + 1:04d}', stretch.name])}.png"
            write_bytes(store.path.with_name(name), drawn)
