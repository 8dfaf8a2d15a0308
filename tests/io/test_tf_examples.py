import gzip

import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.io.tf_examples import read_labelled_windows
from tests.tfrecord_builder import ROWS, bytes_feature, features, int_feature, write_windows


def changed(row, column, value):
    rows = ROWS.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_window_written_out(tmp_path, pack):
    (window,) = read_labelled_windows(write_windows(tmp_path / "a", features(), pack=pack))
    assert (window.name, window.config.max_passes, window.config.window_length) == ("m/7/ccs", 2, 3)
    found = window.examples
    np.testing.assert_array_equal(found.rows(window.config, np.float32)[0], ROWS)
    assert found.labels.tolist() == [[1, 0, 4]]
    assert found.ccs_quals.tolist() == [[40, -1, 93]]
    assert (found.ccs_start.tolist(), found.num_passes.tolist()) == ([100], [1])


def test_a_row_of_qualities_among_the_rows(tmp_path):
    rows = np.insert(ROWS, 9, [40, -1, 93], axis=0)
    (window,) = read_labelled_windows(write_windows(tmp_path / "a", features(rows)))
    np.testing.assert_array_equal(window.examples.rows(window.config, np.float32)[0], ROWS)


def without(name):
    return {key: value for key, value in features().items() if key != name}


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (without("name"), "has no name"),
        (without("label/encoded"), "label/encoded of 3 float32 as bytes; windows made for inference have no labels"),
        (without("ccs_base_quality_scores"), "no feature ccs_base_quality_scores of 3 integers; expected a window of"),
        (features(window_pos=bytes_feature(b"100")), "has no feature window_pos of 1 integers"),
        (features(window_pos=int_feature(1 << 31)), "window_pos value 2.14748e.09; expected whole numbers from 0"),
        (features(label=(1, 0)), "has no feature label/encoded of 3 float32"),
        (features(label=(1, 5, 0)), "has label value 5; expected whole numbers from 0 to 4"),
        (features(changed(0, 1, 5)), "has base value 5; expected whole numbers from 0 to 4"),
        (features(changed(0, 1, 0.5)), "has base value 0.5"),
        (features(changed(2, 1, 256)), "has pw or ip value 256; expected whole numbers from 0 to 255"),
        (features(changed(5, 0, -1)), "has pw or ip value -1"),
        (features(changed(4, 0, np.nan)), "has pw or ip value nan"),
        (features(changed(8, 0, np.inf)), "has CCS base value inf"),
        (features(changed(6, slice(None), 3)), "has strand value 3; expected whole numbers from 0 to 2"),
        (features(changed(6, 0, 1)), "strand or SN rows that are not one number each"),
        (features(changed(9, slice(None), np.inf)), "strand or SN rows that are not one number each"),
        (features(**{"subreads/num_passes": int_feature(256)}), "has num_passes value 256"),
        (features(**{"subreads/shape": int_feature(11, 3, 1)}), r"has subreads/shape \[11, 3, 1\]; expected 4 \*"),
        (features(**{"subreads/shape": int_feature(5, 3, 1)}), r"has subreads/shape \[5, 3, 1\]"),
        (features(**{"subreads/shape": int_feature(-1, -1, 1)}), r"has subreads/shape \[-1, -1, 1\]"),
        (features(**{"subreads/shape": int_feature(13, 1 << 40, 1)}), r"has subreads/shape \[13, 1099511627776, 1\]"),
        (features(**{"subreads/shape": int_feature(13, 4, 1)}), "subreads/encoded of 52 float32 as bytes"),
        (features(**{"subreads/shape": int_feature(13, 3)}), "has no feature subreads/shape of 3 integers"),
    ],
)
def test_what_is_no_labelled_window_is_named(tmp_path, window, message):
    path = write_windows(tmp_path / "a", features(), window)
    with pytest.raises(DataError, match=f"^{path} record 1: .*{message}"):
        list(read_labelled_windows(path))
