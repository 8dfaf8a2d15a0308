"""Scores of variants as text: tables with a line for each variant and track."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from Bio import bgzf

from genoformer.errors import OutputError
from genoformer.io.bam import EOF_BLOCK
from genoformer.io.reads import PartialFile, partial_path
from genoformer.io.score_rows import ScoreRows, ScoreTable, VariantHead

HEAD_COLUMNS = ("record", "chrom", "pos", "id", "ref", "alt", "note")
TRACK_COLUMNS = ("track", "identifier", "description")
GENE_COLUMNS = ("gene", "gene_name")
_BLOCK_BYTES = 1 << 16
_NUMBER = "%.9g"  # all digits of a float32


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
    with text_file(path) as write:
        write(_comments(table))
        write("\t".join((*HEAD_COLUMNS, *TRACK_COLUMNS, *table.scores)) + "\n")
        tracks = _track_fields(table)
        for row in source.rows():
            head = "\t".join(map(str, head_values(row.head)))
            for track, values in zip(tracks, row.values.T, strict=True):
                write("\t".join([head, track, numbers(values, "\t")]) + "\n")


def write_gene_tsv(path: str | Path, source: ScoreRows) -> None:
    """Writes a line for each variant, gene around it and track.

    Raises:
        OutputError: the file cannot be written.
    """
    table = source.table
    with text_file(path) as write:
        write(_comments(table))
        write("\t".join((*HEAD_COLUMNS, *GENE_COLUMNS, *TRACK_COLUMNS, table.gene_score)) + "\n")
        tracks = _track_fields(table)
        for row in source.rows():
            head = "\t".join(map(str, head_values(row.head)))
            for gene, values in zip(*(row.genes or ((), ())), strict=True):
                names = "\t".join(table.genes[gene])
                for track, value in zip(tracks, values.tolist(), strict=True):
                    write("\t".join([head, names, track, _NUMBER % value]) + "\n")


@contextlib.contextmanager
def text_file(path: str | Path) -> Iterator[Callable[[str], Any]]:
    """What writes text to a file, BGZF where its name ends in .gz, that appears whole or not at all."""
    file = PartialFile(path)
    try:
        if str(path).endswith(".gz"):
            blocks = bgzf.BgzfWriter(fileobj=file.raw)
            yield lambda text: _write_blocks(blocks, text.encode())
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


def _write_blocks(blocks: bgzf.BgzfWriter, content: bytes) -> None:
    """Writes a long text in time that does not grow with the square of its length."""
    for start in range(0, len(content), _BLOCK_BYTES):
        blocks.write(content[start : start + _BLOCK_BYTES])


def _comments(table: ScoreTable) -> str:
    return "".join(f"# {name}: {value}\n" for name, value in table.attributes.items())


def _track_fields(table: ScoreTable) -> list[str]:
    return [
        "\t".join([str(index), *(one_field(text) for text in (track.identifier, track.description))])
        for index, track in table.tracks.items()
    ]


def one_field(text: str) -> str:
    """A text without tabs and line ends."""
    return " ".join(text.split())


def numbers(values: np.ndarray, separator: str) -> str:
    """Numbers, from which float32 comes back to the bit."""
    return separator.join(_NUMBER % value for value in values.tolist())
