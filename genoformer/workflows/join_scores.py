"""`genoformer variants join`: finished shards of `score` as the files of one run."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genoformer.errors import OutputError, UsageError
from genoformer.io.reads import partial_path, read_json, write_json
from genoformer.io.score_hdf5 import ScoreFile
from genoformer.io.score_rows import ScoredVariant, ScoreTable, VariantHead
from genoformer.io.vcf import VcfPart
from genoformer.workflows.join_progress import JoinProgress
from genoformer.workflows.output import file_identity, summary_path
from genoformer.workflows.run_facts import joined_run
from genoformer.workflows.score_output import (
    HDF5,
    VCF,
    check_outputs,
    finished_summary,
    score_format,
    summary_of,
    write_outputs,
)
from genoformer.workflows.shard_files import finished_shards


def join_scores(
    shards: Sequence[str], outputs: Sequence[str], vcf: str | None = None, *, resume: bool = False
) -> dict[str, Any]:
    """Writes the rows of all shards in the order of the VCF file; returns the joined summary.

    Outputs have the bytes of those of a run without shards.

    Args:
        vcf: the file that was scored, whose records a VCF output has.
        resume: keep outputs that a join of the same shards has written.
    Raises:
        UsageError: shards that are no HDF5 files, or outputs that cannot be written together.
        OutputError: a shard that is missing, doubled, unfinished or of another run, or another VCF file.
        DataError: a damaged shard or VCF file.
    """
    check_outputs(outputs, keep_predictions=False)
    for shard in shards:
        if score_format(shard) != HDF5:
            raise UsageError(f"'{shard}': only .h5 shards can be joined; outputs may have any format")
    read = {Path(path).resolve() for path in (*shards, vcf) if path}
    if read & {Path(path).resolve() for path in outputs}:
        raise UsageError("an output is one of the shards, or their VCF file; choose another name")
    if vcf is None and (wanted := next((path for path in outputs if score_format(path) == VCF), None)):
        raise UsageError(f"output '{wanted}': its records come from the VCF file that was scored; name it by --vcf")
    rows = _JoinedRows(finished_shards(shards, lambda shard: partial_path(f"{shard}.spool"), _identity))
    if resume and (done := finished_summary(outputs, rows.identity)) is not None:
        return done
    scored = None if vcf is None else _scored_vcf(vcf, rows.identity)
    progress = JoinProgress(outputs[0], {**rows.identity, "outputs": list(outputs)}, resume=resume)
    for place in range(progress.num_done, len(outputs)):
        write_outputs([outputs[place]], rows, scored)
        progress.note(place + 1)
    num_variants = sum(1 for _ in rows.heads())
    summary = summary_of(outputs, rows.identity, num_variants) | _summed_counts(shards) | joined_run(shards)
    write_json(summary_path(outputs[0]), summary)
    progress.finish()
    return summary


def _scored_vcf(path: str, identity: dict[str, Any]) -> VcfPart:
    """All records of the VCF file that was scored."""
    if not Path(path).is_file():
        raise UsageError(f"--vcf '{path}': is no file; expected the one that was scored")
    found, expected = file_identity(path), identity.get("vcf")
    if found != expected:
        raise OutputError(f"--vcf '{path}': is not the file that was scored ({expected} there, {found} here)")
    return VcfPart(Path(path), path)


def _summed_counts(shards: Sequence[str]) -> dict[str, Any]:
    """Records and counts of all shards, where their summaries are there."""
    paths = [summary_path(shard) for shard in shards]
    if not all(path.exists() for path in paths):
        return {}
    summaries = [read_json(path) for path in paths]
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary["counts"])
    return {"records": sum(summary["records"] for summary in summaries), "counts": dict(sorted(counts.items()))}


def _identity(shard: str) -> dict[str, Any]:
    with ScoreFile(shard) as file:
        return file.identity


class _JoinedRows:
    """The rows of shards, one file after the other."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        with ScoreFile(paths[0]) as file:
            self.identity = {**file.identity, "shard": [1, 1]}
            attributes = {**file.table.attributes, "identity": json.dumps(self.identity)}
            self.table: ScoreTable = dataclasses.replace(file.table, attributes=attributes)

    def heads(self) -> Iterator[VariantHead]:
        for path in self._paths:
            with ScoreFile(path) as file:
                yield from file.heads()

    def rows(self) -> Iterator[ScoredVariant]:
        for path in self._paths:
            with ScoreFile(path) as file:
                yield from file.rows()
