"""Which converter takes a file, and where the names of tracks come from."""

from pathlib import Path

import pytest
import torch

from genoformer.errors import CheckpointError, UsageError
from genoformer.models.convert import ConvertOptions, convert
from genoformer.models.export_enformer import save_enformer_pytorch
from tests.enformer_files import CONFIG, SETTINGS, pytorch_state, small_model, sonnet_variables
from tests.tensor_bundle import write_bundle


@pytest.fixture
def state_dict(tmp_path):
    torch.save(pytorch_state(small_model()), tmp_path / "pytorch_model.bin")
    return tmp_path / "pytorch_model.bin"


def table(path, names):
    rows = (f"{index}\t{name}\t{name}.bw\tCAGE:{name}\n" for index, name in enumerate(names))
    path.write_text("index\tidentifier\tfile\tdescription\n" + "".join(rows))
    return path


def test_every_form_of_an_enformer(tmp_path, state_dict):
    (tmp_path / "s").mkdir()
    write_bundle(tmp_path / "s" / "ckpt", sonnet_variables(small_model()))
    first = convert(state_dict, ConvertOptions(settings=SETTINGS))
    save_enformer_pytorch(first, tmp_path / "hf")
    for path in (tmp_path / "s", tmp_path / "s" / "ckpt", tmp_path / "hf", str(tmp_path / "hf")):
        found = convert(path, ConvertOptions(settings=SETTINGS))
        assert found.config == CONFIG
        assert found.tracks == first.tracks


def test_a_deepconsensus_checkpoint(shared_data):
    folder = shared_data / "consensus" / "golden" / "ckpt_preln_2L_full"
    assert convert(folder).kind == "consensus"
    with pytest.raises(UsageError, match="--targets and --set are for expression models; this is a DeepConsensus"):
        convert(folder, ConvertOptions(settings={"num_layers": 2}))


def test_tracks_by_targets_tables(tmp_path, state_dict):
    targets = {"human": table(tmp_path / "t.txt", "abc")}
    tracks = convert(state_dict, ConvertOptions(targets=targets, settings=SETTINGS)).tracks
    found = {species: [(track.identifier, track.description) for track in tracks[species]] for species in tracks}
    assert found == {
        "human": [("a", "CAGE:a"), ("b", "CAGE:b"), ("c", "CAGE:c")],
        "mouse": [("0", ""), ("1", "")],
    }


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"targets": {"fly": "t.txt"}}, UsageError, "--targets fly=.*: the model has heads for human, mouse"),
        ({"targets": {"mouse": "t.txt"}}, CheckpointError, "t.txt: has 3 tracks; the model's head 'mouse' has 2"),
        ({"params": Path("params.json")}, UsageError, "--params is for DeepConsensus checkpoints"),
    ],
)
def test_options_that_do_not_fit(tmp_path, state_dict, options, error, text):
    table(tmp_path / "t.txt", "abc")
    options["targets"] = {name: tmp_path / path for name, path in options.get("targets", {}).items()}
    with pytest.raises(error, match=text):
        convert(state_dict, ConvertOptions(settings=SETTINGS, **options))


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="none: no such checkpoint"):
        convert(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"none.bin: cannot be read"):
        convert(tmp_path / "none.bin")
