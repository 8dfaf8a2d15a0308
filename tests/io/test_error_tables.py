import json

import numpy as np
import pytest

from genoformer import assets
from genoformer.errors import DataError, OutputError
from genoformer.genome.error_model import TABLES
from genoformer.io.error_tables import FORMAT, read_error_model, write_error_model

SHIPPED = assets.path("configs", "error_model_sequel.json")


def test_a_model_is_written_and_read_back(tmp_path):
    model = read_error_model(SHIPPED)
    write_error_model(tmp_path / "model.json", model, {"reads": 84})
    again = read_error_model(tmp_path / "model.json")
    assert all((getattr(again, name) == getattr(model, name)).all() for name in TABLES)
    content = json.loads((tmp_path / "model.json").read_text())
    assert (content["format"], content["origin"]) == (FORMAT, {"reads": 84})


def test_the_shipped_model_says_where_it_comes_from():
    origin = json.loads(SHIPPED.read_text())["origin"]
    assert (origin["reads"], origin["kinetics"]) == (84, True)
    assert "/work" not in SHIPPED.read_text()


def test_shipped_rates_are_of_the_size_of_real_ones():
    """.0208 substitutions, .0333 deletions; .0508 insertions, of which an aligner takes some apart."""
    model = read_error_model(SHIPPED)
    assert np.average(model.deletion[:, 0]) == pytest.approx(0.0333, rel=0.5)
    assert model.substitution.sum(axis=2).mean() == pytest.approx(0.0208, rel=0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no error model: Expecting property name"),
        (b"[]", "its format is None; expected 'genoformer error model 1'"),
        (b'{"format": "other"}', "its format is 'other'; expected 'genoformer error model 1'"),
        (b'{"format": "genoformer error model 1", "tables": 3}', "its format is"),
        (b'{"format": "genoformer error model 1", "tables": {}}', "table 'copy' is missing"),
        (b"\xff\xfe", "is no error model: "),
        (b"[" * 100_000, "is no error model: "),
        (b" " * (1 << 20) + b"{}", "it has more than 1048576 bytes"),
    ],
)
def test_a_file_that_holds_something_else(tmp_path, content, message):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_error_model(path)
    assert str(error.value).startswith(f"{path}: is no error model")
    assert str(error.value).endswith("make one with 'consensus fit-errors'")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.json: is no error model: No such file or directory"):
        read_error_model(tmp_path / "none.json")
    with pytest.raises(OutputError, match="cannot be written"):
        write_error_model(tmp_path / "none" / "model.json", read_error_model(SHIPPED), {})
