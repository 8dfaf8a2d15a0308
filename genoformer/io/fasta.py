"""FASTA files in and out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from genoformer.errors import DataError
from genoformer.io.reads import PartialFile

_LINE_LETTERS = 60
_IUPAC = b"ACGTRYSWKMBDHVN"
_AMBIGUOUS_TO_N = bytes.maketrans(b"RYSWKMBDHV", b"N" * 10)


def read_fasta(path: str | Path) -> dict[str, bytes]:
    """All sequences of a FASTA file (plain or gzip) by name, upper case, IUPAC ambiguity letters as N.

    Raises:
        DataError: not a FASTA file, truncated, a sequence that is empty or there twice, or a letter that is no base.
    """
    sequences: dict[str, bytes] = {}
    text = _read_plain_or_gzip(path)
    if not text:
        raise DataError(f"{path}: the file is empty; expected a FASTA file")
    if not text.startswith(b">"):
        raise DataError(f"{path}: starts with {text[:8]!r}; expected a FASTA file")
    for record in text[1:].split(b"\n>"):
        title, _, body = record.partition(b"\n")
        name = (title.split() or [b""])[0].decode("utf-8", "replace")
        letters = body.translate(None, delete=b"\r\n").upper()
        if not letters:
            raise DataError(f"{path}: sequence '{name}' has no letters; remove it")
        if name in sequences:
            raise DataError(f"{path}: sequence '{name}' is there twice; rename one of them")
        if letters.translate(None, delete=_IUPAC):
            raise DataError(_bad_letter(path, name, letters))
        sequences[name] = letters.translate(_AMBIGUOUS_TO_N)
    return sequences


def read_fasta_names(path: str | Path) -> list[str]:
    """Names of the sequences of a FASTA file (plain or gzip), in order; holds no sequence in memory.

    Raises:
        DataError: not a FASTA file, truncated, or a name that is empty or there twice.
    """
    names: dict[str, None] = {}
    try:
        with open(path, "rb") as file:
            is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=file) if is_gzip else file as lines:
                for number, line in enumerate(lines):
                    if number == 0 and not line.startswith(b">"):
                        raise DataError(f"{path}: starts with {line[:8]!r}; expected a FASTA file")
                    if line.startswith(b">"):
                        name = (line[1:].split() or [b""])[0].decode("utf-8", "replace")
                        if not name or name in names:
                            raise DataError(f"{path} line {number + 1}: name '{name}' is empty or there twice")
                        names[name] = None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not names:
        raise DataError(f"{path}: the file is empty; expected a FASTA file")
    return list(names)


def _read_plain_or_gzip(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return gzip.decompress(file.read()) if is_gzip else file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _bad_letter(path: str | Path, name: str, letters: bytes) -> str:
    at = next(index for index, letter in enumerate(letters) if letter not in _IUPAC)
    return f"{path}: {chr(letters[at])!r} at {name}:{at + 1}; expected A, C, G, T, N or an IUPAC letter"


def write_fasta(path: str | Path, sequences: Iterable[tuple[str, bytes]]) -> None:
    """Writes sequences as (name and description, letters), 60 letters a line.

    Raises:
        OutputError: the file cannot be written.
    """
    file = PartialFile(path)
    for name, letters in sequences:
        lines = [letters[at : at + _LINE_LETTERS] for at in range(0, len(letters), _LINE_LETTERS)]
        file.raw.write(b"\n".join([b">" + name.encode(), *lines]) + b"\n")
    file.finish()
