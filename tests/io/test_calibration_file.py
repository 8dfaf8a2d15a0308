import hashlib
import json

import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.genome.calibration import CalibrationTables, QualityCounts
from genoformer.io.calibration_file import MAX_BYTES, calibration_content, read_calibration

RAMP = list(range(94))


def content(**changes):
    rows = {source: {"calibrated": RAMP} for source in ("predicted", "copied")}
    return {"format": "genoformer calibration", "format_version": 1, "fitted_on": {"reads": "a.bam"}, **rows, **changes}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_what_is_written_is_read(tmp_path):
    counts = QualityCounts.zero()
    counts.bases[1, 93], counts.errors[1, 93] = 1000, 3
    tables = CalibrationTables(np.stack([np.linspace(0, 93, 94), np.full(94, 31.25)]))
    path = write(tmp_path / "c.json", calibration_content(tables, counts, {"model": "vote"}, "1.2.3"))
    found = read_calibration(path)
    assert found.tables.phred.tolist() == tables.phred.tolist()
    assert found.origin == {"model": "vote"}
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(path.read_text())["copied"]["errors"][93] == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "is not a calibration of format version 1"),
        (content(format_version=2), "is not a calibration of format version 1"),
        (content(fitted_on=None), "is not a calibration of format version 1"),
        (content(copied=None), "'copied' has no table 'calibrated' of numbers"),
        (content(copied={"calibrated": [True] * 94}), "'copied' has no table 'calibrated' of numbers"),
        (content(predicted={"calibrated": RAMP[:93]}), "'predicted' has 93 calibrated qualities; expected 94"),
        (content(predicted={"calibrated": [-1, *RAMP[1:]]}), "'predicted': quality 0 becomes -1; expected 0 to 93"),
        (content(predicted={"calibrated": [*RAMP[:93], float("nan")]}), "quality 93 becomes nan; expected 0 to 93"),
        (
            content(predicted={"calibrated": [*RAMP[:50], 20, *RAMP[51:]]}),
            "'predicted': quality 50 becomes 20, less than 49 does; sort the table",
        ),
        (" " * (MAX_BYTES + 1), "is not a calibration"),
    ],
)
def test_a_file_that_is_none(tmp_path, value, message):
    path = write(tmp_path / "c.json", value)
    with pytest.raises(DataError, match=f"c.json: .*{message}"):
        read_calibration(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read as JSON: No such file"):
        read_calibration(tmp_path / "none.json")
