"""`genoformer consensus simulate`: reads whose answer is known, to train, test and try with.

genome.fa             the random genome, where none was given
subreads.bam          raw subreads, as the instrument delivers them
ccs.bam               drafts, as `consensus draft` makes them of these alone
subreads_to_ccs.bam   what `consensus align` makes of the two
truth.fasta           the molecules, named movie/hole/truth, on the strand of their draft
truth_to_ccs.bam      the molecules aligned to their drafts
truth.bed             where they come from
truth_split.tsv       which parts of the genome train, evaluate and test, by chromosomes that stand for the splits
simulation.json       version, command, seed and every option
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer import __version__
from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.cigar import CIGAR_EQUAL
from genoformer.genome.error_model import ErrorModel
from genoformer.genome.random_genome import random_genome
from genoformer.genome.split_genome import Molecule, Stretch, cut_molecule, split_genome
from genoformer.io.aligned_bam import bgzf_blocks
from genoformer.io.bam import BamReader, BamRecord, encode_unmapped
from genoformer.io.error_tables import read_error_model
from genoformer.io.fasta import read_fasta, write_fasta
from genoformer.io.raw_subreads import subreads_header, write_raw_subreads
from genoformer.io.reads import OutputRead, read_sequences, write_json
from genoformer.io.truth import write_truth_bed, write_truth_split
from genoformer.workflows.align import AlignOptions, align
from genoformer.workflows.draft import DraftOptions, draft, drafting_versions
from genoformer.workflows.draft_zmw import DraftSettings
from genoformer.workflows.fit_errors import shipped_error_model
from genoformer.workflows.ordered_map import ordered_map
from genoformer.workflows.output import summary_path
from genoformer.workflows.simulate_zmw import MIN_FULL_PASSES, ZmwName, simulate_subreads

FILES = GENOME, SUBREADS, CCS, ALIGNED, TRUTH, TRUTH_TO_CCS, TRUTH_BED, TRUTH_SPLIT, PROVENANCE = (
    "genome.fa", "subreads.bam", "ccs.bam", "subreads_to_ccs.bam", "truth.fasta", "truth_to_ccs.bam", "truth.bed",
    "truth_split.tsv", "simulation.json",
)  # fmt: skip
COMMAND = "genoformer consensus simulate"

FIRST_HOLE = 4_194_304  # where the holes of a Sequel cell begin
MAX_ZMWS, MAX_PASSES = 1_000_000, 1000
MIN_LENGTH_BP, MAX_LENGTH_BP = 100, 100_000
MAX_GENOME_BP = 1_000_000_000

_MOVIE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_RANDOM_CONTIG = "random"
# Streams of random numbers: the molecule of ZMW i is drawn by [seed, i].
_GENOME_STREAM, _PASSES_STREAM = 1, 2
_AHEAD_PER_WORKER = 8
_PROBE_BASES, _NUM_PROBES = 20, 50  # exact matches that tell the strand of a draft


@dataclass(frozen=True)
class SimulateOptions:
    """What to simulate; the same options give the same bytes, and a ZMW does not depend on how many there are.

    `genome` is a FASTA file that molecules are cut from; None makes a random one of `random_bp` bases. Passes and
    lengths are uniform between their bounds, both included. `error_model` None is the shipped one.
    """

    out_dir: Path
    seed: int
    num_zmws: int
    min_passes: int = 3
    max_passes: int = 12
    min_length_bp: int = 800
    max_length_bp: int = 1500
    genome: Path | None = None
    random_bp: int = 1_000_000
    error_model: Path | None = None
    movie: str = "m00000_000000_000000"
    threads: int | None = None

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        for name, value, least, most in (
            ("number of ZMWs", self.num_zmws, 1, MAX_ZMWS),
            ("least number of passes", self.min_passes, 1, MAX_PASSES),
            ("largest number of passes", self.max_passes, self.min_passes, MAX_PASSES),
            ("least length in bp", self.min_length_bp, MIN_LENGTH_BP, MAX_LENGTH_BP),
            ("largest length in bp", self.max_length_bp, self.min_length_bp, MAX_LENGTH_BP),
            ("size of the random genome in bp", self.random_bp, self.max_length_bp, MAX_GENOME_BP),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}; expected {least} to {most}")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; expected 0 or more")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}; expected at least 1")
        if not _MOVIE.fullmatch(self.movie):
            raise UsageError(f"movie is '{self.movie}'; expected up to 100 letters, digits, '_', '.', '-'")


@dataclass(frozen=True)
class SimulateSummary:
    """What was simulated; `num_draft_errors` is the edit distance of drafts and truth, `seconds` are by stage."""

    num_zmws: int
    num_drafts: int
    num_subreads: int
    num_subread_bases: int
    num_truth_bases: int
    num_draft_errors: int
    num_molecules: dict[str, int]
    seconds: dict[str, float]
    files: tuple[Path, ...]


def simulate(options: SimulateOptions, on_stage: Callable[[str], None] | None = None) -> SimulateSummary:
    """Simulates ZMWs and writes their files into `options.out_dir`, over files of the same names.

    Args:
        on_stage: called with the name of each stage as it begins.
    Raises:
        UsageError: an option out of range, or the extra `align` is not installed.
        DataError: a genome that is damaged, too short or full of N; a file that is no error model.
        OutputError: the folder or a file cannot be written.
    """
    options.check()
    drafting_versions()
    clock = _Clock(on_stage)
    with clock.stage("genome"):
        contigs = _read_or_draw_genome(options)
        stretches = _long_stretches(contigs, options)
        model = shipped_error_model() if options.error_model is None else read_error_model(options.error_model)
        molecules = dict(_draw_molecules(stretches, options))
        _make_folder(options.out_dir)
        if options.genome is None:
            write_fasta(options.out_dir / GENOME, contigs.items())
    with clock.stage("subreads"):
        num_subreads, num_bases = _write_subreads(molecules, model, options)
    subreads, ccs = str(options.out_dir / SUBREADS), str(options.out_dir / CCS)
    with clock.stage("draft"):
        settings = DraftSettings(min(MIN_FULL_PASSES, options.min_passes), max_length=2 * MAX_LENGTH_BP)
        draft(DraftOptions(subreads, ccs, settings, options.threads))
        summary_path(ccs).unlink()
    with clock.stage("align"):
        align(AlignOptions(subreads, ccs, str(options.out_dir / ALIGNED), options.threads))
    with clock.stage("truth"):
        drafts = {read.name.rpartition("/")[0]: read.sequence for read in read_sequences(ccs)}
        molecules = {name: _along(molecule, drafts.get(str(name))) for name, molecule in molecules.items()}
        _write_truth(molecules, stretches, options)
        num_errors = _count_errors(options.out_dir / TRUTH_TO_CCS)
    write_json(options.out_dir / PROVENANCE, _provenance(options))
    return SimulateSummary(
        num_zmws=len(molecules),
        num_drafts=len(drafts),
        num_subreads=num_subreads,
        num_subread_bases=num_bases,
        num_truth_bases=sum(molecule.end - molecule.start for molecule in molecules.values()),
        num_draft_errors=num_errors,
        num_molecules=Counter(molecule.stretch.split for molecule in molecules.values()),
        seconds=clock.seconds,
        files=tuple(options.out_dir / name for name in FILES if name != GENOME or options.genome is None),
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._on_stage is not None:
            self._on_stage(name)
        begin = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begin


def _read_or_draw_genome(options: SimulateOptions) -> dict[str, bytes]:
    if options.genome is not None:
        return read_fasta(options.genome)
    rng = np.random.default_rng([options.seed, 0, _GENOME_STREAM])
    return {_RANDOM_CONTIG: random_genome(options.random_bp, rng)}


def _long_stretches(contigs: dict[str, bytes], options: SimulateOptions) -> list[Stretch]:
    stretches = split_genome(contigs)
    long = [one for one in stretches if len(one.letters) >= options.max_length_bp]
    if not long:
        raise DataError(
            f"{options.genome or 'random genome'}: its longest part for one split has "
            f"{max(len(one.letters) for one in stretches)} bases; expected at least the largest molecule, "
            f"{options.max_length_bp} bp; use a larger genome or shorter molecules"
        )
    return long


def _draw_molecules(stretches: list[Stretch], options: SimulateOptions) -> Iterator[tuple[ZmwName, Molecule]]:
    for index in range(options.num_zmws):
        rng = np.random.default_rng([options.seed, index])
        length_bp = int(rng.integers(options.min_length_bp, options.max_length_bp, endpoint=True))
        molecule = cut_molecule(stretches, length_bp, rng)
        if molecule is None:
            raise DataError(f"{options.genome}: no stretch of {length_bp} bp without N was found; use another genome")
        yield ZmwName(options.movie, FIRST_HOLE + index), molecule


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None


@dataclass(frozen=True)
class _Task:
    """A ZMW on its way to a worker."""

    name: ZmwName
    letters: bytes
    model: ErrorModel
    options: SimulateOptions


@dataclass(frozen=True)
class _MadeZmw:
    """Compressed records of a ZMW's subreads."""

    blocks: bytes
    num_subreads: int
    num_bases: int


def _write_subreads(molecules: dict[ZmwName, Molecule], model: ErrorModel, options: SimulateOptions) -> tuple[int, int]:
    """Writes the raw subreads; returns how many there are, and their bases."""
    tasks = (_Task(name, molecule.letters, model, options) for name, molecule in molecules.items())
    threads = options.threads or len(os.sched_getaffinity(0))
    num_workers = 0 if threads == 1 else threads
    counts = np.zeros(2, dtype=np.int64)

    def blocks(made: Iterable[_MadeZmw]) -> Iterator[bytes]:
        for zmw in made:
            counts[:] += zmw.num_subreads, zmw.num_bases
            yield zmw.blocks

    with contextlib.closing(ordered_map(_make_zmw, tasks, num_workers, _AHEAD_PER_WORKER * threads)) as made:
        write_raw_subreads(options.out_dir / SUBREADS, subreads_header(options.movie, _program(options)), blocks(made))
    return int(counts[0]), int(counts[1])


def _make_zmw(task: _Task) -> _MadeZmw:
    options = task.options
    rng = np.random.default_rng([options.seed, task.name.hole - FIRST_HOLE, _PASSES_STREAM])
    num_passes = int(rng.integers(options.min_passes, options.max_passes, endpoint=True))
    reads = simulate_subreads(task.letters, num_passes, task.name, task.model, rng)
    return _MadeZmw(_compressed(reads), len(reads), sum(len(read.sequence) for read in reads))


def _compressed(reads: Iterable[OutputRead]) -> bytes:
    return bgzf_blocks(b"".join(encode_unmapped(one.name, one.sequence, one.quals, list(one.tags)) for one in reads))


def _along(molecule: Molecule, draft: bytes | None) -> Molecule:
    """The molecule by the strand of its draft, which is that of most exact matches."""
    if draft is None:
        return molecule
    strands = molecule, molecule.other_strand()
    num_found = [sum(draft.count(probe) > 0 for probe in _probes(one.letters)) for one in strands]
    return strands[int(num_found[1] > num_found[0])]


def _probes(letters: bytes) -> Iterator[bytes]:
    for start in np.linspace(0, len(letters) - _PROBE_BASES, _NUM_PROBES).astype(int).tolist():
        yield letters[start : start + _PROBE_BASES]


def _write_truth(molecules: dict[ZmwName, Molecule], stretches: list[Stretch], options: SimulateOptions) -> None:
    folder = options.out_dir
    write_fasta(folder / TRUTH, ((f"{name}/truth {one.origin}", one.letters) for name, one in molecules.items()))
    write_truth_bed(
        folder / TRUTH_BED, ((one.stretch.name, one.start, one.end, f"{name}/ccs") for name, one in molecules.items())
    )
    write_truth_split(folder / TRUTH_SPLIT, {one.name: one.split for one in stretches})
    unaligned = folder / f"{TRUTH_TO_CCS}.unaligned"
    reads = (
        [OutputRead(f"{name}/truth", one.letters, np.zeros(one.end - one.start, dtype=np.uint8))]
        for name, one in molecules.items()
    )
    try:
        header = subreads_header(options.movie, _program(options))
        write_raw_subreads(unaligned, header, map(_compressed, reads))
        align(AlignOptions(str(unaligned), str(folder / CCS), str(folder / TRUTH_TO_CCS), options.threads))
    finally:
        unaligned.unlink(missing_ok=True)


def _count_errors(truth_to_ccs: Path) -> int:
    """Edit distance of truths and drafts."""
    num_errors = 0
    with BamReader(truth_to_ccs) as reader:
        for raw in reader:
            cigar = BamRecord(raw, truth_to_ccs).cigar
            num_errors += int((cigar >> 4)[cigar & 15 != CIGAR_EQUAL].sum())
    return num_errors


def _program(options: SimulateOptions) -> dict[str, str]:
    return {
        "ID": "genoformer", "PN": "genoformer", "VN": __version__,
        "DS": f"simulated reads, seed {options.seed}", "CL": COMMAND,
    }  # fmt: skip


def _provenance(options: SimulateOptions) -> dict[str, object]:
    """Version, command and options, without the paths of this machine and what cannot change a byte."""
    values = dataclasses.asdict(options)
    del values["out_dir"], values["threads"]
    for name in ("genome", "error_model"):
        values[name] = None if values[name] is None else values[name].name
    if options.genome is not None:
        del values["random_bp"]
    return {"version": __version__, "command": COMMAND, **values}
