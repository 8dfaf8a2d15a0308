"""`genoformer consensus fit-errors`: the simulator's error model from aligned reads.

Each read is aligned anew, by edit distance, to the stretch of the reference where it lies, so that the tables do not
depend on what aligned it. Then reads are simulated over the same stretches, aligned and counted in the same way, and
the tables moved until simulated reads count like the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoformer import __version__, assets
from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.genome.aligned_columns import GAP_CODE, AlignedColumns, base_codes
from genoformer.genome.alphabet import pileup_letters, reverse_complement
from genoformer.genome.error_counts import ErrorCounts
from genoformer.genome.error_estimate import corrected, estimate_model
from genoformer.genome.error_model import ErrorConditions, ErrorModel, draw_conditions, read_template
from genoformer.io.aligner import CcsAligner, aligner_versions
from genoformer.io.bam import BamReader, record_flag, record_reference
from genoformer.io.error_tables import read_error_model, write_error_model
from genoformer.io.fasta import read_fasta
from genoformer.io.subreads import UNUSABLE, Subread, decode_subread

DEFAULT_MODEL = "error_model_sequel.json"
COMMAND = "genoformer consensus fit-errors"
NUM_ROUNDS = 8
SIMULATED_READS = 4  # for each real one; even

_CONDITIONS_STREAM = 1  # of random numbers
_SOFT_CLIP = 4
_CONSUMES_REFERENCE = np.isin(np.arange(16), (0, 2, 3, 7, 8))


@dataclass(frozen=True)
class FitOptions:
    """What to fit; `limit` is the number of reads to use, from the first on."""

    reads: Path
    reference: Path
    output: Path
    limit: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError on the first option that cannot work."""
        if self.limit < 1:
            raise UsageError(f"--limit is {self.limit}; expected at least 1")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; expected 0 or more")
        if self.output.resolve() in (self.reads.resolve(), self.reference.resolve()):
            raise UsageError(f"output '{self.output}' is an input too")


@dataclass(frozen=True)
class FitSummary:
    """What was fitted: errors a template base, [substitutions, insertions, deletions], and where they come from."""

    num_reads: int
    num_skipped: int
    num_bases: int
    rates: np.ndarray
    has_kinetics: bool


@dataclass(frozen=True)
class _Stretch:
    """Template that a read was made from, in the read's sense, and its ZMW."""

    template: bytes
    zmw: str


def shipped_error_model() -> ErrorModel:
    """The error model of Sequel I subreads that `simulate` uses where none is named."""
    return read_error_model(assets.path("configs", DEFAULT_MODEL))


def fit_errors(options: FitOptions, on_round: Callable[[int], None] | None = None) -> FitSummary:
    """Fits an error model and writes it to `options.output`.

    Kinetics and signal-to-noise of the shipped model stay where the reads have none.

    Raises:
        UsageError: an option out of range, or the extra `align` is not installed.
        DataError: damaged input, a reference that does not fit, no read that can be used.
        OutputError: the file cannot be written.
    """
    options.check()
    aligner_versions()
    counts, stretches, num_skipped = _count_real(options)
    summary = _summary(counts, num_skipped)
    model = wanted = estimate_model(counts, shipped_error_model())
    for done in range(NUM_ROUNDS):
        simulated = _count_simulated(model, stretches, options.seed, summary.has_kinetics)
        model = corrected(model, wanted, estimate_model(simulated, wanted))
        if on_round is not None:
            on_round(done + 1)
    write_error_model(options.output, model, _origin(options, summary))
    return summary


def _count_real(options: FitOptions) -> tuple[ErrorCounts, list[_Stretch], int]:
    counts, stretches, num_seen = ErrorCounts(), [], 0
    for read, template in _reads(options):
        num_seen += 1
        columns, covered = _columns_of(read, template)
        if columns is not None:
            zmw = "/".join(read.name.split("/")[:2])
            counts.add_read_(columns, zmw, read.sn)
            stretches.append(_Stretch(covered, zmw))
        if len(stretches) == options.limit:
            break
    if not stretches:
        raise AlignmentError(
            f"{options.reads}: none of its {num_seen:,} aligned reads can be used; check that {options.reference} is "
            "what they are aligned to"
        )
    return counts, stretches, num_seen - len(stretches)


def _reads(options: FitOptions) -> Iterator[tuple[Subread, bytes]]:
    """Usable reads and the stretch of the reference that each is aligned to, along the reference."""
    references = read_fasta(options.reference)
    with BamReader(options.reads) as reader:
        names = [reader.header.reference_name(number) for number in range(reader.header.num_references)]
        for raw in reader:
            read = None if record_flag(raw) & UNUSABLE else decode_subread(raw, options.reads, with_kinetics=False)
            if read is None:
                continue
            name = names[record_reference(raw)]
            if name not in references:
                raise DataError(f"{options.reference}: has no sequence '{name}', which {options.reads} is aligned to")
            end = read.start + int((read.cigar >> 4)[_CONSUMES_REFERENCE[read.cigar & 15]].sum())
            yield read, references[name][read.start : end]


def _columns_of(read: Subread, template: bytes) -> tuple[AlignedColumns | None, bytes]:
    """As `_align`, of the part of the read that the file aligns to `template`."""
    clips = [int(op >> 4) if op & 15 == _SOFT_CLIP else 0 for op in read.cigar[[0, -1]].tolist()]
    kept = slice(clips[0], len(read.codes) - clips[1])
    kinetics = np.stack([read.pw[kept], read.ip[kept]]) if read.pw.any() else None
    return _align(template, pileup_letters(read.codes[kept]), kinetics, read.is_reverse)


def _align(
    template: bytes, read: bytes, kinetics: np.ndarray | None, is_reverse: bool
) -> tuple[AlignedColumns | None, bytes]:
    """The read against the part of `template` that it covers, and that part, both as sequenced; None if they differ."""
    found = CcsAligner(template).align(read) if template else None
    if found is None or found.is_reverse:
        return None, b""
    local = found.local
    template, read = template[local.ref_start : local.ref_end], read[local.read_start : local.read_end]
    if (base_codes(template) > GAP_CODE).any():
        return None, b""
    kinetics = None if kinetics is None else kinetics[:, local.read_start : local.read_end]
    if is_reverse:
        return AlignedColumns.of_reverse(local.cigar, template, read, kinetics), reverse_complement(template)
    return AlignedColumns.of_alignment(local.cigar, template, read, kinetics), template


def _count_simulated(model: ErrorModel, stretches: list[_Stretch], seed: int, with_kinetics: bool) -> ErrorCounts:
    """Counts over reads simulated over the same templates; the same seed each round, so that rounds compare."""
    counts = ErrorCounts()
    for repeat in range(SIMULATED_READS):
        conditions = _conditions(model, stretches, seed, repeat)
        for index, stretch in enumerate(stretches):
            rng = np.random.default_rng([seed, repeat, index])
            drawn = read_template(stretch.template, conditions[stretch.zmw], model, rng)
            kinetics = drawn.base_kinetics if with_kinetics else None
            columns, _ = _align(stretch.template, drawn.sequence, kinetics, is_reverse=False)
            if columns is not None:
                counts.add_read_(columns, f"{stretch.zmw}/{repeat}", conditions[stretch.zmw].sn)
    return counts


def _conditions(model: ErrorModel, stretches: list[_Stretch], seed: int, repeat: int) -> dict[str, ErrorConditions]:
    """Conditions of each ZMW; those of an odd repeat mirror those before, since few ZMWs differ from the mean."""
    drawn = {}
    for index, zmw in enumerate(dict.fromkeys(one.zmw for one in stretches)):
        one = draw_conditions(model, np.random.default_rng([seed, repeat // 2, index, _CONDITIONS_STREAM]))
        drawn[zmw] = one.mirrored(model) if repeat % 2 else one
    return drawn


def _summary(counts: ErrorCounts, num_skipped: int) -> FitSummary:
    num_bases = int(counts.run_bases.sum())
    rates = np.sum([one.events for one in counts.reads], axis=0) / num_bases
    has_kinetics = any(one.kinetics is not None for one in counts.reads)
    return FitSummary(len(counts.reads), num_skipped, num_bases, rates, has_kinetics)


def _origin(options: FitOptions, summary: FitSummary) -> dict[str, object]:
    """Version, command and figures, without folders."""
    return {
        "command": f"{COMMAND} {options.reads.name} --ref {options.reference.name} --seed {options.seed}",
        "version": __version__,
        "reads": summary.num_reads,
        "template_bases": summary.num_bases,
        "kinetics": summary.has_kinetics,
    }
