"""What each base matters, by saturation mutagenesis and by input times gradient, against full forward passes.

Rows of a region at the middle of its window, on the CPU: `cpu_s` is user and system time, median with 20th and 80th
percentile, `forwards` the same in full forward passes of the same model in the same run, and `peak_memory_gib` the
largest resident memory of the first call, that of the model included. A change of a base is one of the three of
`variants ism`, with all tracks scored by SAD; it is timed by bases, a third of each. The first base of a region costs
one pass for the genome's sequence more. `region_cpu_s` is what a region of `region_bp` costs by these figures: for
mutagenesis the first base, measured, and all others at the median of those measured; it is not measured as a whole.
`difference` is that of the first change's SAD to that of full passes of both alleles, over the largest. Weights are
random, with a gain on the tower's convolutions so that changes have effects far above rounding.

With --demo, rows of how well bases of the planted sites of data/examples/expression are told from the bases around
them, as AUROC: bases within 100 of the middle of elements far enough from the contigs' ends, by the demo model's
contributions to the bin in the middle, or by SAD of the bin that they lie in and its two neighbours, mean over the
three changes; magnitudes of sums over tracks.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_expression import CONFIGS, memory_gib
from benchmarks.bench_variants import SPECIES, Measured, auroc, full_forward, scaled_model
from benchmarks.record import CHECKOUT, RESULTS, Timing, print_table, write_rows
from genoformer.genome.alphabet import genome_letters
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Fetch, allele_codes
from genoformer.io.genome_fasta import Genome
from genoformer.io.mutagenesis import MutatedStretch
from genoformer.io.regions import read_bed
from genoformer.models.checkpoint import load_expression_model
from genoformer.models.expression import ExpressionTransformer
from genoformer.workflows.contributions import Contributions, ContributionSettings
from genoformer.workflows.ism import scored_bases
from genoformer.workflows.mutated_sites import Site
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.track_model import choose_outputs
from genoformer.workflows.variant_scorer import Scoring, VariantScorer, make_scorer

CHANGES_OF_A_BASE = 3
REACH_BP = 100  # of the bases around an element's middle, with --demo


def site_in(window: Interval, length_bp: int, fetch: Fetch) -> Site:
    """Bases in the middle of a window."""
    place = window.resized(length_bp)
    return Site(MutatedStretch(place, str(place), genome_letters(fetch(place))), window)


def scorer_of(model: ExpressionTransformer, fetch: Fetch, score: str) -> VariantScorer:
    (species, *_) = model.config.heads
    outputs = choose_outputs(model.tracks, species, ())
    return make_scorer(model, fetch, Scoring(model.config, outputs, ScoreSettings(scores=(score,))))


class Timed:
    """Calls in this process: their CPU seconds, seconds and peak memory, by what was called."""

    def __init__(self) -> None:
        self.measured = Measured("cpu")
        self.cpu_s: dict[str, list[float]] = {}
        self.memory: dict[str, float] = {}

    def __call__(self, what: str, call: Callable[[], Any]) -> Any:
        memory_gib(reset=True)
        result = self.measured(call)
        self.cpu_s.setdefault(what, []).append(self.measured.cpu_seconds)
        self.memory.setdefault(what, memory_gib())  # later ones begin with what others left to the C library
        return result


def rows_of_time(options: argparse.Namespace) -> list[dict[str, object]]:
    model, timed = scaled_model(options.model, "cpu"), Timed()
    config = model.config
    codes = np.random.default_rng(0).integers(0, 4, config.window_bp).astype(np.uint8)
    window = Interval("chr1", 0, config.window_bp)

    def fetch(place: Interval) -> np.ndarray:
        return codes[place.start : place.end]

    region = window.resized(options.region_bp)
    bases = scored_bases(site_in(window, options.bases, fetch), range(options.bases), config.window_bp,
                         scorer_of(model, fetch, "sad"))  # fmt: skip
    changes, found = timed("first base", lambda: next(bases))
    letter, variant = next(iter(changes.items()))
    changed = allele_codes(variant, window, fetch)
    ref, alt = (timed("forward", lambda allele=allele: full_forward(model, allele)) for allele in (codes, changed))
    expected = (alt.astype(np.float64) - ref).sum(axis=0)
    difference = np.abs(found[0, letter] - expected).max() / np.abs(expected).max()
    for _ in range(options.bases - 1):
        timed("further base", lambda: next(bases))
    first_bin = (region.start - (config.window_bp - config.target_bins * config.bin_bp) // 2) // config.bin_bp
    bins = range(first_bin, first_bin + -(-options.region_bp // config.bin_bp))
    contributions = Contributions(model, SPECIES, range(config.heads[SPECIES]), ContributionSettings())
    for _ in range(options.repeats):
        timed("contributions", lambda: contributions(window, bins, fetch))
        timed("forward", lambda: full_forward(model, codes))
    return described(options, timed, float(difference))


def described(options: argparse.Namespace, timed: Timed, difference: float) -> list[dict[str, object]]:
    forward_cpu_s, first_cpu_s = (statistics.median(timed.cpu_s[what]) for what in ("forward", "first base"))
    base_cpu_s = statistics.median(timed.cpu_s["further base"])
    of_region = {
        "change of a base": first_cpu_s + (options.region_bp - 1) * base_cpu_s,
        "contributions of a region": statistics.median(timed.cpu_s["contributions"]),
    }
    rows: list[dict[str, object]] = []
    for what, key, parts in (
        ("full forward pass", "forward", 1), ("first base of a region", "first base", 1),
        ("change of a base", "further base", CHANGES_OF_A_BASE), ("contributions of a region", "contributions", 1),
    ):  # fmt: skip
        timing = Timing.of([seconds / parts for seconds in timed.cpu_s[key]])
        rows.append({
            "what": what, "model": options.model, "cpu_s": f"{timing.median_s:.4g}", "cpu_s_p20": f"{timing.p20_s:.4g}",
            "cpu_s_p80": f"{timing.p80_s:.4g}", "repeats": timing.repeats * parts,
            "forwards": f"{timing.median_s / forward_cpu_s:.3f}", "per_cpu_s": f"{1 / timing.median_s:.4g}",
            "peak_memory_gib": f"{timed.memory[key]:.3f}",
        })  # fmt: skip
        if what in of_region:
            rows[-1] |= {
                "region_bp": options.region_bp, "region_cpu_s": f"{of_region[what]:.4g}",
                "region_forwards": f"{of_region[what] / forward_cpu_s:.4g}",
            }  # fmt: skip
    rows[1]["difference"] = f"{difference:.1e}"
    print_table(rows)
    return rows


def rows_of_demo() -> list[dict[str, object]]:
    folder = CHECKOUT / "data" / "examples" / "expression"
    model = load_expression_model(CHECKOUT / "data" / "checkpoints" / "expression-demo.safetensors", "cpu")
    with Genome(folder / "genome.fa") as genome:
        elements = [region.interval for region in read_bed(folder / "elements.bed")]
        margin_bp = model.config.target_bins * model.config.bin_bp // 2
        inside = [one for one in elements if margin_bp <= one.start < genome.length(one.chrom) - margin_bp]
        sites = [region.interval for region in read_bed(folder / "sites.bed")]
        truth = np.concatenate([is_site(sites, element.resized(2 * REACH_BP)) for element in inside])
        rows: list[dict[str, object]] = [
            {
                "what": f"planted sites by {name}", "model": "expression-demo", "elements": len(inside),
                "bases": len(truth), "auroc": f"{auroc(np.concatenate(list(magnitudes)), truth):.4f}",
            }
            for name, magnitudes in (
                ("contributions", by_contributions(model, genome, inside)),
                ("mutagenesis", by_mutagenesis(model, genome, inside)),
            )
        ]  # fmt: skip
    print_table(rows)
    return rows


def is_site(sites: Sequence[Interval], place: Interval) -> np.ndarray:
    """Whether each base lies in a planted site, bool [L]."""
    found = np.zeros(place.length, bool)
    for site in sites:
        if site.overlaps(place):
            found[max(0, site.start - place.start) : site.end - place.start] = True
    return found


def by_contributions(
    model: ExpressionTransformer, genome: Genome, elements: Sequence[Interval]
) -> Iterator[np.ndarray]:
    """Magnitudes of the contributions of the bases around each element, [L]."""
    (species,) = model.config.heads
    columns = range(len(model.tracks[species]))
    contributions = Contributions(model, species, columns, ContributionSettings(mean_centred=True))
    middle = model.config.target_bins // 2
    for element in elements:
        window = element.resized(model.config.window_bp)
        first = element.resized(2 * REACH_BP).start - window.start
        values = contributions(window, range(middle, middle + 1), genome.codes)
        yield np.abs(values[first : first + 2 * REACH_BP])


def by_mutagenesis(model: ExpressionTransformer, genome: Genome, elements: Sequence[Interval]) -> Iterator[np.ndarray]:
    """Mean magnitudes of the changes of the bases around each element, [L]."""
    scorer = scorer_of(model, genome.codes, "sad_centre")
    for element in elements:
        site = site_in(element.resized(model.config.window_bp), 2 * REACH_BP, genome.codes)
        bases = scored_bases(site, range(2 * REACH_BP), genome.length(element.chrom), scorer)
        yield np.array([np.abs(values[0].sum(axis=-1)).mean() for _, values in bases])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="published", choices=list(CONFIGS))
    parser.add_argument("--bases", type=int, default=8, help="to change, the first of them with the genome's pass")
    parser.add_argument("--repeats", type=int, default=3, help="of contributions, and of full passes besides two")
    parser.add_argument("--region-bp", type=int, default=200)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS / "attribution.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write_rows(options.out, rows_of_demo() if options.demo else rows_of_time(options))


if __name__ == "__main__":
    main()
