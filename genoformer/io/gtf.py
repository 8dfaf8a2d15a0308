"""Genes from GTF files of GENCODE, Ensembl, RefSeq, UCSC and others; plain, gzip or bgzip.

Lines may come in any order. Only those of genes, transcripts and exons are looked at; a transcript reaches as far as
its own line and its exons do. A gene that is there on several contigs or strands, such as those of the pseudoautosomal
regions, is one gene on each. What is kept in memory of a file is a few numbers for each transcript and exon.

Source: Ensembl, "GFF/GTF file format": nine tab-separated columns, 1-based, the end included; attributes `key "value"`
with semicolons between them.
"""

from __future__ import annotations

import itertools
import re
import zlib
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from genoformer.errors import AlignmentError, DataError
from genoformer.genome.gene import Gene, joined
from genoformer.genome.interval import Interval, renamed_contig
from genoformer.io.reads import decompressed

MAX_LINE_BYTES = 1 << 20  # more is hostile or no GTF
_MAX_POSITION = (1 << 31) - 1
_NUM_COLUMNS = 9
_GENE, _TRANSCRIPT, _EXON = _FEATURES = ("gene", "transcript", "exon")
_STRANDS = ("+", "-", ".")
_MITOCHONDRION = {"chrM": "MT", "MT": "chrM"}

# The key of each value, in the words of GENCODE, Ensembl and RefSeq.
_KEYS = {
    "identifier": ("gene_id",),
    "transcript": ("transcript_id",),
    "name": ("gene_name", "gene"),
    "biotype": ("gene_type", "gene_biotype"),
}
_VALUES = {
    what: tuple(re.compile(rf'(?:^|;)\s*{key}\s+(?:"([^"]*)"|([^\s";]+))') for key in keys)
    for what, keys in _KEYS.items()
}


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...


@dataclass
class _Collected:
    """What lines said of a gene so far; ends are 0-based and half-open."""

    name: str
    biotype: str
    start: int
    end: int
    transcripts: dict[str, list[int]] = field(default_factory=dict)  # start and end of each
    exons: array[int] = field(default_factory=lambda: array("q"))  # start, end, start, end, ...


_Key = tuple[str, str, str]  # contig, identifier, strand


def read_gtf(path: str | Path, contigs: Collection[str] | None = None) -> list[Gene]:
    """Genes of a GTF file, in the order in which it first names them.

    Args:
        contigs: only genes on these are given back, with these names: "1" in the file is "chr1" here where there is no
            "1", and the other way round, "MT" is "chrM". None: all genes, with the names of the file.
    Raises:
        DataError: a file that cannot be read, holds no gene, has a line that is none, or has no gene on any of the
            contigs.
    """
    collected: dict[_Key, _Collected] = {}
    names: dict[str, str | None] = {}
    seen: set[str] = set()
    for number, fields in _lines(path):
        chrom = fields[0]
        seen.add(chrom)
        if chrom not in names:
            names[chrom] = chrom if contigs is None else _contig(chrom, contigs)
        known = names[chrom]
        if known is None:
            continue
        try:
            _collect(collected, known, fields)
        except DataError as error:
            raise DataError(f"{path} line {number}: {error}") from None
    if not collected:
        raise DataError(f"{path}: {_nothing(seen, contigs)}")
    return [_gene(key, gene) for key, gene in collected.items()]


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Columns of the lines of genes, transcripts and exons, with their numbers."""
    try:
        with open(path, "rb") as file, decompressed(file, Path(path)) as lines:
            for number in itertools.count(1):
                line = _next_line(lines, path, number)
                if not line:
                    return
                if line.startswith(b"#") or not line.strip():
                    continue
                fields = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
                if len(fields) != _NUM_COLUMNS:
                    raise DataError(
                        f"{path} line {number}: has {len(fields)} columns; expected the {_NUM_COLUMNS} of a GTF file, "
                        "separated by tabs"
                    )
                if fields[2] in _FEATURES:
                    yield number, fields
    except (AlignmentError, OSError, EOFError, zlib.error) as error:
        text = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: cannot be read as GTF: {text}") from None


def _next_line(lines: _Lines, path: str | Path, number: int) -> bytes:
    line = lines.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{path} line {number}: is longer than {MAX_LINE_BYTES:,} bytes; expected a GTF file")
    return line


def _contig(chrom: str, contigs: Collection[str]) -> str | None:
    """What a contig of the file is called among `contigs`; None where it is not there."""
    other = _MITOCHONDRION.get(chrom, renamed_contig(chrom))
    return next((name for name in (chrom, other) if name in contigs), None)


def _collect(collected: dict[_Key, _Collected], chrom: str, fields: list[str]) -> None:
    """Adds what a line says; the text of an error is the predicate of a sentence."""
    feature, strand, attributes = fields[2], fields[6], fields[8]
    start, end = _span(fields[3], fields[4])
    if strand not in _STRANDS:
        raise DataError(f"strand is '{strand}'; expected +, - or .")
    identifier = _value(attributes, "identifier")
    if not identifier:
        raise DataError(f"has the attributes '{attributes[:40]}'; expected gene_id \"...\", as GTF has (GFF3 has not)")
    gene = collected.get((chrom, identifier, strand))
    if gene is None:
        name = _value(attributes, "name") or identifier
        gene = _Collected(name, _value(attributes, "biotype"), start, end)
        collected[chrom, identifier, strand] = gene
    gene.start, gene.end = min(gene.start, start), max(gene.end, end)
    if feature == _GENE:
        return
    ends = gene.transcripts.setdefault(_value(attributes, "transcript"), [start, end])
    ends[:] = min(ends[0], start), max(ends[1], end)
    if feature == _EXON:
        gene.exons.extend((start, end))


def _span(first: str, last: str) -> tuple[int, int]:
    """0-based and half-open, of a 1-based first and last base."""
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= _MAX_POSITION):
        raise DataError(f"goes from '{first}' to '{last}'; expected 1-based positions, the first not after the last")
    return int(first) - 1, int(last)


def _value(attributes: str, what: str) -> str:
    """The value of an attribute; "" where there is none."""
    for pattern in _VALUES[what]:
        match = pattern.search(attributes)
        if match is not None:
            return match[1] if match[1] is not None else match[2]
    return ""


def _gene(key: _Key, found: _Collected) -> Gene:
    chrom, identifier, strand = key
    spans = found.transcripts.values() or [[found.start, found.end]]
    tss = {start if strand == "+" else end - 1 for start, end in spans} if strand != "." else set()
    exons = (Interval(chrom, *ends) for ends in zip(found.exons[::2], found.exons[1::2], strict=True))
    span = Interval(chrom, found.start, found.end)
    return Gene(identifier, found.name, found.biotype, strand, span, tuple(sorted(tss)), joined(exons))


def _nothing(seen: set[str], contigs: Collection[str] | None) -> str:
    if not seen or contigs is None:
        return "has no genes; expected lines of genes, transcripts or exons"
    theirs, ours = (", ".join(sorted(names)[:3]) for names in (seen, contigs))
    return f"has no gene on the contigs that are asked for ({ours}, ...); it has {theirs}, ..."
