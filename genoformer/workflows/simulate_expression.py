"""`genoformer expression simulate`: a genome whose tracks follow from planted promoters and enhancers.

genome.fa          random contigs with the elements in them
*.bw, targets.txt  coverage of five tracks, and the table that `examples` takes
sequences.bed      regions side by side; the last contig is for test, the one before it for validation
elements.bed       promoters and enhancers; score 1000 where they work, 0 where they do not
sites.bed          their sites; score 1000 where they are whole, 0 where a base is changed
variants.vcf       on the last contig: for each whole site of a working element a variant that breaks it, and one of the
                   same letters beside it that breaks nothing
simulation.json    version, command, seed and every option
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer import __version__
from genoformer.errors import OutputError, UsageError
from genoformer.genome.random_genome import random_genome
from genoformer.genome.regulatory_grammar import LOCUS_BP, PROMOTER, Element, Site, is_core_position, plant
from genoformer.genome.regulatory_signal import STEP_BP, TRACKS, expected_coverage, noisy
from genoformer.io.bigwig_writer import BigWigWriter
from genoformer.io.fasta import write_fasta
from genoformer.io.reads import write_json, write_text
from genoformer.io.targets import target_lines

GENOME, TARGETS, REGIONS, ELEMENTS, SITES, VARIANTS, PROVENANCE = (
    "genome.fa", "targets.txt", "sequences.bed", "elements.bed", "sites.bed", "variants.vcf", "simulation.json",
)  # fmt: skip
MAX_GENOME_BP = 100_000_000
_NEUTRAL_BP = 120  # how far from the middle of an element its neutral variants lie at most
_GENOME_STREAM, _GRAMMAR_STREAM, _NOISE_STREAM, _VARIANT_STREAM = range(4)


@dataclass(frozen=True)
class SimulateExpressionOptions:
    """What to simulate; the same options give the same bytes."""

    out_dir: Path
    seed: int
    genome_bp: int = 2_000_000
    num_contigs: int = 10
    region_bp: int = 4096

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        least = self.num_contigs * max(self.region_bp, 2 * LOCUS_BP[1])
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**63),
            ("number of contigs", self.num_contigs, 3, 1000),
            ("length of the regions in bp", self.region_bp, STEP_BP, 1_000_000),
            ("size of the genome in bp", self.genome_bp, least, MAX_GENOME_BP),
        ):
            if not low <= value <= high:
                raise UsageError(f"{name} is {value}; expected {low} to {high}")


@dataclass(frozen=True)
class _Contig:
    name: str
    letters: bytes
    elements: Sequence[Element]


def simulate_expression(options: SimulateExpressionOptions) -> dict[str, Any]:
    """Simulates a genome and its tracks and writes their files into `options.out_dir`; returns what there is.

    Raises:
        UsageError: an option out of range.
        OutputError: the folder or a file cannot be written.
    """
    options.check()
    try:
        options.out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{options.out_dir}: cannot be made: {error.strerror}") from None
    contigs = [_contig(options, index) for index in range(options.num_contigs)]
    write_fasta(options.out_dir / GENOME, ((contig.name, contig.letters) for contig in contigs))
    _write_coverage(contigs, options)
    write_text(options.out_dir / TARGETS, "".join(target_lines(TRACKS)))
    write_text(options.out_dir / REGIONS, "".join(_region_lines(contigs, options.region_bp)))
    write_text(options.out_dir / ELEMENTS, "".join(_element_lines(contigs)))
    write_text(options.out_dir / SITES, "".join(_site_lines(contigs)))
    variants = list(_variant_lines(contigs[-1], np.random.default_rng([options.seed, _VARIANT_STREAM])))
    write_text(options.out_dir / VARIANTS, "".join([*_vcf_header(contigs), *variants]))
    elements = [element for contig in contigs for element in contig.elements]
    summary = {
        "version": __version__,
        "command": "genoformer expression simulate",
        **{name: value for name, value in dataclasses.asdict(options).items() if name != "out_dir"},
        "promoters": sum(element.kind == PROMOTER for element in elements),
        "enhancers": sum(element.kind != PROMOTER for element in elements),
        "working": sum(element.is_functional for element in elements),
        "variants": len(variants),
    }
    write_json(options.out_dir / PROVENANCE, summary)
    return summary


def _contig(options: SimulateExpressionOptions, index: int) -> _Contig:
    length = options.genome_bp // options.num_contigs
    letters = random_genome(length, np.random.default_rng([options.seed, _GENOME_STREAM, index]))
    return _Contig(f"chr{index + 1}", *plant(letters, np.random.default_rng([options.seed, _GRAMMAR_STREAM, index])))


def _write_coverage(contigs: Sequence[_Contig], options: SimulateExpressionOptions) -> None:
    """Writes all bigWigs, contig by contig."""
    lengths = {contig.name: len(contig.letters) for contig in contigs}
    writers = [
        BigWigWriter(options.out_dir / track.file, lengths, options.genome_bp // STEP_BP + len(contigs))
        for track in TRACKS
    ]
    try:
        for index, contig in enumerate(contigs):
            length, rng = len(contig.letters), np.random.default_rng([options.seed, _NOISE_STREAM, index])
            coverage = noisy(expected_coverage(length, contig.elements), rng)
            edges = np.append(STEP_BP * np.arange(coverage.shape[1]), length)
            for writer, values in zip(writers, coverage, strict=True):
                writer.write(contig.name, edges, values)
    except BaseException:
        for writer in writers:
            writer.discard()
        raise
    for writer in writers:
        writer.finish()


def _region_lines(contigs: Sequence[_Contig], region_bp: int) -> Iterator[str]:
    splits = ["train"] * (len(contigs) - 2) + ["valid", "test"]
    for contig, split in zip(contigs, splits, strict=True):
        for start in range(0, len(contig.letters) - region_bp + 1, region_bp):
            yield f"{contig.name}\t{start}\t{start + region_bp}\t{split}\n"


def _element_lines(contigs: Sequence[_Contig]) -> Iterator[str]:
    for contig in contigs:
        for element in contig.elements:
            score = 1000 * element.is_functional
            place = f"{element.position}\t{element.position + 1}"
            yield f"{contig.name}\t{place}\t{_name(contig, element)}\t{score}\t{element.strand}\n"


def _site_lines(contigs: Sequence[_Contig]) -> Iterator[str]:
    for contig in contigs:
        for element in contig.elements:
            for site in element.sites:
                score = 1000 * (site.broken_at is None)
                name = f"{_name(contig, element)}:{site.motif}"
                yield f"{contig.name}\t{site.start}\t{site.end}\t{name}\t{score}\t{site.strand}\n"


def _name(contig: _Contig, element: Element) -> str:
    return f"{element.kind}_{contig.name}_{element.position}"


def _vcf_header(contigs: Sequence[_Contig]) -> Iterator[str]:
    yield "##fileformat=VCFv4.3\n"
    yield from (f"##contig=<ID={contig.name},length={len(contig.letters)}>\n" for contig in contigs)
    yield '##INFO=<ID=BREAKS,Number=1,Type=String,Description="Site that the variant breaks, . for none">\n'
    yield "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def _variant_lines(contig: _Contig, rng: np.random.Generator) -> Iterator[str]:
    """Pairs of lines: a variant that breaks a site, and a neutral one of the same letters beside it, if any."""
    in_sites = np.zeros(len(contig.letters), bool)
    for element in contig.elements:
        for site in element.sites:
            in_sites[site.start : site.end] = True
    lines = []
    for element in contig.elements:
        for site in element.sites:
            if element.is_functional and site.broken_at is None:
                lines += _pair(contig, element, site, in_sites, rng)
    yield from (line for _, line in sorted(lines))


def _pair(
    contig: _Contig, element: Element, site: Site, in_sites: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, str]]:
    """Positions and lines of the two variants; none where no base beside the element has the letter."""
    core = [place for place in range(site.start, site.end) if is_core_position(site.motif, _offset(site, place))]
    breaking = int(rng.choice(core))
    ref = contig.letters[breaking]
    alt = int(rng.choice([letter for letter in b"ACGT" if letter != ref]))
    around = range(element.position - _NEUTRAL_BP, element.position + _NEUTRAL_BP)
    free = [place for place in around if not in_sites[place] and contig.letters[place] == ref]
    if not free:
        return []
    found = []
    for place, broken in ((breaking, f"{_name(contig, element)}:{site.motif}"), (int(rng.choice(free)), ".")):
        fields = (contig.name, place + 1, ".", chr(ref), chr(alt), ".", ".", f"BREAKS={broken}")
        found.append((place, "\t".join(map(str, fields)) + "\n"))
    return found


def _offset(site: Site, place: int) -> int:
    """Where in the motif a position of the genome is."""
    return place - site.start if site.strand == "+" else site.end - 1 - place
