"""What `variants score` and `join` leave behind.

OUT                        scores, once they are whole: HDF5, a table, VCF or Parquet; there may be several
OUT.genes.tsv[.gz]         beside a table, where genes were asked for
OUT.summary.json           beside the first: counts, times and what the run was made of
OUT.spool.partial, OUT.journal.json
                           beside the first: an unfinished run; `--resume` goes on from there
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genoformer.errors import OutputError, UsageError
from genoformer.io.reads import PartialFile, partial_path, read_json, write_json
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.io.score_parquet import import_arrow, write_score_parquet
from genoformer.io.score_rows import ScoredVariant, ScoreRows, ScoreTable, Spool, encode_row
from genoformer.io.score_text import write_gene_tsv, write_score_tsv
from genoformer.io.score_vcf import write_score_vcf
from genoformer.io.vcf import VcfPart
from genoformer.workflows.output import COMMIT_SECONDS, FORMAT_VERSION, differing_keys, journal_path, summary_path

logger = logging.getLogger(__name__)

HDF5, TABLE, VCF, PARQUET = "HDF5", "table", "VCF", "Parquet"
_FORMATS = {
    ".h5": HDF5, ".hdf5": HDF5, ".tsv": TABLE, ".tsv.gz": TABLE, ".vcf": VCF, ".vcf.gz": VCF, ".parquet": PARQUET,
}  # fmt: skip


def score_format(path: str) -> str:
    """The format that a file name asks for.

    Raises:
        UsageError: a name with another ending.
    """
    for suffix, kind in _FORMATS.items():
        if path.endswith(suffix):
            return kind
    raise UsageError(f"output '{path}': expected a name ending in {', '.join(_FORMATS)}")


def check_outputs(outputs: Sequence[str], *, keep_predictions: bool) -> None:
    """Raises UsageError for outputs that cannot be written, together or at all: before scoring, not after hours."""
    formats = [score_format(path) for path in outputs]
    paths = [Path(path).resolve() for path in outputs]
    if not outputs or len(set(paths)) != len(paths):
        raise UsageError("expected at least one output, each with a name of its own")
    for path in paths:
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"output '{path}': expected a file in a folder that is there")
    if PARQUET in formats:
        import_arrow()
    if keep_predictions and HDF5 not in formats:
        raise UsageError("predictions of every bin go into HDF5 only; name an output .h5")


def write_outputs(outputs: Sequence[str], rows: ScoreRows, part: VcfPart | None) -> None:
    """Writes all rows in each format; every file appears whole or not at all.

    Args:
        part: the records that were scored; None where no output is VCF.
    Raises:
        DataError: `part` has other records.
        OutputError: a file cannot be written.
    """
    for path in outputs:
        kind = score_format(path)
        if kind == HDF5:
            write_score_hdf5(path, rows)
        elif kind == VCF:
            assert part is not None
            write_score_vcf(path, rows, part, logger.warning)
        elif kind == PARQUET:
            write_score_parquet(path, rows)
        else:
            write_score_tsv(path, rows)
            if rows.table.gene_score:
                write_gene_tsv(genes_path(path), rows)


def genes_path(path: str) -> str:
    """The table of genes that stands beside a table of scores."""
    stem, suffix = path.rsplit(".tsv", 1)
    return f"{stem}.genes.tsv{suffix}"


class ScoreOutput:
    """Keeps the scores of a run until they are whole.

    Args:
        outputs: files to write.
        table: what all rows have in common.
        identity: everything that determines the rows, JSON values.
        part: the records that are scored, for a VCF output.
        resume: go on with an unfinished run of the same identity, where there is one.
    Attributes:
        num_done: variants that are kept.
    Raises:
        OutputError: the unfinished run is another one, or files cannot be written.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        table: ScoreTable,
        identity: Mapping[str, Any],
        part: VcfPart | None = None,
        *,
        resume: bool,
    ) -> None:
        self.outputs, self.table, self.identity, self._part = outputs, table, dict(identity), part
        self._spool_path = f"{outputs[0]}.spool"
        journal = self._journal() if resume else {}
        if not journal:
            journal_path(outputs[0]).unlink(missing_ok=True)  # it must never speak of another spool
        self.num_done = journal.get("num_done", 0)
        self._spool = PartialFile(self._spool_path, journal.get("spool_bytes"))
        self._committed_at = time.monotonic()

    def _journal(self) -> dict[str, Any]:
        path = journal_path(self.outputs[0])
        if not path.exists() or not partial_path(self._spool_path).exists():
            logger.info("%s: nothing to resume; starting from the beginning", self.outputs[0])
            return {}
        journal = read_json(path)
        check_identity(path, journal.get("identity", {}), self.identity)
        logger.info("%s: resuming after %d variants", self.outputs[0], journal["num_done"])
        return journal

    def add(self, row: ScoredVariant) -> None:
        """Keeps the scores of the next variant."""
        self._spool.raw.write(encode_row(row))
        self.num_done += 1
        if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> int:
        """Makes everything so far durable, for `--resume`; returns its bytes."""
        num_bytes = self._spool.commit()
        journal = {"identity": self.identity, "num_done": self.num_done, "spool_bytes": num_bytes}
        write_json(journal_path(self.outputs[0]), journal)
        self._committed_at = time.monotonic()
        return num_bytes

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Writes all files and then the summary, which it gives back; what was unfinished is gone."""
        num_bytes = self.commit()
        write_outputs(self.outputs, Spool(partial_path(self._spool_path), num_bytes, self.table), self._part)
        whole = summary_of(self.outputs, self.identity, self.num_done) | dict(summary)
        write_json(summary_path(self.outputs[0]), whole)
        self._spool.discard()
        journal_path(self.outputs[0]).unlink(missing_ok=True)
        return whole

    def stop(self) -> None:
        """Leaves what is there for `--resume`; without a variant, nothing."""
        if self.num_done:
            self.commit()
            self._spool.abandon()
        else:
            self._spool.discard()
            journal_path(self.outputs[0]).unlink(missing_ok=True)


def summary_of(outputs: Sequence[str], identity: Mapping[str, Any], num_variants: int) -> dict[str, Any]:
    """The part of a summary that does not depend on the machine."""
    names = [Path(path).name for path in outputs]
    return {"format_version": FORMAT_VERSION, "identity": dict(identity), "outputs": names, "variants": num_variants}


def finished_summary(outputs: Sequence[str], identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of whole outputs, if they are there.

    Raises:
        OutputError: they are those of another run.
    """
    path = summary_path(outputs[0])
    is_unfinished = partial_path(f"{outputs[0]}.spool").exists()  # of a later run
    if is_unfinished or not path.exists() or not all(Path(output).exists() for output in outputs):
        return None
    summary = read_json(path)
    if summary.get("outputs") != [Path(output).name for output in outputs]:
        return None
    check_identity(path, summary.get("identity", {}), identity)
    logger.info("%s: is already whole; nothing to do", outputs[0])
    return summary


def check_identity(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises OutputError unless two runs are the same."""
    different = differing_keys(dict(found), dict(expected))
    if different:
        raise OutputError(
            f"{path}: is of another run ({'; '.join(different)}); repeat its flags, or start without --resume"
        )
