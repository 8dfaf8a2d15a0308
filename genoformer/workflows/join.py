"""`genoformer consensus join`: finished shards of `correct` as one file, block by block."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from genoformer.errors import OutputError, UsageError
from genoformer.io.bam import EOF_BLOCK, BamReader, BgzfFile
from genoformer.io.reads import BAM, FASTQ, STDOUT, PartialFile, output_format, partial_path, read_json, write_json
from genoformer.workflows.output import (
    FORMAT_VERSION,
    Counts,
    file_identity,
    file_sha256,
    journal_path,
    summary_of,
    summary_path,
)
from genoformer.workflows.run_facts import joined_facts
from genoformer.workflows.shard_files import shards_in_order

logger = logging.getLogger(__name__)


def join_shards(
    shards: list[str],
    output: str,
    *,
    report: str | None = None,
    shard_reports: list[str] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Writes the records of all shards, in the order of their ZMWs; returns the joined summary.

    Args:
        resume: go on where a join of the same shards ended.
    Raises:
        UsageError: formats that differ, or reports that do not match the shards.
        OutputError: a shard that is missing, doubled, unfinished, or of another run.
    """
    reports = shard_reports or []
    _check_usage(shards, output, report, reports)
    summaries: dict[str, dict[str, Any]] = {}
    for shard in shards:
        if shard in summaries:
            raise OutputError(f"{shard}: is there twice; name each shard once")
        summaries[shard] = _checked_summary(shard)
    ordered = _in_order(summaries)
    identity = {**summaries[ordered[0]]["identity"], "shard": [1, 1], "report": report is not None}
    report_of = dict(zip(shards, reports, strict=False))
    for shard, path in report_of.items():
        _check_report(path, shard, summaries[shard])
    files = [file_identity(shard) for shard in ordered]
    if resume and (done := _joined_already(output, files)) is not None:
        return done
    if report is not None:
        _join_reports([report_of[shard] for shard in ordered], report)
    file, size = _joined(ordered, files, output, resume)
    counts = Counts()
    for shard in ordered:
        counts = counts.plus(Counts(**summaries[shard]["counts"]))
    facts = joined_facts([summaries[shard]["run"] for shard in ordered])
    summary = summary_of(identity, counts, size) | {"run": facts, "shards": files}
    write_json(summary_path(output), summary)
    file.finish()
    journal_path(output).unlink(missing_ok=True)
    return summary


def _check_usage(shards: list[str], output: str, report: str | None, reports: list[str]) -> None:
    kind = output_format(output)
    if output == STDOUT:
        raise UsageError("joined shards need an output file; stdout cannot take them back where one is bad")
    for shard in shards:
        if output_format(shard) != kind:
            raise UsageError(f"'{shard}' is {output_format(shard)}, the output '{output}' is {kind}; use one format")
    read = {Path(path).resolve() for path in (*shards, *reports)}
    for name, path in (("output", output), ("report", report)):
        if path is not None and Path(path).resolve() in read:
            raise UsageError(f"{name} '{path}' is one of the shards or of their reports")
    if bool(report) != bool(reports) or (reports and len(reports) != len(shards)):
        raise UsageError(
            f"{len(reports)} shard reports for {len(shards)} shards; give --report and one for each, or none"
        )


def _joined_already(output: str, files: list[str]) -> dict[str, Any] | None:
    """The summary of a whole output of the same shards."""
    path = summary_path(output)
    if not Path(output).exists() or not path.exists() or partial_path(output).exists():
        return None
    summary = read_json(path)
    if summary.get("shards") != files or summary.get("output_bytes") != Path(output).stat().st_size:
        return None
    logger.info("%s: is already whole; nothing to do", output)
    return summary


def _joined(ordered: list[str], files: list[str], output: str, resume: bool) -> tuple[PartialFile, int]:
    """The records of all shards in one file, still under its temporary name, and its size."""
    kind, journal = output_format(output), journal_path(output)
    found = read_json(journal) if resume and journal.exists() and partial_path(output).exists() else {}
    num_done = found["num_done"] if found.get("shards") == files else 0
    if num_done:
        logger.info("%s: resuming after %d of %d shards", output, num_done, len(ordered))
    else:
        journal.unlink(missing_ok=True)  # it must never speak of another partial file
    file = PartialFile(output, found["output_bytes"] if num_done else None)
    try:
        for shard in ordered[num_done:]:
            _append(file.raw, Path(shard), kind, with_header=num_done == 0)
            num_done += 1
            write_json(journal, {"shards": files, "num_done": num_done, "output_bytes": file.commit()})
        if kind != FASTQ:
            file.raw.write(EOF_BLOCK)
        return file, file.commit()
    except BaseException:
        if num_done:
            file.abandon()
        else:
            file.discard()
        raise


def _checked_summary(shard: str) -> dict[str, Any]:
    path = summary_path(shard)
    if not Path(shard).exists() or not path.exists():
        missing = shard if not Path(shard).exists() else path
        raise OutputError(f"{missing}: is not there; finish the shard first ('correct --shard ... --resume')")
    if partial_path(shard).exists():
        raise OutputError(f"{partial_path(shard)}: a later run of this shard is not finished; finish it with --resume")
    summary = read_json(path)
    if summary.get("format_version") != FORMAT_VERSION:
        raise OutputError(
            f"{path}: has format version {summary.get('format_version')}, this genoformer reads {FORMAT_VERSION}; "
            "run the shard again"
        )
    size, expected = Path(shard).stat().st_size, summary.get("output_bytes")
    if size != expected:
        raise OutputError(f"{shard}: has {size} bytes, its summary says {expected}; run the shard again")
    return summary


def _check_report(path: str, shard: str, summary: dict[str, Any]) -> None:
    """Refuses a report that was not written together with the shard."""
    expected = summary.get("report_sha256")
    if expected is None:
        raise OutputError(f"{shard}: was made without --report, so '{path}' cannot be its report; leave reports out")
    if not Path(path).is_file():
        raise OutputError(f"{path}: is not there; it was named as the report of {shard}")
    if file_sha256(path) != expected:
        raise OutputError(f"{path}: is not the report of {shard}, or was changed; name reports in the order of shards")


def _in_order(summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Shards from first to last, once all are known to be there and of one run."""
    identities = {name: summary["identity"] for name, summary in summaries.items()}
    first_name, first = next(iter(identities.items()))
    if first["shard"][1] > 1 and first["limit"] is not None:
        raise OutputError(
            f"{first_name}: was made with --limit {first['limit']}, which each shard counts anew; leave it out"
        )
    return shards_in_order(identities)


def _append(target: BinaryIO, shard: Path, kind: str, with_header: bool) -> None:
    start, end = 0, shard.stat().st_size
    if kind == BAM and not with_header:
        with BamReader(shard) as reader:
            start = reader.first_record >> 16  # `correct` ends the block after the header
    if kind != FASTQ:
        _check_blocks(shard)
        end -= len(EOF_BLOCK)
    with open(shard, "rb") as source:
        source.seek(start)
        _copy(source, target, end - start)


def _check_blocks(shard: Path) -> None:
    """Reads a compressed shard once, so that a damaged block ends the join."""
    file = BgzfFile(shard)
    while file.read(1 << 20):
        pass
    file.close()


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0:
        chunk = source.read(min(size, 1 << 20))
        if not chunk:
            raise OutputError(f"{source.name}: became shorter while it was read")
        target.write(chunk)
        size -= len(chunk)


def _join_reports(reports: list[str], output: str) -> None:
    file = PartialFile(output)
    try:
        for index, path in enumerate(reports):
            with open(path, "rb") as source:
                if index:
                    source.readline()  # the column names
                shutil.copyfileobj(source, file.raw)
    except BaseException:
        file.discard()
        raise
    file.finish()
