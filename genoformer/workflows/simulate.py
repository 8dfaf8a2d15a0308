"""Simulated subreads, a draft consensus and the truth: data to try, test and train with, whose answer is known.

subreads_to_ccs.bam   subreads aligned to their draft, as actc writes them
ccs.bam               the drafts
truth.fasta           the molecules, named movie/hole/truth
simulation.json       version, command, seed and every option
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer import __version__
from genoformer.errors import DataError, OutputError, UsageError
from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.random_molecule import random_molecule
from genoformer.io.alignments import (
    CCS,
    SUBREAD,
    bam_header,
    write_aligned_subreads,
    write_ccs_reads,
    write_fasta,
)
from genoformer.io.fasta import read_fasta
from genoformer.io.reads import write_json
from genoformer.workflows.simulate_zmw import SimulatedZmw, simulate_zmw

SUBREADS_NAME, CCS_NAME, TRUTH_NAME, PROVENANCE_NAME = (
    "subreads_to_ccs.bam", "ccs.bam", "truth.fasta", "simulation.json",
)  # fmt: skip
COMMAND = "genoformer consensus simulate"

FIRST_HOLE = 4_194_304  # where the holes of a Sequel cell begin
MAX_ZMWS, MAX_PASSES = 1_000_000, 1000
MIN_LENGTH_BP, MAX_LENGTH_BP = 100, 100_000

_MOVIE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MAX_TRIES = 100  # to find a stretch of the genome without N


@dataclass(frozen=True)
class SimulateOptions:
    """What to simulate; the same options give the same bytes, and a ZMW does not depend on how many there are.

    `genome` is a FASTA file that molecules are cut from, either strand; None draws them at random with the
    homopolymers and microsatellites of human DNA. Passes and lengths are uniform between their bounds, both included.
    """

    out_dir: Path
    seed: int
    num_zmws: int
    min_passes: int = 3
    max_passes: int = 12
    min_length_bp: int = 800
    max_length_bp: int = 1500
    genome: Path | None = None
    movie: str = "m00000_000000_000000"

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        for name, value, least, most in (
            ("number of ZMWs", self.num_zmws, 1, MAX_ZMWS),
            ("least number of passes", self.min_passes, 1, MAX_PASSES),
            ("largest number of passes", self.max_passes, self.min_passes, MAX_PASSES),
            ("least length in bp", self.min_length_bp, MIN_LENGTH_BP, MAX_LENGTH_BP),
            ("largest length in bp", self.max_length_bp, self.min_length_bp, MAX_LENGTH_BP),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}; expected {least} to {most}")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; expected 0 or more")
        if not _MOVIE.fullmatch(self.movie):
            raise UsageError(f"movie is '{self.movie}'; expected up to 100 letters, digits, '_', '.', '-'")


@dataclass(frozen=True)
class SimulateSummary:
    """What was simulated; `num_draft_errors` counts the columns in which a draft differs from its truth."""

    num_zmws: int
    num_subreads: int
    num_subread_bases: int
    num_truth_bases: int
    num_draft_errors: int
    files: tuple[Path, ...]


def simulate(options: SimulateOptions) -> SimulateSummary:
    """Simulates ZMWs and writes their files into `options.out_dir`, over files of the same names.

    All ZMWs are held in memory, about 4 bytes a subread base.

    Raises:
        UsageError: an option out of range.
        DataError: a genome that is damaged, too short or full of N.
        OutputError: the folder or a file cannot be written.
    """
    options.check()
    genome = None if options.genome is None else _Genome(options.genome, options.max_length_bp)
    zmws, truth_names = [], []
    for index in range(options.num_zmws):
        rng = np.random.default_rng([options.seed, index])
        length_bp = int(rng.integers(options.min_length_bp, options.max_length_bp, endpoint=True))
        num_passes = int(rng.integers(options.min_passes, options.max_passes, endpoint=True))
        truth, origin = (random_molecule(length_bp, rng), "") if genome is None else genome.cut(length_bp, rng)
        zmws.append(simulate_zmw(truth, num_passes, options.movie, FIRST_HOLE + index, index, rng))
        truth_names.append(f"{options.movie}/{FIRST_HOLE + index}/truth{origin}")
    subreads = [read for zmw in zmws for read in zmw.subreads]
    return SimulateSummary(
        num_zmws=len(zmws),
        num_subreads=len(subreads),
        num_subread_bases=sum(len(read.sequence) for read in subreads),
        num_truth_bases=sum(len(zmw.truth) for zmw in zmws),
        num_draft_errors=sum(zmw.num_draft_errors for zmw in zmws),
        files=_write_files(options, zmws, truth_names),
    )


class _Genome:
    """Sequences of a FASTA file that are long enough to cut a molecule of any length from."""

    def __init__(self, path: Path, max_length_bp: int) -> None:
        self._path = path
        sequences = read_fasta(path)
        self._sequences = {name: letters for name, letters in sequences.items() if len(letters) >= max_length_bp}
        if not self._sequences:
            longest = max(map(len, sequences.values()))
            raise DataError(
                f"{path}: its longest sequence has {longest} bases; expected at least the largest molecule, "
                f"{max_length_bp} bp; use a larger genome or shorter molecules"
            )

    def cut(self, length_bp: int, rng: np.random.Generator) -> tuple[bytes, str]:
        """A random stretch without N on a random strand, and ` contig:first-last strand`, 1-based."""
        names = list(self._sequences)
        num_starts = np.array([len(self._sequences[name]) - length_bp + 1 for name in names])
        for _ in range(_MAX_TRIES):
            name = names[int(rng.choice(len(names), p=num_starts / num_starts.sum()))]
            start = int(rng.integers(len(self._sequences[name]) - length_bp + 1))
            letters = self._sequences[name][start : start + length_bp]
            is_reverse = bool(rng.random() < 0.5)
            if b"N" not in letters:
                origin = f" {name}:{start + 1}-{start + length_bp} {'-' if is_reverse else '+'}"
                return (reverse_complement(letters) if is_reverse else letters), origin
        raise DataError(
            f"{self._path}: no stretch of {length_bp} bp without N in {_MAX_TRIES} tries; use another genome"
        )


def _write_files(options: SimulateOptions, zmws: list[SimulatedZmw], truth_names: list[str]) -> tuple[Path, ...]:
    try:
        options.out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{options.out_dir}: cannot be made: {error.strerror}") from None
    subreads, ccs, truth, provenance = files = tuple(
        options.out_dir / name for name in (SUBREADS_NAME, CCS_NAME, TRUTH_NAME, PROVENANCE_NAME)
    )
    program = {
        "ID": "genoformer", "PN": "genoformer", "VN": __version__,
        "DS": f"simulated reads, seed {options.seed}", "CL": COMMAND,
    }  # fmt: skip
    references = [(zmw.draft.name, len(zmw.draft.sequence)) for zmw in zmws]
    header = bam_header(options.movie, SUBREAD, references, program)
    write_aligned_subreads(subreads, header, (read for zmw in zmws for read in zmw.subreads))
    write_ccs_reads(ccs, bam_header(options.movie, CCS, [], program), (zmw.draft for zmw in zmws))
    write_fasta(truth, zip(truth_names, (zmw.truth for zmw in zmws), strict=True))
    write_json(provenance, _provenance(options))
    return files


def _provenance(options: SimulateOptions) -> dict[str, object]:
    """Version, command and options, without the paths of this machine."""
    values = dataclasses.asdict(options)
    del values["out_dir"]
    values["genome"] = None if options.genome is None else options.genome.name
    return {"version": __version__, "command": COMMAND, **values}
