"""Scores held against those of other variants, by numpy over all of them."""

import h5py
import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.genome.track import Track
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.workflows.background import load_background
from tests.score_rows import TABLE, VARIANTS, Rows

TRACKS = list(TABLE.tracks.values())


@pytest.fixture
def rows():
    return Rows(VARIANTS * 50)


@pytest.fixture
def path(tmp_path, rows):
    write_score_hdf5(tmp_path / "common.h5", rows)
    return tmp_path / "common.h5"


def test_z_scores_and_percentiles(path, rows):
    others = np.array([row.values for row in rows.rows()], np.float64)  # [n, 3, 2]
    background = load_background(path, ["js", "sad_sum"], TRACKS[::-1])
    assert background.names == ("js_z", "sad_sum_z", "js_percentile", "sad_sum_percentile")
    values = np.array([[0.5, -1.0], [0.0, 2.0]])  # of js and sad_sum, for tracks 5 and 2
    found = background.compare(values)
    assert found.dtype == np.float32
    expected = others[:, [1, 0]][:, :, ::-1]
    np.testing.assert_allclose(found[:2], (values - expected.mean(0)) / expected.std(0), rtol=1e-5)
    below = 100 * (expected < values).mean(0)
    np.testing.assert_allclose(found[2:], below, atol=1.5)


def test_percentiles_end_where_the_background_does(path):
    background = load_background(path, ["sad_sum"], TRACKS)
    found = background.compare(np.array([[-1e9, 1e9]]))
    np.testing.assert_allclose(found[1], [0.1, 99.9], rtol=1e-6)


def test_what_does_not_vary(tmp_path):
    class Same(Rows):
        def rows(self):
            first = next(super().rows())
            return (first for _ in self.variants)

    write_score_hdf5(tmp_path / "same.h5", Same())
    assert (load_background(tmp_path / "same.h5", ["sad_sum"], TRACKS).compare(np.ones((1, 2)))[0] == 0).all()


def test_a_file_of_basenji(shared_data, tmp_path):
    path = shared_data / "expression" / "basenji_tests" / "usad.h5"
    background = load_background(path, ["sad_sum"], [Track("", "", "", "sum", 1.0, None, None, 0)])
    with h5py.File(path) as file:
        np.testing.assert_allclose(background.mean, [[file["SAD"][:, 0].astype(float).mean()]], rtol=1e-6)


@pytest.mark.parametrize(
    ("scores", "tracks", "message"),
    [
        (["d2_sum"], TRACKS, "has no percentiles of 'd2_sum'; make the background with the same --scores"),
        (["js"], [Track("ENC9", "", "", "sum", 1.0, None, None, 0)], r"has no track 'ENC9' \(no description\)"),
    ],
)
def test_backgrounds_that_do_not_fit(path, scores, tracks, message):
    with pytest.raises(DataError, match=message):
        load_background(path, scores, tracks)


def test_files_that_are_none(tmp_path, path):
    with pytest.raises(DataError, match="is no whole file of variant scores"):
        load_background(tmp_path / "absent.h5", ["js"], TRACKS)
    write_score_hdf5(tmp_path / "empty.h5", Rows([]))
    with pytest.raises(DataError, match="has no percentiles of 'js'"):
        load_background(tmp_path / "empty.h5", ["js"], TRACKS)
    with h5py.File(path, "r+") as file:
        file["percentiles"][:] += 0.1
    with pytest.raises(DataError, match="has other percentiles than Basenji's 279"):
        load_background(path, ["js"], TRACKS)
