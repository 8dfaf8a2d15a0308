"""Scores of variants as text: a table with a line for each variant and track, and VCF with the scores in INFO."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pysam
from Bio import bgzf

from genoformer.errors import OutputError
from genoformer.io.bam import EOF_BLOCK
from genoformer.io.reads import PartialFile, partial_path
from genoformer.io.score_rows import ScoredVariant, ScoreRows, ScoreTable, VariantHead

HEAD_COLUMNS = ("record", "chrom", "pos", "id", "ref", "alt", "note")
TRACK_COLUMNS = ("track", "identifier", "description")
GENE_COLUMNS = ("gene", "gene_name")
_MAX_TBI_POSITION = 1 << 29
_NUMBER = "%.9g"  # all digits of a float32

OnWarning = Callable[[str], None]


def head_values(head: VariantHead) -> tuple[int | str, ...]:
    """The values of `HEAD_COLUMNS`; positions are 1-based."""
    variant = head.variant
    return head.record, variant.chrom, variant.start + 1, head.name, variant.ref, variant.alt, head.note


def write_score_tsv(path: str | Path, source: ScoreRows) -> None:
    """Writes a line for each variant and track, the scores in columns; lines of '#' on top say where they come from.

    Raises:
        OutputError: the file cannot be written.
    """
    table = source.table
    with _text_file(path) as write:
        write(_comments(table))
        write("\t".join((*HEAD_COLUMNS, *TRACK_COLUMNS, *table.scores)) + "\n")
        tracks = _track_fields(table)
        for row in source.rows():
            head = "\t".join(map(str, head_values(row.head)))
            for track, values in zip(tracks, row.values.T, strict=True):
                write("\t".join([head, track, _numbers(values, "\t")]) + "\n")


def write_gene_tsv(path: str | Path, source: ScoreRows) -> None:
    """Writes a line for each variant, gene around it and track.

    Raises:
        OutputError: the file cannot be written.
    """
    table = source.table
    with _text_file(path) as write:
        write(_comments(table))
        write("\t".join((*HEAD_COLUMNS, *GENE_COLUMNS, *TRACK_COLUMNS, table.gene_score)) + "\n")
        tracks = _track_fields(table)
        for row in source.rows():
            head = "\t".join(map(str, head_values(row.head)))
            for gene, values in zip(*(row.genes or ((), ())), strict=True):
                names = "\t".join(table.genes[gene])
                for track, value in zip(tracks, values.tolist(), strict=True):
                    write("\t".join([head, names, track, _NUMBER % value]) + "\n")


def write_score_vcf(path: str | Path, source: ScoreRows, on_warning: OnWarning) -> None:
    """Writes a record for each variant with a list for each score, one number a track; a .gz gets an index.

    Args:
        on_warning: told where there is no index, since the records are not sorted.
    Raises:
        OutputError: the file cannot be written.
    """
    table, order = source.table, _Order()
    indices = [index for index in (Path(f"{path}.tbi"), Path(f"{path}.csi")) if index.exists()]
    with _text_file(path) as write:
        write(_vcf_header(table))
        for row in source.rows():
            order.add(row.head)
            write(_vcf_line(row, table))
    for index in indices:  # of the file that was there before
        index.unlink()
    if str(path).endswith(".gz"):
        if order.is_sorted:
            _index(Path(path), order.last_position)
        else:
            on_warning(f"{path}: has no index, since its records are in the order of the input, which is not sorted")


@contextlib.contextmanager
def _text_file(path: str | Path) -> Iterator[Callable[[str], Any]]:
    """What writes text to a file, BGZF where its name ends in .gz, that appears whole or not at all."""
    file = PartialFile(path)
    try:
        if str(path).endswith(".gz"):
            blocks = bgzf.BgzfWriter(fileobj=file.raw)
            yield lambda text: blocks.write(text.encode())
            blocks.flush()
            file.raw.write(EOF_BLOCK)
        else:
            yield lambda text: file.raw.write(text.encode())
        file.finish()
    except OSError as error:
        file.discard()
        raise OutputError(f"{partial_path(path)}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        file.discard()
        raise


def _comments(table: ScoreTable) -> str:
    return "".join(f"# {name}: {value}\n" for name, value in table.attributes.items())


def _track_fields(table: ScoreTable) -> list[str]:
    return [
        "\t".join([str(index), *(_one_field(text) for text in (track.identifier, track.description))])
        for index, track in table.tracks.items()
    ]


def _one_field(text: str) -> str:
    return " ".join(text.split())


def _numbers(values: np.ndarray, separator: str) -> str:
    return separator.join(_NUMBER % value for value in values.tolist())


class _Order:
    """Whether records come contig by contig, by position in each."""

    def __init__(self) -> None:
        self.is_sorted, self.last_position = True, 0
        self._last: tuple[str, int] | None = None
        self._seen: set[str] = set()

    def add(self, head: VariantHead) -> None:
        chrom, start = head.variant.chrom, head.variant.start
        if self._last is not None:
            is_next = start >= self._last[1] if chrom == self._last[0] else chrom not in self._seen
            self.is_sorted = self.is_sorted and is_next
        self._seen.add(chrom)
        self._last = chrom, start
        self.last_position = max(self.last_position, head.variant.end)


def _index(path: Path, last_position: int) -> None:
    """An index of a sorted BGZF file, made beside it under another name first."""
    is_long = last_position > _MAX_TBI_POSITION
    index = Path(f"{path}.csi" if is_long else f"{path}.tbi")
    partial = partial_path(index)
    try:
        pysam.tabix_index(str(path), preset="vcf", force=True, keep_original=True, csi=is_long, index=str(partial))
        partial.replace(index)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{index}: cannot be written: {error.strerror or error}") from None


def _vcf_header(table: ScoreTable) -> str:
    lines = ["##fileformat=VCFv4.3"]
    lines += [f"##genoformer_{name}={value}" for name, value in table.attributes.items()]
    lines += [f"##contig=<ID={name},length={length}>" for name, length in table.contigs.items()]
    lines += [
        f"##genoformer_track=<ID={index},Identifier={_quoted(track.identifier)},"
        f"Description={_quoted(track.description)}>"
        for index, track in table.tracks.items()
    ]
    lines += [
        f"##INFO=<ID={score.upper()},Number={len(table.tracks)},Type=Float,"
        f'Description="{score} of ALT against REF, a number for each line genoformer_track, in their order">'
        for score in table.scores
    ]
    lines.append(
        '##INFO=<ID=REF_NOTE,Number=1,Type=String,Description="How a REF that is not in the genome was taken">'
    )
    return "\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"])


def _quoted(text: str) -> str:
    return json.dumps(_one_field(text), ensure_ascii=False)


def _vcf_line(row: ScoredVariant, table: ScoreTable) -> str:
    variant = row.head.variant
    entries = [
        f"{score.upper()}={_numbers(values, ',')}" for score, values in zip(table.scores, row.values, strict=True)
    ]
    entries += [f"REF_NOTE={row.head.note}"] if row.head.note else []
    fields = (
        variant.chrom,
        variant.start + 1,
        variant.name or ".",
        variant.ref,
        variant.alt,
        ".",
        ".",
        ";".join(entries),
    )
    return "\t".join(map(str, fields)) + "\n"
