"""The spool of scored variants: what is written is read, also of a spool that was cut."""

import dataclasses

import pytest

from genoformer.io.score_rows import Spool, encode_row
from tests.score_rows import TABLE, VARIANTS, Rows, assert_same_rows

TABLES = [
    TABLE,
    dataclasses.replace(TABLE, num_bins=0),
    dataclasses.replace(TABLE, num_bins=0, gene_score="", genes=()),
]


@pytest.mark.parametrize("table", TABLES)
def test_rows_come_back(tmp_path, table):
    rows, path = Rows(table=table), tmp_path / "spool"
    records = [encode_row(row) for row in rows.rows()]
    path.write_bytes(b"".join(records) + b"rest that was not committed")
    spool = Spool(path, sum(map(len, records)), table)
    assert list(spool.heads()) == list(rows.heads())
    assert_same_rows(spool.rows(), rows.rows())
    first = Spool(path, len(records[0]), table)
    assert [head.variant for head in first.heads()] == VARIANTS[:1]


def test_no_rows(tmp_path):
    (tmp_path / "spool").write_bytes(b"")
    spool = Spool(tmp_path / "spool", 0, TABLE)
    assert list(spool.heads()) == list(spool.rows()) == []


def test_names_of_variants_without_one():
    assert [head.name for head in Rows().heads()] == ["rs1", "chr1:10", "del", "chr2:5"]
