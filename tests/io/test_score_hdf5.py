"""Scores in HDF5: Basenji's schema, what comes back, and files that are none of ours."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from genoformer.errors import DataError, OutputError
from genoformer.io import score_hdf5
from genoformer.io.score_hdf5 import PERCENTILES, ScoreFile, dataset_name, write_score_hdf5
from tests.score_rows import TABLE, VARIANTS, Rows, assert_same_rows


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scores.h5"
    write_score_hdf5(path, Rows())
    return path


def test_the_schema_is_that_of_basenji(path, shared_data):
    with h5py.File(path) as mine, h5py.File(shared_data / "expression" / "basenji_tests" / "usad.h5") as theirs:
        for name, dataset in theirs.items():
            assert mine[name].ndim == dataset.ndim, name
            assert mine[name].dtype.kind == dataset.dtype.kind, name
        np.testing.assert_allclose(mine["percentiles"], theirs["percentiles"], rtol=0, atol=1e-12)
        for name in ("SAD", "SAD_pct"):
            assert mine[name].dtype == np.float32
            assert theirs[name].dtype == np.float16


def test_content(path):
    with h5py.File(path) as file:
        assert file["snp"][:].tolist() == [b"rs1", b"chr1:10", b"del", b"chr2:5"]
        assert file["chr"][:].tolist() == [b"chr1", b"chr1", b"chr1", b"chr2"]
        assert file["pos"].dtype == np.uint32
        assert file["pos"][:].tolist() == [10, 10, 100, 5]
        assert file["ref_allele"][:].tolist() == file["ref"][:].tolist() == [b"A", b"A", b"GATTACA", b"AC"]
        assert file["alt_allele"][:].tolist() == [b"C", b"ATTT", b"G", b"GT"]
        assert file["note"][:].tolist() == [b"", b"", b"flipped", b""]
        assert file["target_ids"][:].tolist() == [b"ENC2", b"ENC5"]
        assert file["target_index"][:].tolist() == [2, 5]
        assert file["REF"].shape == file["ALT"].shape == (4, 3, 2)
        assert file["SAD"].attrs["score"] == "sad_sum"
        assert file["genes/si"][:].tolist() == [1, 2, 2, 3]
        assert file["genes/gi"][:].tolist() == [0, 0, 1, 1]
        assert file["genes/tss_sum_logfc"].shape == (4, 2)
        expected = np.array([row.values for row in Rows().rows()])
        for place, name in enumerate(("SAD", "JS", "SAD_z")):
            np.testing.assert_array_equal(file[name], expected[:, place])
        np.testing.assert_allclose(
            file["SAD_pct"], np.percentile(expected[:, 0], 100 * PERCENTILES, axis=0).T, rtol=1e-6
        )
        assert "SAD_z_pct" not in file
        assert file.attrs["version"] == "0.1.0"


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 24])
def test_rows_come_back_and_bytes_are_the_same(tmp_path, path, monkeypatch, block_bytes):
    monkeypatch.setattr(score_hdf5, "_BLOCK_BYTES", block_bytes)
    with ScoreFile(path) as file:
        assert file.identity == {"shard": [1, 1]}
        assert file.num_rows == 4
        assert list(file.heads()) == list(Rows().heads())
        assert_same_rows(file.rows(), Rows().rows())
        assert file.table.scores == TABLE.scores
        assert file.table.genes == TABLE.genes
        assert file.table.contigs == TABLE.contigs
        write_score_hdf5(tmp_path / "again.h5", file)
    if block_bytes == 1 << 24:
        assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("block_bytes", [1, 1 << 24])
def test_single_rows_and_blocks_of_a_score(path, monkeypatch, block_bytes):
    monkeypatch.setattr(score_hdf5, "_BLOCK_BYTES", block_bytes)
    rows = list(Rows().rows())
    with ScoreFile(path) as file:
        assert file.row(2).head == rows[2].head
        np.testing.assert_array_equal(file.row(2).values, rows[2].values)
        np.testing.assert_array_equal(file.row(2).predictions, rows[2].predictions)
        blocks = list(file.blocks(TABLE.scores[1]))
    np.testing.assert_array_equal(np.concatenate(blocks), [row.values[1] for row in rows])
    assert len(blocks) == (len(rows) if block_bytes == 1 else 1)


def test_files_without_variants_genes_or_predictions(tmp_path):
    for name, rows in (
        ("empty.h5", Rows([])),
        ("plain.h5", Rows(table=dataclasses.replace(TABLE, num_bins=0, genes=(), gene_score=""))),
    ):
        write_score_hdf5(tmp_path / name, rows)
        with ScoreFile(tmp_path / name) as file:
            assert_same_rows(file.rows(), rows.rows())


def test_percentiles_of_many_variants_look_at_some(tmp_path, monkeypatch):
    monkeypatch.setattr(score_hdf5, "MAX_VARIANTS_IN_PERCENTILES", 30)
    rows = Rows(VARIANTS * 25, dataclasses.replace(TABLE, num_bins=0, genes=(), gene_score=""))
    write_score_hdf5(tmp_path / "many.h5", rows)
    values = np.array([row.values[0] for row in rows.rows()])[::4]
    with h5py.File(tmp_path / "many.h5") as file:
        np.testing.assert_allclose(file["SAD_pct"], np.percentile(values, 100 * PERCENTILES, axis=0).T, rtol=1e-6)


def test_names_of_datasets():
    names = {
        "sad_sum": "SAD",
        "sad_mean": "SAD_mean",
        "d2_sum_centre": "D2_centre",
        "max": "SAX",
        "js_percentile": "JS_percentile",
    }
    assert {score: dataset_name(score) for score in names} == names


def test_a_failed_file_leaves_nothing(tmp_path):
    class Failing(Rows):
        def rows(self):
            yield from list(super().rows())[:2]
            raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_score_hdf5(tmp_path / "scores.h5", Failing())
    with pytest.raises(OutputError, match="cannot be written"):
        write_score_hdf5(tmp_path / "absent" / "scores.h5", Rows())
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none(tmp_path, path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["SAD"] = [1.0]
    with pytest.raises(DataError, match="holds HDF5 of another program, version None; expected variant scores"):
        ScoreFile(other)
    other.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="is no whole file of variant scores"):
        ScoreFile(other)
    with pytest.raises(DataError, match="is no whole file of variant scores"):
        ScoreFile(tmp_path / "absent.h5")
    with h5py.File(path, "r+") as file:
        del file["target_ids"]
    with pytest.raises(DataError, match="is no whole file of variant scores"):
        ScoreFile(path)
    assert json.loads(TABLE.attributes["identity"]) == {"shard": [1, 1]}
