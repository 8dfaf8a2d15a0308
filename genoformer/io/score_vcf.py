"""Scores of variants in INFO of the VCF file that they are of: its records, all of them, in its order.

    SAD_SUM=...     and so on, a list for each score: for each ALT, in their order, a number for each line
                    `genoformer_track` of the header, or as many '.' where the ALT is not scored
    REF_NOTE=...    for each ALT, "flipped" or "trusted" where REF is not in the genome

A record without a scored ALT has none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pysam

from genoformer.errors import DataError
from genoformer.genome.interval import find_contig
from genoformer.genome.variant import Variant
from genoformer.io.annotated_vcf import SOURCE, AnnotatedVcf, OnWarning
from genoformer.io.reads import partial_path
from genoformer.io.score_rows import ScoredVariant, ScoreRows, ScoreTable
from genoformer.io.score_text import numbers, one_field, text_file
from genoformer.io.vcf import VcfPart, VcfRecord

NOTE = "REF_NOTE"
_MISSING = "."

_Found = list[ScoredVariant | None]  # for each ALT of a record


def write_score_vcf(path: str | Path, source: ScoreRows, part: VcfPart, on_warning: OnWarning) -> None:
    """Writes all records of `part` with their scores; a .gz that is sorted gets an index.

    Args:
        part: the records that were scored.
        on_warning: told what the output cannot hold, and where there is no index.
    Raises:
        DataError: the records are not those of the scores.
        OutputError: the file cannot be written.
    """
    table, order = source.table, _Order()
    annotated = AnnotatedVcf(part, [*map(str.upper, table.scores), NOTE], on_warning)
    indices = [index for index in (Path(f"{path}.tbi"), Path(f"{path}.csi")) if index.exists()]
    with text_file(path) as write:
        write(_header(annotated, source))
        for record, found in _matched(part, source.rows()):
            order.add(record)
            write(annotated.line(record, _entries(found, table)))
    for index in indices:  # of the file that was there before
        index.unlink()
    if not str(path).endswith(".gz"):
        return
    if not order.is_sorted:
        on_warning(
            f"{path}: has no index, since its records are in the order of the input, which is not sorted; "
            "'bcftools sort' sorts either"
        )
    elif not _is_indexed(Path(path)):
        on_warning(f"{path}: has no index: htslib makes none, which an END or SVLEN beyond any contig can cause")


def _matched(part: VcfPart, rows: Iterator[ScoredVariant]) -> Iterator[tuple[VcfRecord, _Found]]:
    """Every record, and what there is of each of its ALTs."""
    waiting = next(rows, None)
    for record in part.records():
        found: _Found = []
        for variant in record.variants():
            is_scored = waiting is not None and _is_of(waiting, record, variant)
            found.append(waiting if is_scored else None)
            waiting = next(rows, None) if is_scored else waiting
        yield record, found
    if waiting is not None:
        raise DataError(
            f"{part.name}: does not have the records that were scored, from record {waiting.head.record} on; "
            "was it changed since? Score it again"
        )


def _is_of(row: ScoredVariant, record: VcfRecord, variant: object) -> bool:
    scored = row.head.variant
    return (
        isinstance(variant, Variant)
        and row.head.record == record.number
        and (scored.chrom, scored.start, scored.ref, scored.alt)
        == (variant.chrom, variant.start, variant.ref, variant.alt)
    )


def _entries(found: _Found, table: ScoreTable) -> list[str]:
    """What INFO gets."""
    if not any(found):
        return []
    missing = ",".join([_MISSING] * len(table.tracks))
    entries = [
        f"{score.upper()}={','.join(missing if row is None else numbers(row.values[place], ',') for row in found)}"
        for place, score in enumerate(table.scores)
    ]
    notes = [row.head.note if row else "" for row in found]
    return entries + ([f"{NOTE}={','.join(note or _MISSING for note in notes)}"] if any(notes) else [])


def _header(annotated: AnnotatedVcf, source: ScoreRows) -> str:
    """What stays of the header, and what is added: contigs that are scored, and our own lines."""
    table = source.table
    contigs = _contigs({head.variant.chrom for head in source.heads()} - annotated.contigs, table)
    version = table.attributes.get("version", "")
    origin = f'Source="{SOURCE}",Version="{version}"'
    lines = [*annotated.header, *contigs]
    lines += [f"##{SOURCE}_{name}={value}" for name, value in table.attributes.items()]
    lines += [
        f"##{SOURCE}_track=<ID={index},Identifier={_quoted(track.identifier)},Description={_quoted(track.description)}>"
        for index, track in table.tracks.items()
    ]
    each = f"a number for each of the {len(table.tracks)} lines {SOURCE}_track, in their order"
    lines += [
        f"##INFO=<ID={score.upper()},Number={'A' if len(table.tracks) == 1 else '.'},Type=Float,"
        f'Description="{score} of each ALT against REF, {each}; . where an ALT is not scored",{origin}>'
        for score in table.scores
    ]
    lines.append(
        f'##INFO=<ID={NOTE},Number=A,Type=String,Description="How a REF that is not in the genome was taken",{origin}>'
    )
    return "\n".join([*lines, annotated.columns, ""])


def _contigs(names: Iterable[str], table: ScoreTable) -> list[str]:
    """Definitions of contigs, in the order of the genome, which may have them with or without 'chr'."""
    places = {contig: place for place, contig in enumerate(table.contigs)}
    found = [(places[contig], name, table.contigs[contig]) for name in names if (contig := find_contig(name, places))]
    genome = _quoted(str(table.attributes.get("genome", "")))
    return [f"##contig=<ID={name},length={length},assembly={genome}>" for _, name, length in sorted(found)]


def _quoted(text: str) -> str:
    return json.dumps(one_field(text), ensure_ascii=False)


class _Order:
    """Whether records come contig by contig, by position in each."""

    def __init__(self) -> None:
        self.is_sorted = True
        self._last: tuple[str, int] | None = None
        self._seen: set[str] = set()

    def add(self, record: VcfRecord) -> None:
        if self._last is not None:
            is_next = record.start >= self._last[1] if record.chrom == self._last[0] else record.chrom not in self._seen
            self.is_sorted = self.is_sorted and is_next
        self._seen.add(record.chrom)
        self._last = record.chrom, record.start


def _is_indexed(path: Path) -> bool:
    """Makes an index of a sorted BGZF file, beside it under another name first: .tbi, or .csi for long contigs."""
    verbosity = pysam.set_verbosity(0)  # htslib complains of what .csi takes
    try:
        return any(_made_index(path, is_csi=is_csi) for is_csi in (False, True))
    finally:
        pysam.set_verbosity(verbosity)


def _made_index(path: Path, *, is_csi: bool) -> bool:
    index = Path(f"{path}.csi" if is_csi else f"{path}.tbi")
    partial = partial_path(index)
    try:
        pysam.tabix_index(str(path), preset="vcf", force=True, keep_original=True, csi=is_csi, index=str(partial))
        partial.replace(index)
    except OSError:
        partial.unlink(missing_ok=True)
        return False
    return True
