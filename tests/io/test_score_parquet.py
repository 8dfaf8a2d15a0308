"""Scores as Parquet, read back by pyarrow."""

import json
import sys

import numpy as np
import pytest

from genoformer.errors import UsageError
from genoformer.io import score_parquet
from genoformer.io.score_parquet import import_arrow, write_score_parquet
from tests.score_rows import Rows


@pytest.mark.parametrize("group", [2, 1000])
def test_rows_come_back(tmp_path, monkeypatch, group):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr(score_parquet, "_ROWS_IN_GROUP", group)
    write_score_parquet(tmp_path / "scores.parquet", Rows())
    table = parquet.read_table(tmp_path / "scores.parquet")
    assert table.num_rows == 4 * 2
    assert table["chrom"].to_pylist() == ["chr1"] * 6 + ["chr2"] * 2
    assert table["pos"].to_pylist() == [10, 10, 10, 10, 100, 100, 5, 5]
    assert table["track"].to_pylist() == [2, 5] * 4
    expected = np.array([row.values for row in Rows().rows()])
    np.testing.assert_array_equal(table["js"].to_numpy().reshape(4, 2), expected[:, 1])
    assert json.loads(table.schema.metadata[b"genoformer"])["version"] == "0.1.0"


def test_without_variants(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_score_parquet(tmp_path / "scores.parquet", Rows([]))
    assert parquet.read_table(tmp_path / "scores.parquet").num_rows == 0


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="Parquet needs pyarrow: pip install"):
        import_arrow()
