import json
import logging
from pathlib import Path

import pytest

from genoformer.errors import DataError, UsageError
from genoformer.workflows.calibration import choose_calibration


@pytest.fixture
def file(tmp_path):
    def write(**origin):
        rows = {source: {"calibrated": list(range(94))} for source in ("predicted", "copied")}
        content = {"format": "genoformer calibration", "format_version": 1, "fitted_on": origin, **rows}
        path = tmp_path / "c.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ((None, None, None), ("skip", "skip")),
        ((None, None, "0,1,2"), ("0,1,2", "skip")),
        (("skip", "0,2,1", "0,1,2"), ("skip", "0,2,1")),
        (("0,3,3", None, "0,1,2"), ("0,3,3", "skip")),
    ],
)
def test_lines(asked, lines):
    found = choose_calibration(*asked, "vote")
    assert (found.line, found.ccs_line, found.tables) == (*lines, None)
    assert found.identity == {"calibration": lines[0], "ccs_calibration": lines[1], "calibration_table": None}


@pytest.mark.parametrize(
    ("origin", "lines"),
    [
        ({"calibration": "0,2,0", "ccs_calibration": "0,3,0"}, ("0,2,0", "0,3,0")),
        ({"calibration": "skip", "ccs_calibration": "skip"}, ("skip", "skip")),
        ({"calibration": None}, ("0,1,2", "skip")),  # not known: those of a run without options
    ],
)
def test_a_file_brings_the_lines_of_its_reads(file, origin, lines):
    found = choose_calibration(file(**origin), None, "0,1,2", "vote")
    assert (found.line, found.ccs_line) == lines
    assert found.tables is not None
    assert found.identity["calibration_table"].startswith("sha256:")


def test_a_file_of_another_model_is_told(file, caplog):
    with caplog.at_level(logging.WARNING):
        choose_calibration(file(model="vote"), None, None, "vote")
        assert caplog.text == ""
        choose_calibration(file(model="sha256:1"), None, None, "sha256:2")
    assert "was fitted on reads of another model" in caplog.text


def test_a_line_for_copied_bases_beside_a_file(file):
    with pytest.raises(UsageError, match=r"--ccs-calibration is 0,1,0, but .*c\.json has a table for copied bases"):
        choose_calibration(file(), "0,1,0", None, "vote")


def test_a_file_with_a_line_that_is_none(file):
    with pytest.raises(DataError, match=r"c\.json: 'calibration' of its reads is 7; expected"):
        choose_calibration(file(calibration=7), None, None, "vote")


@pytest.mark.parametrize(
    ("asked", "lines", "has_tables"),
    [
        ((None, None), ("0,2,0", "skip"), True),  # of the reads that the tables were fitted on
        (("skip", None), ("skip", "skip"), False),
        (("0,3,0", None), ("0,3,0", "skip"), False),
        ((None, "0,4,0"), ("0,1,2", "0,4,0"), False),
    ],
)
def test_the_tables_of_the_model_are_applied_where_nothing_is_asked_for(file, asked, lines, has_tables):
    tables = json.loads(Path(file(calibration="0,2,0")).read_text())
    found = choose_calibration(*asked, "0,1,2", "sha256:1", tables)
    assert (found.line, found.ccs_line, found.tables is not None) == (*lines, has_tables)
    assert found.identity["calibration_table"] == ("of the model" if has_tables else None)


def test_a_file_goes_before_the_tables_of_the_model(file):
    tables = json.loads(Path(file(calibration="0,2,0")).read_text())
    found = choose_calibration(file(calibration="0,5,0"), None, "0,1,2", "sha256:1", tables)
    assert found.line == "0,5,0"
    assert found.identity["calibration_table"].startswith("sha256:")


def test_tables_in_a_model_that_are_none():
    with pytest.raises(DataError, match="the model's calibration: is not a calibration of format version 1"):
        choose_calibration(None, None, None, "sha256:1", {"format": "other"})
