"""FASTA files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from Bio.SeqIO.FastaIO import SimpleFastaParser

from genoformer.errors import DataError


def read_fasta(path: str | Path) -> Iterator[tuple[str, str]]:
    """Names (up to the first blank) and sequences, in file order.

    Raises:
        DataError: not FASTA.
    """
    try:
        with open(path, encoding="ascii") as file:
            for title, sequence in SimpleFastaParser(file):
                yield title.split(maxsplit=1)[0] if title.strip() else "", sequence
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as FASTA: {error}") from None
