"""Scores of variants as Parquet: a row for each variant and track. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.errors import OutputError, UsageError
from genoformer.io.reads import partial_path
from genoformer.io.score_rows import ScoredVariant, ScoreRows, ScoreTable
from genoformer.io.score_text import HEAD_COLUMNS, head_values

_ROWS_IN_GROUP = 1 << 17


def write_score_parquet(path: str | Path, source: ScoreRows) -> None:
    """Writes a row for each variant and track; where it comes from is in the schema's metadata, `genoformer`, as JSON.

    Raises:
        UsageError: pyarrow is not installed.
        OutputError: the file cannot be written.
    """
    arrow, parquet = import_arrow()
    table, partial = source.table, partial_path(path)
    try:
        with parquet.ParquetWriter(partial, _schema(arrow, table), compression="zstd") as writer:
            for rows in _groups(source.rows(), max(1, _ROWS_IN_GROUP // max(1, len(table.tracks)))):
                writer.write_table(arrow.table(_columns(rows, table), schema=_schema(arrow, table)))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{partial}: cannot be written: {error}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def import_arrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'genoformer[parquet]', or choose .tsv.gz or .h5") from None
    return pyarrow, parquet


def _schema(arrow: Any, table: ScoreTable) -> Any:
    integers = {"record": arrow.int64(), "pos": arrow.int64(), "track": arrow.int32()}
    text = arrow.dictionary(arrow.int32(), arrow.string())
    columns = [(name, integers.get(name, text)) for name in (*HEAD_COLUMNS, "track", "identifier", "description")]
    columns += [(score, arrow.float32()) for score in table.scores]
    return arrow.schema(columns, metadata={"genoformer": json.dumps(dict(table.attributes))})


def _groups(rows: Iterator[ScoredVariant], size: int) -> Iterator[list[ScoredVariant]]:
    group: list[ScoredVariant] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _columns(rows: list[ScoredVariant], table: ScoreTable) -> dict[str, Any]:
    num_tracks = len(table.tracks)
    heads = zip(*(head_values(row.head) for row in rows), strict=True)
    columns: dict[str, Any] = {
        name: [value for value in values for _ in range(num_tracks)]
        for name, values in zip(HEAD_COLUMNS, heads, strict=True)
    }
    columns["track"] = list(table.tracks) * len(rows)
    columns["identifier"] = [track.identifier for track in table.tracks.values()] * len(rows)
    columns["description"] = [track.description for track in table.tracks.values()] * len(rows)
    for place, score in enumerate(table.scores):
        columns[score] = np.concatenate([row.values[place] for row in rows])
    return columns
