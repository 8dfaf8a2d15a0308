"""What a run says of its model before the weights are read, and the weights it reads then."""

from dataclasses import replace

import pytest
import torch

from genoformer.errors import CheckpointError, UsageError
from genoformer.models.checkpoint import load_expression_model, model_hash
from genoformer.workflows.track_model import choose_outputs, open_track_model
from tests.predict_inputs import TRACKS, write_inputs


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("model")).model


def test_outputs_are_those_that_the_patterns_choose():
    outputs = choose_outputs(TRACKS, "human", ("CAGE:*",))
    assert (outputs.species, outputs.tracks) == ("human", TRACKS["human"])
    assert [(index, track.identifier) for index, track in outputs.chosen.items()] == [(0, "x+"), (2, "x-")]
    assert list(choose_outputs({"fly": TRACKS["fly"]}, None, ()).chosen) == [0, 1]


@pytest.mark.parametrize(
    ("species", "patterns", "text"),
    [
        (None, (), "--species is not given; the model has human, fly"),
        ("mouse", (), "--species is 'mouse'"),
        ("fly", ("2",), "tracks '2': expected numbers from 0 to 1"),
    ],
)
def test_outputs_that_are_not_there(species, patterns, text):
    with pytest.raises(UsageError, match=text):
        choose_outputs(TRACKS, species, patterns)


def test_what_runs_and_files_say_of_a_model(path):
    model = open_track_model(path, "human", ("1",), ("cpu", "cpu"), 4)
    assert model.identity.pop("version") == model.notes.pop("version")
    digest = model_hash(path)
    expected = {"model": f"sha256:{digest}", "species": "human", "tracks": [1], "device": "cpu"}
    assert expected.items() <= model.identity.items()
    assert model.identity == replace(model, devices=("cpu",)).identity
    assert {"model": "model.safetensors", "model_sha256": digest, "species": "human"}.items() <= model.notes.items()


@pytest.mark.parametrize(("threads", "devices", "each"), [(4, 2, 2), (3, 2, 1), (1, 2, 1), (3, 1, 3)])
def test_devices_share_the_threads(path, threads, devices, each):
    assert open_track_model(path, "human", (), ("cpu",) * devices, threads).threads == each


def test_the_weights_are_those_of_the_file(path):
    model = open_track_model(path, "human", (), ("cpu",), 1)
    expected = load_expression_model(path).state_dict()
    found = model.load().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.config == load_expression_model(path).config
    assert torch.get_num_threads() == 1


def test_a_file_that_changed_since_the_run_began(path):
    model = replace(open_track_model(path, "human", (), ("cpu",), 1), digest=64 * "0")
    with pytest.raises(
        CheckpointError, match=r"model.safetensors: was 000000000000 when the run began and is \w{12} now"
    ):
        model.load("cpu")
