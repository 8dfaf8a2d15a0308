import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.errors import CheckpointError, DataError, UsageError
from genoformer.models.checkpoint import load_model, save_checkpoint
from genoformer.models.consensus import ConsensusTransformer
from genoformer.training import run as module
from genoformer.training.config import load_toml
from genoformer.training.consensus import ConsensusTrainConfig
from genoformer.training.consensus_run import TrainConsensusOptions, train_consensus
from tests.training.consensus_shards import TINY, write_shards

MODEL = ConsensusConfig(**TINY)
CONFIG = """
seed = 3
steps = 4
batch_size = 8
eval_every = 2
log_every = 1
best_metric = "identity"
best_is = "highest"
optimizer = { lr = 1e-2 }
model = { %s }
""" % ", ".join(f"{name} = {str(value).lower()}" for name, value in TINY.items())  # noqa: UP031


@pytest.fixture
def options(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    data = write_shards(tmp_path / "data", MODEL)
    return lambda out="run", **changes: TrainConsensusOptions(
        **{"config": tmp_path / "tiny.toml", "data": [data], "out_dir": tmp_path / out, "device": "cpu", **changes}
    )


def weights(path):
    return load_model(path).state_dict()


def equal(first, second):
    return all(torch.allclose(first[name], second[name], rtol=0, atol=1e-20) for name in first)


def model_file(path, seed=5, **changes):
    torch.manual_seed(seed)
    config = MODEL.model_copy(update=changes)
    save_checkpoint(path, ConsensusTransformer(config).state_dict(), config)
    return path


def test_a_run_writes_models_that_load_and_logs(options, tmp_path):
    outcome = train_consensus(options())
    assert (outcome.step, outcome.exit_code) == (4, 0)
    assert (tmp_path / "run" / "best.safetensors").exists()
    load_model(tmp_path / "run" / "final.safetensors")
    header, *rows = (tmp_path / "run" / "eval.csv").read_text().splitlines()
    assert "per_example_accuracy" in header.split(",")
    assert len(rows) == 2
    assert {"alignment_loss", "examples_per_s", "memory_gib"} <= set(
        (tmp_path / "run" / "train.csv").read_text().splitlines()[0].split(",")
    )


def test_the_seed_decides_the_weights(options, tmp_path):
    for out, sets in (("a", ()), ("b", ()), ("c", ("seed=4",))):
        train_consensus(options(out, sets=sets))
    final = {out: weights(tmp_path / out / "final.safetensors") for out in "abc"}
    assert equal(final["a"], final["b"])
    assert not equal(final["a"], final["c"])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_run_goes_on_to_the_same_weights(options, tmp_path, device, precision):
    sets = [f"precision={precision}"]
    train_consensus(options("whole", sets=sets, device=device))
    train_consensus(options("halves", sets=[*sets, "steps=2", "schedule.decay_steps=4"], device=device))
    train_consensus(options("halves", sets=sets, resume=True, device=device))
    assert equal(weights(tmp_path / "whole/final.safetensors"), weights(tmp_path / "halves/final.safetensors"))


def test_several_folders_are_learned_together(options, tmp_path, monkeypatch):
    other = write_shards(tmp_path / "more", MODEL, train=5, eval_=0)
    seen = []
    monkeypatch.setattr(module, "Loader", lambda source, **settings: seen.append(len(source)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_consensus(options(data=[tmp_path / "data", other]))
    assert seen == [29]


def test_it_starts_from_a_model_or_from_the_teacher_s_layers(options, tmp_path):
    init = model_file(tmp_path / "init.safetensors")
    still = ["steps=1", "optimizer.lr=1e-30"]
    train_consensus(options("a", init=init, sets=still))
    assert equal(weights(tmp_path / "a/final.safetensors"), weights(init))
    teacher = model_file(tmp_path / "teacher.safetensors", num_layers=3)
    train_consensus(options("b", teacher=teacher, sets=[*still, "distillation.layers=[2]"]))
    student, expected = weights(tmp_path / "b/final.safetensors"), weights(teacher)
    assert torch.equal(student["layers.0.feed_forward.hidden.weight"], expected["layers.2.feed_forward.hidden.weight"])
    assert "divergence" in (tmp_path / "b" / "train.csv").read_text().splitlines()[0]


def test_models_that_do_not_fit_are_named(options, tmp_path):
    with pytest.raises(UsageError, match=r"other.safetensors: the teacher has max_passes=4; the config's model has 3"):
        train_consensus(options(teacher=model_file(tmp_path / "other.safetensors", max_passes=4)))
    with pytest.raises(
        CheckpointError, match=r"wide.safetensors: its weights do not fit the config's model: .*mismatch"
    ):
        train_consensus(options(init=model_file(tmp_path / "wide.safetensors", condenser_width=32)))


def test_layers_of_a_teacher_that_are_no_student_are_named(options, tmp_path):
    teacher = model_file(tmp_path / "teacher.safetensors", num_layers=3)
    with pytest.raises(UsageError, match=r"layers names 2 of the teacher's layers and model.num_layers is 1; name one"):
        train_consensus(options(teacher=teacher, sets=["distillation.layers=[0,2]"]))
    wide = model_file(tmp_path / "wide.safetensors", condenser_width=32)
    with pytest.raises(CheckpointError, match=r"wide.safetensors: its weights do not fit the config's model: .*mism"):
        train_consensus(options(teacher=wide, sets=["distillation.layers=[0]"]))


def test_missing_data_are_named(options, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected what 'genoformer consensus examples'"):
        train_consensus(options(data=[tmp_path / "nowhere"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no shards train-\*.h5"):
        train_consensus(options(data=[tmp_path / "empty"]))
    with pytest.raises(DataError, match="windows of 3 passes and 20 columns; the model reads 4"):
        train_consensus(options(sets=["model.max_passes=4"]))


def test_without_windows_to_assess_nothing_is_assessed(options, tmp_path, caplog):
    data = write_shards(tmp_path / "train_only", MODEL, eval_=0)
    train_consensus(options("empty", data=[data], sets=["steps=1"]))
    (data / "eval-00001-of-00001.h5").unlink()
    train_consensus(options("none", data=[data], sets=["steps=1"]))
    for out in ("empty", "none"):
        assert "nothing is assessed" in caplog.text
        assert not (tmp_path / out / "best.safetensors").exists()
        assert (tmp_path / out / "final.safetensors").exists()


def test_the_toml_of_this_test_is_a_config(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    assert load_toml(ConsensusTrainConfig, tmp_path / "tiny.toml").model == MODEL
