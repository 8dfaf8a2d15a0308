"""Copies of a pair of BAM files with the ZMWs renumbered: large inputs from small real ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from Bio import bgzf

from genoformer.io.bam import BamReader, record_name, record_reference

_HOLES_APART = 1 << 20  # no two copies of a hole number meet
_NAME_AT = 32


def _moved_name(name: bytes, copy: int) -> bytes:
    movie, hole, rest = name.split(b"/", 2)
    return b"%s/%d/%s" % (movie, int(hole) + copy * _HOLES_APART, rest)


def _moved_record(record: bytes, copy: int, num_references: int) -> bytes:
    """A record of copy `copy`: new name, reference and `zm` tag."""
    old, new = record_name(record), _moved_name(record_name(record), copy)
    reference = record_reference(record)
    moved_reference = reference if reference < 0 else reference + copy * num_references
    tail = record[_NAME_AT + len(old) :]
    for kind in ("i", "I"):
        holes = [struct.pack(f"<{kind}", int(name.split(b"/")[1])) for name in (old, new)]
        tail = tail.replace(b"zm" + kind.encode() + holes[0], b"zm" + kind.encode() + holes[1])
    core = struct.pack("<i", moved_reference) + record[4:8] + bytes([len(new) + 1]) + record[9:_NAME_AT]
    return core + new + tail


def _moved_header(text: str, num_copies: int) -> tuple[str, list[tuple[bytes, int]]]:
    """The header of all copies and their references with lengths."""
    lines = text.splitlines()
    fields = [dict(part.split(":", 1) for part in line.split("\t")[1:]) for line in lines if line.startswith("@SQ")]
    references = [(_moved_name(f["SN"].encode(), k), int(f["LN"])) for k in range(num_copies) for f in fields]
    others = [line for line in lines if line.strip() and not line.startswith("@SQ")]
    sq = [f"@SQ\tSN:{name.decode()}\tLN:{length}" for name, length in references]
    return "\n".join([others[0], *sq, *others[1:]]) + "\n", references


def _chunks(reader: BamReader, num_copies: int) -> Iterator[bytes]:
    text, references = _moved_header(reader.header.text, num_copies)
    yield b"BAM\1" + struct.pack("<i", len(text)) + text.encode() + struct.pack("<i", len(references))
    for name, length in references:
        yield struct.pack("<i", len(name) + 1) + name + b"\0" + struct.pack("<i", length)
    records = list(reader)
    for copy in range(num_copies):
        for record in records:
            moved = _moved_record(record, copy, reader.header.num_references)
            yield struct.pack("<i", len(moved)) + moved


def replicate(subreads: Path, ccs: Path, num_copies: int, folder: Path) -> tuple[Path, Path]:
    """Writes `num_copies` copies of the molecules, copy after copy; returns the two new files."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = folder / f"subreads_to_ccs.x{num_copies}.bam", folder / f"ccs.x{num_copies}.bam"
    for source, target in zip((subreads, ccs), targets, strict=True):
        with BamReader(source) as reader, open(target, "wb") as raw:
            writer = bgzf.BgzfWriter(fileobj=raw)
            for chunk in _chunks(reader, num_copies):
                writer.write(chunk)
            writer.close()
    return targets
