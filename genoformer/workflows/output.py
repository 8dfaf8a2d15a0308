"""What `correct` leaves behind: reads, a report, a summary, and a journal while it runs.

OUT                  the reads, once they are whole
OUT.summary.json     counts, times and the identity of the run; what `join` checks
REPORT               a row a molecule (with --report)
OUT.partial, REPORT.partial, OUT.journal.json
                     an unfinished run; `--resume` goes on from there
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genoformer.errors import OutputError
from genoformer.io.reads import (
    STDOUT,
    OutputRead,
    PartialFile,
    ReadWriter,
    partial_path,
    read_json,
    write_json,
)
from genoformer.workflows.prepare import PreparedMolecule
from genoformer.workflows.stitch import Outcome, Stitched

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
COMMIT_SECONDS = 2.0
_END_BYTES = 1 << 16
YIELD_PHREDS = (20, 30, 40)

REPORT_COLUMNS = (
    "molecule", "subreads", "unusable_subreads", "trimmed_bases", "ccs_length", "windows", "windows_skipped",
    "windows_overflowing", "length", "predicted_q", "outcome", "written",
)  # fmt: skip


def summary_path(output: str | Path) -> Path:
    """Name of the summary of an output."""
    return Path(f"{output}.summary.json")


def journal_path(output: str | Path) -> Path:
    """Name of the journal of an unfinished output."""
    return Path(f"{output}.journal.json")


@dataclass
class Counts:
    """Totals over molecules; plain numbers, so that they add up over shards."""

    zmws: int = 0
    molecules: int = 0
    written: int = 0
    written_ccs: int = 0
    bases_written: int = 0
    subreads: int = 0
    unusable_subreads: int = 0
    trimmed_bases: int = 0
    windows: int = 0
    windows_called: int = 0
    windows_skipped: int = 0
    windows_overflowing: int = 0
    windows_empty: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: {str(outcome): 0 for outcome in Outcome})
    yield_reads: dict[str, int] = field(default_factory=lambda: {f"q{q}": 0 for q in YIELD_PHREDS})
    yield_bases: dict[str, int] = field(default_factory=lambda: {f"q{q}": 0 for q in YIELD_PHREDS})

    def add(self, molecule: PreparedMolecule, stitched: Stitched, written: OutputRead | None) -> None:
        """Counts one molecule."""
        num_windows = len(molecule.ccs_range)
        self.zmws += molecule.next_offset is not None
        self.molecules += 1
        self.subreads += molecule.num_subreads
        self.unusable_subreads += molecule.num_unusable
        self.trimmed_bases += molecule.num_trimmed_bases
        self.windows += num_windows
        self.windows_called += molecule.num_called
        self.windows_skipped += num_windows - molecule.num_called - molecule.num_overflowing
        self.windows_overflowing += molecule.num_overflowing
        self.windows_empty += molecule.num_empty
        self.outcomes[stitched.outcome] += 1
        if written is not None:
            self.written += 1
            self.written_ccs += stitched.outcome is not Outcome.SUCCESS
            self.bases_written += len(written.sequence)
        if stitched.outcome is Outcome.SUCCESS:
            for phred in YIELD_PHREDS:
                self.yield_reads[f"q{phred}"] += stitched.predicted_phred >= phred
                self.yield_bases[f"q{phred}"] += len(stitched.sequence) * (stitched.predicted_phred >= phred)

    def plus(self, other: Counts) -> Counts:
        """The sum of two counts."""
        total = Counts()
        for key, mine in vars(self).items():
            theirs = getattr(other, key)
            summed = {name: mine[name] + theirs[name] for name in mine} if isinstance(mine, dict) else mine + theirs
            setattr(total, key, summed)
        return total


def file_sha256(path: str | Path) -> str:
    """The digest of a whole file; what ties a report to the summary of its run."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: str | Path) -> str:
    """Name, size and a digest of both ends of a file, which takes no time however long it is."""
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        ends = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        ends += file.read()
    return f"{Path(path).name}, {size} bytes, ends {hashlib.sha256(ends).hexdigest()[:16]}"


def differing_keys(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Readable differences of two identities, 'key: found, expected'."""
    keys = sorted(found.keys() | expected.keys())
    return [
        f"{key}: {found.get(key)!r} there, {expected.get(key)!r} here"
        for key in keys
        if found.get(key) != expected.get(key)
    ]


def read_journal(output: str | Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What the journal of an unfinished output says; None, and a line in the log, where there is none to go on with.

    Raises:
        OutputError: the output is of another run.
    """
    path = journal_path(output)
    if not path.exists() or not partial_path(output).exists():
        logger.info("%s: nothing to resume; starting from the beginning", output)
        return None
    journal = read_json(path)
    if different := differing_keys(journal.get("identity", {}), identity):
        raise OutputError(
            f"{path}: is of another run ({'; '.join(different)}); repeat its flags, or start without --resume"
        )
    return journal


def confirm_whole(output: str | Path, summary: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """The summary of a whole output, and a line in the log that nothing is left to do.

    Raises:
        OutputError: the output is of another run.
    """
    if different := differing_keys(summary.get("identity", {}), identity):
        raise OutputError(
            f"{output}: is whole, but of another run ({'; '.join(different)}); repeat its flags, or start without "
            "--resume"
        )
    logger.info("%s: is already whole; nothing to do", output)
    return summary


class CorrectedOutput:
    """Writes reads, report rows and the journal of one run.

    Args:
        output: file name or '-'.
        header: SAM header text.
        identity: everything that determines the records, JSON values.
        report: file name of the report, or None.
        resume: go on with a partial output of the same identity, where there is one.
    Raises:
        OutputError: the partial output is of another run, or files cannot be written.
    """

    def __init__(self, output: str, header: str, identity: dict[str, Any], report: str | None, resume: bool) -> None:
        self.output, self.identity, self._report_path = output, identity, report
        self.counts, self.next_offset = Counts(), None
        journal = self._journal() if resume else None
        if journal is not None:
            self.counts, self.next_offset = Counts(**journal["counts"]), journal["next_offset"]
        elif output != STDOUT:
            journal_path(output).unlink(missing_ok=True)  # it must never speak of another partial file
        self._reads = ReadWriter(output, header, journal["output_bytes"] if journal else None)
        try:
            self._report = PartialFile(report, journal["report_bytes"] if journal else None) if report else None
        except OutputError:
            self._reads.abandon()
            raise
        if self._report is not None and journal is None:
            self._report.raw.write(("\t".join(REPORT_COLUMNS) + "\n").encode())
        self._committed_at = time.monotonic()
        self._at_zmw_end = True

    def _journal(self) -> dict[str, Any] | None:
        journal = read_journal(self.output, self.identity)
        if journal is not None:
            logger.info("%s: resuming after %d ZMWs", self.output, journal["counts"]["zmws"])
        return journal

    def add(self, molecule: PreparedMolecule, stitched: Stitched, read: OutputRead | None) -> None:
        """Writes what became of one molecule; `read` is None where nothing is written for it."""
        self._at_zmw_end = False
        if read is not None:
            self._reads.write(read)
        self.counts.add(molecule, stitched, read)
        if self._report is not None:
            self._report.raw.write(_report_row(molecule, stitched, read))
        self._at_zmw_end = molecule.next_offset is not None
        if self._at_zmw_end:
            self.next_offset = molecule.next_offset
            if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
                self.commit()

    def commit(self) -> None:
        """Makes everything up to the last whole ZMW durable, for `--resume`."""
        output_bytes = self._reads.commit()
        report_bytes = self._report.commit() if self._report else 0
        if self.output != STDOUT:
            write_json(
                journal_path(self.output),
                {
                    "identity": self.identity,
                    "next_offset": self.next_offset,
                    "output_bytes": output_bytes,
                    "report_bytes": report_bytes,
                    "counts": vars(self.counts),
                },
            )
        self._committed_at = time.monotonic()

    def finish(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Ends all files and gives them their names, the reads last; returns the summary."""
        size = self._reads.end()
        summary = summary_of(self.identity, self.counts, size) | extra
        if self._report is not None:
            self._report.finish()
            summary["report_sha256"] = file_sha256(self._report.path)
        if self.output != STDOUT:
            write_json(summary_path(self.output), summary)
        self._reads.publish()
        if self.output != STDOUT:
            journal_path(self.output).unlink(missing_ok=True)
        return summary

    def abandon(self) -> None:
        """Closes all files and leaves what is there for `--resume`; without a whole ZMW, removes them."""
        if self.next_offset is None:
            self._reads.discard()
            if self._report is not None:
                self._report.discard()
            return
        if self._at_zmw_end:
            self.commit()
        self._reads.abandon()
        if self._report is not None:
            self._report.abandon()


def summary_of(identity: dict[str, Any], counts: Counts, output_bytes: int) -> dict[str, Any]:
    """The part of a summary that does not depend on the machine."""
    return {
        "format_version": FORMAT_VERSION,
        "identity": identity,
        "output_bytes": output_bytes,
        "counts": vars(counts),
    }


def _report_row(molecule: PreparedMolecule, stitched: Stitched, read: OutputRead | None) -> bytes:
    num_windows = len(molecule.ccs_range)
    corrected = stitched.outcome is Outcome.SUCCESS
    values = (
        molecule.ccs.name, molecule.num_subreads, molecule.num_unusable, molecule.num_trimmed_bases,
        len(molecule.ccs.sequence), num_windows, num_windows - molecule.num_called - molecule.num_overflowing,
        molecule.num_overflowing, len(stitched.sequence), f"{stitched.predicted_phred:.3f}", stitched.outcome,
        "none" if read is None else "corrected" if corrected else "ccs",
    )  # fmt: skip
    return ("\t".join(map(str, values)) + "\n").encode()
