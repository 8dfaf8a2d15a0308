"""Inputs of `align` made for tests: raw subreads in the order and sense of sequencing, simulated or real ones."""

from __future__ import annotations

import array
import random
from pathlib import Path

import pysam

from tests.bam_builder import MOVIE, SN, UNMAPPED, Read, ccs_read, write_bam

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def reverse_complement(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def random_sequence(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def noisy(rng: random.Random, sequence: str, error_rate: float = 0.12) -> str:
    """A copy with substitutions, insertions and deletions, each a third of the errors; both ends stay."""
    letters = []
    for base in sequence[1:-1]:
        kind = rng.choice("XID") if rng.random() < error_rate else "="
        letters.append({"=": base, "X": rng.choice("ACGT"), "I": base + rng.choice("ACGT"), "D": ""}[kind])
    return sequence[0] + "".join(letters) + sequence[-1]


def raw_subread(zmw: int, start: int, sequence: str, **tags: object) -> Read:
    """An unaligned subread; base i has PW 1 + i % 200 and IP 2 + i % 200. A tag given as None is left out."""
    end = start + len(sequence)
    usual = {
        "cx": 3, "ip": array.array("B", [2 + i % 200 for i in range(len(sequence))]), "np": 1,
        "pw": array.array("B", [1 + i % 200 for i in range(len(sequence))]), "qe": end, "qs": start,
        "rq": 0.8, "sn": array.array("f", SN), "zm": zmw, "RG": "c0ffee00",
    }  # fmt: skip
    given = {tag: value for tag, value in {**usual, **tags}.items() if value is not None}
    return Read(f"{MOVIE}/{zmw}/{start}_{end}", sequence, flag=UNMAPPED, tags=given)


def simulate_zmw(zmw: int, length: int, num_subreads: int) -> tuple[Read, list[Read]]:
    """A CCS read without errors and its subreads, alternately along it and reversed."""
    rng = random.Random(zmw)
    ccs = random_sequence(rng, length)
    subreads, at = [], 0
    for number in range(num_subreads):
        copy = noisy(rng, ccs)
        subreads.append(raw_subread(zmw, at, reverse_complement(copy) if number % 2 else copy))
        at += len(copy) + 45  # an adapter
    return ccs_read(zmw, ccs), subreads


def write_raw(path: Path, reads: list[Read]) -> Path:
    """A BAM file of unaligned reads with a read group and two programs, without references."""
    header = {
        "HD": {"VN": "1.5", "SO": "unknown", "pb": "3.0.5"},
        "RG": [{"ID": "c0ffee00", "PL": "PACBIO", "DS": "READTYPE=SUBREAD", "PU": MOVIE}],
        "PG": [{"ID": "baz2bam", "PN": "baz2bam"}, {"ID": "samtools", "PN": "samtools", "PP": "baz2bam"}],
    }
    write_bam(path, reads)
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        records = list(file.fetch(until_eof=True))
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for record in records:
            file.write(pysam.AlignedSegment.from_dict(record.to_dict(), file.header))
    return path


def write_as_sequenced(aligned: Path, path: Path) -> Path:
    """The raw subreads of a file of aligned ones: unaligned again, in the sense of sequencing, with their tags."""
    with pysam.AlignmentFile(str(aligned)) as source:
        header = {key: value for key, value in source.header.to_dict().items() if key != "SQ"}
        with pysam.AlignmentFile(str(path), "wb", header=header) as target:
            for record in source.fetch(until_eof=True):
                raw = pysam.AlignedSegment(target.header)
                raw.query_name, raw.flag, raw.query_sequence = (
                    record.query_name,
                    UNMAPPED,
                    record.get_forward_sequence(),
                )
                for tag, value, kind in record.get_tags(with_value_type=True):
                    raw.set_tag(tag, value, None if kind == "B" else kind)
                target.write(raw)
    return path


def records_of(path: str | Path) -> list[pysam.AlignedSegment]:
    """All records, by pysam."""
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        return list(file.fetch(until_eof=True))
