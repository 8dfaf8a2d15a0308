import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from genoformer import __version__, assets
from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, UsageError
from genoformer.models.checkpoint import load_model, model_hash, save_checkpoint
from genoformer.workflows.correct_options import DEFAULT_MODEL, CorrectOptions
from genoformer.workflows.predictor import load_predictor
from tests.correct_inputs import TINY, save_tiny_model


@pytest.fixture(autouse=True)
def _same_number_of_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(tmp_path):
    return save_tiny_model(tmp_path)


def load(model, **options):
    return load_predictor(CorrectOptions("s.bam", "c.bam", "o.fastq", model=model, **options))


def predict(model, rows, **options):
    """Codes and error probabilities by the model on the CPU."""
    return load(model, threads=1, device="cpu", **options).model.load("cpu")(rows)


def random_rows(num_windows, config=TINY):
    rng = np.random.default_rng(0)
    passes, rows = config.max_passes, np.zeros((num_windows, config.num_rows, config.window_length), np.int16)
    rows[:, :passes] = rng.integers(0, 5, rows[:, :passes].shape)
    rows[:, passes : 3 * passes] = rng.integers(0, 256, rows[:, passes : 3 * passes].shape)
    rows[:, 3 * passes : 4 * passes] = rng.integers(0, 3, (num_windows, passes, 1))
    rows[:, 4 * passes] = rng.integers(0, 5, rows[:, 0].shape)
    rows[:, -4:] = rng.integers(0, 600, (num_windows, 4, 1))
    return rows


def test_a_vote_needs_no_model():
    predictor = load("vote", threads=3)
    assert (predictor.model, predictor.name, predictor.digest) == (None, "vote", f"vote-{__version__}")
    assert predictor.open_devices() is None
    assert (predictor.num_workers, predictor.batch_size, predictor.config.max_passes) == (2, 1, 255)


@pytest.mark.parametrize(("threads", "num_workers"), [(1, 0), (2, 1), (8, 1)])
def test_threads_are_for_the_model_and_one_pileup_process(model, threads, num_workers):
    predictor = load(model, threads=threads, device="cpu")
    predictor.model.load("cpu")
    assert (predictor.num_workers, torch.get_num_threads()) == (num_workers, threads)


@pytest.mark.parametrize(("threads", "of_each"), [(1, 1), (2, 1), (9, 4)])
def test_devices_share_the_threads(model, threads, of_each):
    predictor = load(model, threads=threads, device="cpu,cpu")
    assert (predictor.devices, predictor.model.threads) == (("cpu", "cpu"), of_each)


def test_a_model_file_that_changes_before_a_device_has_it(model, tmp_path):
    predictor = load(model, device="cpu")
    Path(save_tiny_model(tmp_path, seed=2)).replace(model)
    with pytest.raises(
        CheckpointError, match=r"tiny_1.safetensors: was sha256:\w{12} when the run began and is sha256"
    ):
        predictor.model.load("cpu")


@pytest.mark.parametrize(("asked", "batch_size"), [(None, 64), (7, 7)])
def test_batch_size_on_a_cpu(model, asked, batch_size):
    predictor = load(model, batch_size=asked, device="cpu")
    assert (predictor.batch_size, predictor.devices) == (batch_size, ("cpu",))


def test_the_digest_is_that_of_the_file(model):
    expected = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert load(model).digest == f"sha256:{expected}"
    assert load(model).name == "tiny_1.safetensors"


@pytest.mark.parametrize("num_windows", [1, 5, 64])
def test_calls_are_the_likeliest_symbols_of_the_model(model, num_windows):
    rows = random_rows(num_windows)
    codes, error_prob = predict(model, rows)
    with torch.no_grad():
        best, likeliest = load_model(model)(torch.from_numpy(rows)).softmax(-1).max(-1)
    np.testing.assert_array_equal(codes, likeliest.numpy())
    np.testing.assert_allclose(error_prob, 1 - best.numpy(), atol=2e-6)
    assert (codes.dtype, error_prob.dtype) == (np.uint8, np.float32)
    assert len(np.unique(codes)) > 1  # a model that always says the same would prove nothing


def test_another_model_calls_other_bases(model, tmp_path):
    rows = random_rows(5)
    other = save_tiny_model(tmp_path, seed=2)
    assert (predict(model, rows)[0] != predict(other, rows)[0]).mean() > 0.2


def test_bf16_is_close_but_not_the_same(model):
    rows = random_rows(64)
    full, half = predict(model, rows), predict(model, rows, precision="bf16")
    assert np.abs(full[1] - half[1]).max() > 0
    assert (full[0] == half[0]).mean() > 0.95


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.safetensors: cannot be read: "):
        load(str(tmp_path / "none.safetensors"))


def test_a_config_that_no_model_can_have_names_the_file(tmp_path):
    good = ConsensusConfig(max_passes=1, window_length=4, condenser_width=6, num_layers=1, filter_width=2)
    state = load_model(save_tiny_model(tmp_path, good)).state_dict()
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, state, good.model_copy(update={"num_heads": 4}))
    with pytest.raises(CheckpointError, match=r"odd.safetensors: the layers are 6 wide; expected an even multiple"):
        load(str(path), device="cpu").open_devices()


def test_a_model_that_ships_goes_by_its_name():
    predictor = load(DEFAULT_MODEL, threads=1)
    shipped = assets.path("checkpoints", "consensus-tiny.safetensors")
    assert (predictor.name, predictor.digest) == (shipped.name, f"sha256:{model_hash(shipped)}")
    assert predictor.calibration_tables["format"] == "genoformer calibration"
    assert load_predictor(CorrectOptions("s.bam", "c.bam", "o.bam")).digest == predictor.digest


def test_a_file_of_that_name_goes_before(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    Path(model).rename(tmp_path / DEFAULT_MODEL)
    assert load(DEFAULT_MODEL).config == TINY


def test_a_name_that_is_neither_file_nor_shipped():
    with pytest.raises(UsageError, match=r"the model is 'consensus-huge'; expected a \.safetensors file, 'vote'"):
        load("consensus-huge")
