from pathlib import Path

import pytest

from genoformer.errors import UsageError
from genoformer.workflows.model_choice import find_model


def test_a_path_or_a_model_that_ships(tmp_path, monkeypatch):
    assert find_model("a/b", "") == Path("a/b")
    assert find_model("missing.safetensors", "") == Path("missing.safetensors")
    assert find_model("consensus-tiny", "").name == "consensus-tiny.safetensors"
    monkeypatch.chdir(tmp_path)
    Path("mine").touch()
    assert find_model("mine", "") == Path("mine")
    with pytest.raises(UsageError, match=r"the model is 'other'; expected a .safetensors file, or else"):
        find_model("other", "or else")
