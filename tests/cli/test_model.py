import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from genoformer.cli.main import app
from genoformer.config import ConsensusConfig
from genoformer.models.checkpoint import load_checkpoint, model_hash, save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.models.convert_deepconsensus import convert_deepconsensus
from tests.enformer_files import CONFIG as ENFORMER
from tests.enformer_files import pytorch_state, small_model

CHECKOUT = Path(__file__).resolve().parents[2]


def run(*args: Any) -> Result:
    return CliRunner().invoke(app, ["model", *map(str, args)])


@pytest.fixture
def golden(shared_data: Path) -> Path:
    return shared_data / "consensus" / "golden" / "ckpt_preln_2L_full"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    config = ConsensusConfig(num_layers=1, filter_width=1024, rezero=True, calibration="0,1.2,-0.5")
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    metadata = {"source": "a test", "notes": ["an assumption", "another"]}
    save_checkpoint(path, ConsensusTransformer(config).state_dict(), config, metadata=metadata)
    return path


def test_convert_writes_what_the_converter_returns(tmp_path: Path, golden: Path) -> None:
    output = tmp_path / "model.safetensors"
    result = run("convert", golden, "-o", output)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    source = "DeepConsensus v1.2, TensorFlow checkpoint 'checkpoint-1'"
    assert result.stderr == f"wrote {output}: 3,094,771 parameters from {source}\n"
    expected = convert_deepconsensus(golden)
    found = load_checkpoint(output)
    assert found.config == expected.config
    assert found.metadata == {"source": source, "notes": []}
    assert found.state_dict.keys() == expected.state_dict.keys()
    assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in expected.state_dict.items())


def test_convert_writes_safetensors_only(tmp_path: Path) -> None:
    result = run("convert", tmp_path / "checkpoint", "-o", tmp_path / "model.bin")
    assert result.exit_code == 2
    assert result.stderr.endswith(f"output '{tmp_path / 'model.bin'}': expected a name ending in .safetensors\n")


def test_convert_prints_every_assumption(tmp_path: Path, golden: Path) -> None:
    params = json.loads((golden / "params.json").read_text())
    del params["rezero"], params["dc_calibration"]
    (tmp_path / "other.json").write_text(json.dumps(params))
    output = tmp_path / "model.safetensors"
    result = run("convert", golden / "checkpoint-1", "-o", output, "--params", tmp_path / "other.json")
    assert result.exit_code == 0, result.output
    notes = ["no rezero in other.json: False, as in v1.1", "no dc_calibration in other.json: none, as in v1.1"]
    assert result.stderr.splitlines()[:-1] == [f"note: {note}" for note in notes]
    assert json.loads(run("info", output, "--json").stdout)["notes"] == notes


def test_convert_does_not_replace_a_file_unasked(tmp_path: Path, golden: Path) -> None:
    output = tmp_path / "model.safetensors"
    output.write_text("precious")
    result = run("convert", golden, "-o", output)
    assert result.exit_code == 2
    assert f"{output} is already there; choose another name, or replace it with --force" in result.stderr
    assert output.read_text() == "precious"
    assert run("convert", golden, "-o", output, "--force").exit_code == 0
    assert load_checkpoint(output).config.num_layers == 2


def test_convert_reports_bad_data_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    result = run("convert", tmp_path / "nothing", "-o", tmp_path / "model.safetensors")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nothing: no such checkpoint" in result.stderr
    assert not list(tmp_path.iterdir())


def test_info_as_a_table(model_file: Path) -> None:
    result = run("info", model_file)
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = [tuple(line.split(maxsplit=1)) for line in result.stdout.splitlines()]
    assert rows[:7] == [
        ("kind", "consensus"),
        ("parameters", "1,055,261"),
        ("sha256", model_hash(model_file)),
        ("source", "a test"),
        ("calibration_table", "no"),
        ("note", "an assumption"),
        ("note", "another"),
    ]
    assert {("rezero", "yes"), ("filter_width", "1,024"), ("attention_window", "12")} <= set(rows)
    assert {("use_ccs_quality", "no"), ("calibration", "0,1.2,-0.5")} <= set(rows)
    assert len({line.index(line.split(maxsplit=1)[1]) for line in result.stdout.splitlines()}) == 1  # aligned


def test_info_as_json(model_file: Path) -> None:
    described = json.loads(run("info", model_file, "--json").stdout)
    assert described["kind"] == "consensus"
    assert described["sha256"] == model_hash(model_file)
    assert described["source"] == "a test"
    checkpoint = load_checkpoint(model_file)
    assert described["parameters"] == sum(tensor.numel() for tensor in checkpoint.state_dict.values())
    assert ConsensusConfig(**described["config"]) == checkpoint.config


def test_info_of_a_model_without_source_or_notes(tmp_path: Path, model_file: Path) -> None:
    checkpoint = load_checkpoint(model_file)
    save_checkpoint(tmp_path / "bare", checkpoint.state_dict, checkpoint.config)
    lines = run("info", tmp_path / "bare").stdout.splitlines()
    assert lines[3].split() == ["source", "none"]
    assert lines[4].split() == ["calibration_table", "no"]
    assert lines[5].split() == ["max_passes", "20"]


def test_info_of_a_damaged_model(model_file: Path) -> None:
    whole = bytearray(model_file.read_bytes())
    whole[-1] ^= 1
    model_file.write_bytes(whole)
    result = run("info", model_file)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "model.safetensors: is damaged" in result.stderr


def test_help_loads_neither_torch_nor_safetensors() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from genoformer.cli.model import app\n"
        "assert CliRunner().invoke(app, ['convert', '--help']).exit_code == 0\n"
        "sys.exit(str({'torch', 'safetensors', 'numpy'} & set(sys.modules) or 0))"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "0"


def test_export_writes_half_precision_and_says_how_large(tmp_path: Path, model_file: Path) -> None:
    output = tmp_path / "half.safetensors"
    result = run("export", model_file, "-o", output, "--note", "a third")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"wrote {output}: {output.stat().st_size:,} bytes\n"
    assert 0.5 < output.stat().st_size / model_file.stat().st_size < 0.51
    described = json.loads(run("info", output, "--json").stdout)
    assert described["notes"] == ["an assumption", "another", "a third"]
    assert described["calibration_table"] is False


def test_export_does_not_replace_a_file_unasked(model_file: Path) -> None:
    before = model_file.read_bytes()
    result = run("export", model_file, "-o", model_file)
    assert result.exit_code == 2
    assert "is already there" in result.stderr
    assert model_file.read_bytes() == before


@pytest.fixture
def state_dict(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_model.bin"
    torch.save(pytorch_state(small_model()), path)
    return path


def test_convert_an_enformer_there_and_back(tmp_path: Path, state_dict: Path) -> None:
    table = tmp_path / "targets.txt"
    table.write_text("\tidentifier\tfile\tdescription\n0\tx\t\tCAGE:a\n1\ty\t\tCAGE:b\n2\tz\t\tDNASE:c\n")
    output = tmp_path / "model.safetensors"
    sizes = ("--set", "window_bp=96", "--set", "target_bins=7")
    result = run("convert", state_dict, "-o", output, *sizes, "--targets", f"human={table}")
    assert result.exit_code == 0, result.output
    note, last = result.stderr.splitlines()
    assert note.startswith("note: gamma basis over positions, as the published weights were trained")
    num_parameters = sum(parameter.numel() for parameter in small_model().parameters())
    assert last == f"wrote {output}: {num_parameters:,} parameters from enformer-pytorch, 'pytorch_model.bin'"
    assert load_checkpoint(output).config == ENFORMER

    rows = dict(line.split(maxsplit=1) for line in run("info", output).stdout.splitlines() if "tracks of" not in line)
    assert rows["kind"] == "expression"
    assert rows["parameters"] == f"{num_parameters:,}"
    assert rows["heads"] == "human 3, mouse 2"
    assert rows["tower_widths"] == "12 24"
    tracks = [line for line in run("info", output).stdout.splitlines() if line.startswith("tracks of")]
    assert [line.split(maxsplit=3)[2:] for line in tracks] == [["human", "2 CAGE, 1 DNASE"], ["mouse", "2 unnamed"]]
    assert json.loads(run("info", output, "--json").stdout)["tracks"]["human"] == {"CAGE": 2, "DNASE": 1}

    result = run("convert", output, "--to", "enformer-pytorch", "-o", tmp_path / "back.bin")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"wrote {tmp_path / 'back.bin'} in the layout of enformer-pytorch\n"
    back, there = (torch.load(path, weights_only=True) for path in (tmp_path / "back.bin", state_dict))
    assert back.keys() == there.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in there.items())


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--targets", "human"], "--targets human: expected SPECIES=FILE, once for each species"),
        (["--targets", "human=a", "--targets", "human=b"], "--targets human=b: expected SPECIES=FILE, once for each"),
        (["--set", "target_bins"], "--set target_bins: expected KEY=VALUE"),
        (["--set", "targetbins=7"], "--set: unknown key 'targetbins'; did you mean 'target_bins'?"),
        (["--params", "p.json"], "--params is for DeepConsensus checkpoints"),
        (["--to", "enformer-pytorch", "--set", "a=1"], "are for checkpoints of other programs, not for --to"),
    ],
)
def test_convert_with_options_that_cannot_be(tmp_path: Path, state_dict: Path, args: list[str], text: str) -> None:
    result = run("convert", state_dict, "-o", tmp_path / "model.safetensors", *args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert not (tmp_path / "model.safetensors").exists()


def test_convert_a_model_that_is_ours_already(tmp_path: Path, model_file: Path) -> None:
    result = run("convert", model_file, "-o", tmp_path / "other.safetensors")
    assert result.exit_code == 1
    assert "model.safetensors: is a genoformer model file already; expected that of another program" in result.stderr


def test_a_folder_is_not_replaced(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "hf").mkdir()
    result = run("convert", model_file, "--to", "enformer-pytorch", "-o", tmp_path / "hf", "--force")
    assert result.exit_code == 2
    assert "hf is already there; choose another name, or remove it first" in result.stderr
