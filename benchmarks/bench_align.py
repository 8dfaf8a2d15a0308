"""Subreads a second on one core: raw subreads to a BAM file of aligned ones, whole and by stage.

Inputs are simulated ZMWs of 12 kb with the errors of real subreads and, where they lie beside the checkout, ten real
ZMWs whose aligned subreads are turned back into raw ones. `whole` is the command in one process; `two processes` the
same with two, whose start takes about as long as aligning these files; the other rows are single stages of it. `edlib
at once` aligns the span that minimap2 found without cutting it at exact matches, which is what a plain combination of
the two programs costs.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from array import array
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.record import CHECKOUT, RESULTS, print_table, time_in_turns, write_rows
from genoformer.errors import UsageError
from genoformer.io.aligned_bam import bgzf_blocks, encode_aligned
from genoformer.io.aligner import CcsAligner, SubreadAlignment, aligner_versions
from genoformer.io.bam import BamReader, BamRecord
from genoformer.io.ccs_table import CcsTable
from genoformer.io.raw_subreads import iterate_raw_zmws
from genoformer.workflows.align import AlignOptions, align
from tests.align_inputs import (
    noisy,
    random_sequence,
    raw_subread,
    reverse_complement,
    write_as_sequenced,
    write_raw,
)
from tests.bam_builder import ccs_read, write_bam

HUMAN = CHECKOUT.parent / "shared" / "data" / "consensus" / "human_1m"
MOLECULE_BASES, PASSES = 12_000, 10

Zmw = tuple[bytes, list[tuple[BamRecord, bytes]]]


def simulate(folder: Path, num_zmws: int) -> tuple[Path, Path]:
    """Files of raw subreads and of CCS reads."""
    rng = random.Random(7)
    ccs, subreads = [], []
    for zmw in range(num_zmws):
        molecule = random_sequence(rng, MOLECULE_BASES)
        ccs.append(ccs_read(zmw, molecule))
        for number in range(PASSES):
            copy = noisy(rng, molecule)
            subread = reverse_complement(copy) if number % 2 else copy
            kinetics = {tag: array("B", rng.choices(range(1, 60), k=len(subread))) for tag in ("pw", "ip")}
            subreads.append(raw_subread(zmw, number * (MOLECULE_BASES + 50), subread, **kinetics))
    return write_raw(folder / "raw.bam", subreads), write_bam(folder / "ccs.bam", ccs)


def read(raw: Path, ccs: Path) -> list[Zmw]:
    """CCS sequence and subreads of each ZMW."""
    with BamReader(raw) as reader, CcsTable(ccs) as table:
        return [
            (
                BamRecord(table.record(table.find(group.key)[0]), ccs).sequence,
                [(BamRecord(record, raw), record) for record in group.records],
            )
            for group in iterate_raw_zmws(reader)
        ]


def align_all(zmws: list[Zmw]) -> list[list[SubreadAlignment | None]]:
    """The alignments of each ZMW's subreads."""
    found = []
    for ccs, subreads in zmws:
        aligner = CcsAligner(ccs)
        found.append([aligner.align(record.sequence) for record, _ in subreads])
    return found


def encode(zmws: list[Zmw], found: list[list[SubreadAlignment | None]]) -> bytes:
    """Compressed aligned records."""
    blocks = []
    for index, ((_, subreads), alignments) in enumerate(zip(zmws, found, strict=True)):
        records = [
            encode_aligned(record, raw, index, alignment)
            for (record, raw), alignment in zip(subreads, alignments, strict=True)
            if alignment is not None
        ]
        blocks.append(bgzf_blocks(b"".join(records)))
    return b"".join(blocks)


def seed(zmws: list[Zmw]) -> None:
    """minimap2 alone, with its own CIGARs."""
    import mappy

    for ccs, subreads in zmws:
        index = mappy.Aligner(seq=ccs.decode(), preset="map-pb", n_threads=1)
        for record, _ in subreads:
            next(index.map(record.sequence.decode()), None)


def align_at_once(zmws: list[Zmw], found: list[list[SubreadAlignment | None]]) -> None:
    """edlib on the whole span of each alignment."""
    import edlib

    for (ccs, subreads), alignments in zip(zmws, found, strict=True):
        for (record, _), alignment in zip(subreads, alignments, strict=True):
            if alignment is not None:
                sequence = record.sequence.decode()
                read = reverse_complement(sequence) if alignment.is_reverse else sequence
                local = alignment.local
                edlib.align(read[local.read_start : local.read_end], ccs[local.ref_start : local.ref_end].decode(),
                            mode="NW", task="path")  # fmt: skip


def measure(name: str, raw: Path, ccs: Path, repeats: int) -> list[dict[str, object]]:
    """One row for the whole and for each stage on one input."""
    zmws = read(raw, ccs)
    found = align_all(zmws)
    output = str(raw.with_name("aligned.bam"))
    calls: dict[str, Callable[[], object]] = {
        "whole": lambda: align(AlignOptions(str(raw), str(ccs), output, threads=1)),
        "two processes": lambda: align(AlignOptions(str(raw), str(ccs), output, threads=2)),
        "read": lambda: read(raw, ccs),
        "align": lambda: align_all(zmws),
        "encode": lambda: encode(zmws, found),
        "minimap2": lambda: seed(zmws),
        "edlib at once": lambda: align_at_once(zmws, found),
    }
    timings = time_in_turns(calls, repeats=repeats, warmup=1)
    num_subreads = sum(len(subreads) for _, subreads in zmws)
    num_bases = sum(record.length for _, subreads in zmws for record, _ in subreads)
    return [
        {
            "input": name,
            "zmws": len(zmws),
            "subreads": num_subreads,
            "mean_bases": num_bases // num_subreads,
            "aligned": sum(alignment is not None for alignments in found for alignment in alignments),
            "what": what,
            "ms_per_subread": f"{timings[what].median_s / num_subreads * 1e3:.2f}",
            **timings[what].rates(num_subreads, "subreads_per_s"),
            "repeats": repeats,
            **{package: version(package) for package in ("mappy", "edlib")},
        }
        for what in calls
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="aligning uses the CPU either way")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--zmws", type=int, default=10, help="simulated ZMWs of ten 12 kb subreads")
    parser.add_argument("--out", type=Path, default=RESULTS / "align.csv")
    options = parser.parse_args()
    try:
        aligner_versions()
    except UsageError as error:
        print(f"bench_align: skipped: {error}")
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows += measure("simulated 12 kb", *simulate(folder, options.zmws), options.repeats)
        if HUMAN.is_dir():
            raw = write_as_sequenced(HUMAN / "subreads_to_ccs.bam", folder / "human.bam")
            rows += measure("human_1m", raw, HUMAN / "ccs.bam", options.repeats)
    print_table(rows)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
