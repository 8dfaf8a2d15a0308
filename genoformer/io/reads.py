"""Reads out: FASTQ, FASTQ.gz (BGZF) or unmapped BAM, under a temporary name until they are whole.

While it grows, an output is called `NAME.partial`. `commit` makes what was written durable and says how many bytes
that is, so that a later run can cut a partial file there and go on; `finish` ends it and gives it its name.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from Bio import bgzf
from Bio.SeqIO.QualityIO import FastqGeneralIterator

from genoformer.errors import AlignmentError, OutputError, UsageError
from genoformer.genome.quality import MAX_FASTQ_QUALITY
from genoformer.io.bam import EOF_BLOCK, BamReader, BamRecord, encode_header, encode_unmapped
from genoformer.wording import counted

STDOUT = "-"
FASTQ, FASTQ_GZ, BAM = "fastq", "fastq.gz", "bam"
_SUFFIXES = {".fastq": FASTQ, ".fq": FASTQ, ".fastq.gz": FASTQ_GZ, ".fq.gz": FASTQ_GZ, ".bam": BAM}


@dataclass(frozen=True)
class OutputRead:
    """One read to write: `sequence` letters, `quals` Phred uint8 [n], `tags` (name, type, value) for BAM."""

    name: str
    sequence: bytes
    quals: np.ndarray
    tags: tuple[tuple[str, str, Any], ...] = ()


def output_format(path: str) -> str:
    """The format that a file name asks for; FASTQ for stdout.

    Raises:
        UsageError: a name with another ending.
    """
    if path == STDOUT:
        return FASTQ
    for suffix, kind in _SUFFIXES.items():
        if str(path).endswith(suffix):
            return kind
    raise UsageError(f"output '{path}': expected a name ending in {', '.join(_SUFFIXES)}, or - for stdout")


def partial_path(path: str | Path) -> Path:
    """Name of an output that is not yet whole."""
    return Path(f"{path}.partial")


class _Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...

    def flush(self) -> Any: ...


@contextlib.contextmanager
def _naming(name: str | Path) -> Iterator[None]:
    """Puts a file's name into the error of a write that fails, as it is in that of an open."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


class _NamedFile(io.FileIO):
    def write(self, data: Any, /) -> int:
        with _naming(self.name):
            return super().write(data)


class _NamedStdout:
    def write(self, data: bytes, /) -> int:
        with _naming("standard output"):
            return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        with _naming("standard output"):
            sys.stdout.buffer.flush()


class PartialFile:
    """A file that has its name only once it is finished; can be continued after a crash.

    Args:
        resume_at: number of bytes of the partial file to keep; None starts anew.
    Raises:
        OutputError: the file cannot be written, or has fewer bytes than it should.
    """

    def __init__(self, path: str | Path, resume_at: int | None = None) -> None:
        self.path = Path(path)
        self._partial = partial_path(path)
        try:
            if resume_at is None:
                self.raw = io.BufferedWriter(_NamedFile(self._partial, "wb"))
            else:
                if not self._partial.exists() and self.path.exists():  # stopped between giving two files their names
                    os.replace(self.path, self._partial)
                self.raw = io.BufferedWriter(_NamedFile(self._partial, "r+b"))
                self._cut(resume_at)
        except OSError as error:
            raise OutputError(f"{self._partial}: cannot be written: {error.strerror}") from None

    def _cut(self, size: int) -> None:
        found = self.raw.seek(0, os.SEEK_END)
        if found < size:
            self.raw.close()
            raise OutputError(f"{self._partial}: has {found} bytes, the journal says {size}; start without --resume")
        self.raw.truncate(size)
        self.raw.seek(size)

    def commit(self) -> int:
        """Makes the bytes written so far durable; returns their number."""
        self.raw.flush()
        os.fsync(self.raw.fileno())
        return self.raw.tell()

    def finish(self) -> int:
        """Gives the file its name; returns its size in bytes."""
        size = self.commit()
        self.raw.close()
        os.replace(self._partial, self.path)
        return size

    def abandon(self) -> None:
        """Closes the partial file and leaves it for a later run."""
        self.raw.close()

    def discard(self) -> None:
        """Closes and removes the partial file."""
        with contextlib.suppress(OSError):  # what a full disk did not take is not wanted any more
            self.raw.close()
        self._partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_files(paths: Iterable[str]) -> Iterator[dict[str, BinaryIO]]:
    """Files to write, by path: all get their names at the end, or none is left where something goes wrong.

    Raises:
        OutputError: one cannot be written; the first thing to show.
    """
    files: dict[str, PartialFile] = {}
    try:
        for path in paths:
            files[path] = PartialFile(path)
        yield {path: file.raw for path, file in files.items()}
        for file in files.values():
            file.commit()
    except BaseException:
        for file in files.values():
            file.discard()
        raise
    for file in files.values():
        file.finish()


class ReadWriter:
    """Writes reads in one of the formats.

    Args:
        path: file name, or '-' for FASTQ on stdout.
        header: SAM header text, or a whole binary header, for BAM.
        resume_at: bytes of a partial file to keep.
    """

    def __init__(self, path: str, header: str | bytes = "", resume_at: int | None = None) -> None:
        self.format = output_format(path)
        self._file = None if path == STDOUT else PartialFile(path, resume_at)
        raw = _NamedStdout() if self._file is None else self._file.raw
        self._sink: _Sink = raw if self.format == FASTQ else bgzf.BgzfWriter(fileobj=raw)
        if self.format == BAM and resume_at is None:
            self._sink.write(header if isinstance(header, bytes) else encode_header(header))
            self._sink.flush()  # the header ends a block, so that files can be joined without decompressing

    def write(self, read: OutputRead) -> None:
        """Writes one read."""
        if self.format == BAM:
            name = read.name.split(maxsplit=1)[0]  # a FASTQ title may go on with a comment
            self._sink.write(encode_unmapped(name, read.sequence, read.quals, list(read.tags)))
        else:
            quals = (read.quals + 33).astype(np.uint8).tobytes()
            self._sink.write(b"@%s\n%s\n+\n%s\n" % (read.name.encode(), read.sequence, quals))

    def write_record(self, record: bytes) -> None:
        """Writes a raw BAM record as it is, to a BAM file."""
        self._sink.write(struct.pack("<i", len(record)) + record)

    def commit(self) -> int:
        """Makes the reads written so far durable; returns the bytes they take."""
        self._sink.flush()
        return self._file.commit() if self._file else 0

    def end(self) -> int:
        """Completes the content, still under the temporary name; returns its size in bytes."""
        if self._file is not None and self.format != FASTQ:
            self._sink.flush()
            self._file.raw.write(EOF_BLOCK)
        else:
            self._sink.flush()
        return self._file.commit() if self._file else 0

    def publish(self) -> None:
        """Gives the file its name."""
        if self._file is not None:
            self._file.finish()

    def abandon(self) -> None:
        """Stops without finishing; a partial file stays."""
        if self._file is not None:
            self._file.abandon()

    def discard(self) -> None:
        """Stops without finishing; no file stays."""
        if self._file is not None:
            self._file.discard()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a whole file atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    file = PartialFile(path)
    file.raw.write(content)
    file.finish()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        OutputError: missing, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise OutputError(f"{path}: holds a JSON {type(content).__name__}; expected an object")
    return content


def header_with_program(text: str, version: str, command: str, description: str) -> str:
    """A header for unmapped reads: without @SQ, with one @HD, and our @PG chained to the last program.

    Args:
        text: header of the CCS file.
        command: command line without paths or flags that cannot change a record.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("@SQ")]
    first_hd = next((line for line in lines if line.startswith("@HD")), "@HD\tVN:1.6")
    kept = [field for field in first_hd.split("\t") if not field.startswith(("SO:", "GO:", "SS:"))]
    first_hd = "\t".join([*kept[:2], "SO:unknown", *kept[2:]])  # the order is that of the subreads
    rest = list(dict.fromkeys(line for line in lines if not line.startswith("@HD")))
    programs = [dict(part.split(":", 1) for part in line.split("\t")[1:] if ":" in part)
                for line in rest if line.startswith("@PG")]  # fmt: skip
    ids = [program["ID"] for program in programs if "ID" in program]
    parents = {program.get("PP") for program in programs}
    leaves = [name for name in ids if name not in parents]
    own, count = "genoformer", 1
    while own in ids:
        own, count = f"genoformer.{count}", count + 1
    fields = ["@PG", f"ID:{own}", "PN:genoformer", f"VN:{version}"]
    fields += [f"PP:{leaves[-1]}"] if leaves else []
    fields += [f"DS:{description}", f"CL:{command}"]  # last: pysam takes all that follows for the command
    return "\n".join([first_hd, *rest, "\t".join(fields)]) + "\n"


def read_sequences(path: str | Path) -> Iterator[OutputRead]:
    """Reads of a FASTQ, FASTQ.gz or BAM file, streamed; BAM reads come as stored, without tags.

    Raises:
        AlignmentError: damaged, truncated, or without qualities.
    """
    if str(path).endswith(".bam"):
        yield from _read_bam(Path(path))
    else:
        yield from _read_fastq(Path(path))


def _read_bam(path: Path) -> Iterator[OutputRead]:
    with BamReader(path) as reader:
        for raw in reader:
            record = BamRecord(raw, path)
            yield OutputRead(record.name, record.sequence, quals_of(record, path))


def quals_of(record: BamRecord, path: str | Path) -> np.ndarray:
    """Base qualities of a record that must have them.

    Raises:
        AlignmentError: it has none.
    """
    if record.quals is None:
        raise AlignmentError(f"{path}: read {record.name} has no qualities")
    return record.quals


def _read_fastq(path: Path) -> Iterator[OutputRead]:
    num_reads = 0
    try:
        with open(path, "rb") as file, io.TextIOWrapper(decompressed(file, path), encoding="ascii") as lines:
            for title, sequence, letters in FastqGeneralIterator(lines):
                quals = np.frombuffer(letters.encode(), np.uint8) - np.uint8(33)  # wraps below '!'
                if not title.split() or (quals > MAX_FASTQ_QUALITY).any():
                    raise ValueError(f"{title!r}: expected a name, and qualities from '!' to '~'")
                yield OutputRead(title, sequence.encode(), quals)
                num_reads += 1
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not of what the file holds
            raise AlignmentError(f"{path}: cannot be read: {error.strerror}") from None
        raise AlignmentError(f"{path}: cannot be read as FASTQ after {counted(num_reads, 'read')}: {error}") from None


def decompressed(file: io.BufferedReader, path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The content of a plain, gzip or BGZF file; a BGZF file cut between blocks shows only by what it ends with.

    Raises:
        AlignmentError: an empty file whose name says gzip, or a BGZF file that is cut off.
    """
    start = file.peek(14)[:14]
    if not start and path.suffix == ".gz":
        raise AlignmentError(f"{path}: the file is empty; expected gzip")
    if start[:2] != b"\x1f\x8b":
        return file
    if start[:4] == b"\x1f\x8b\x08\x04" and start[12:] == b"BC" and file.seekable():
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(EOF_BLOCK)))
        if file.read() != EOF_BLOCK:
            raise AlignmentError(f"{path}: has no end-of-file block, so it is truncated; copy it again")
        file.seek(0)
    return gzip.GzipFile(fileobj=file)
