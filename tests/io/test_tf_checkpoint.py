import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genoformer.errors import CheckpointError
from genoformer.io.tf_checkpoint import TensorBundle, find_prefix
from tests.tensor_bundle import VALUE, entry, field, fixed32, header, masked_crc, table, varint, write_bundle

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
TENSORS: dict[str, np.ndarray] = {
    "model/kernel" + VALUE: np.arange(12, dtype=np.float32).reshape(3, 4),
    "model/bias" + VALUE: np.array([1.5, -2.25], dtype=np.float16),
    "model/wide" + VALUE: np.array([[1e300], [-0.0]]),
    "model/step" + VALUE: np.array(-(1 << 62)),
    "model/ids" + VALUE: np.array([3, -4], dtype=np.int32),
    "model/mask" + VALUE: np.array([True, False, True]),
    "model/empty" + VALUE: np.zeros((0, 7), dtype=np.float32),
}


@pytest.fixture(scope="session")
def golden(shared_data: Path) -> Path:
    return shared_data / "consensus" / "golden"


def read_all(path: Path) -> dict[str, np.ndarray]:
    with TensorBundle(path) as bundle:
        return {key: bundle.read(key) for key in bundle.keys()}  # noqa: SIM118


def refusal(call: Callable[..., Any], *args: Any) -> str | None:
    """The text of the CheckpointError that a call ends in, or None."""
    try:
        call(*args)
    except CheckpointError as error:
        return str(error)
    return None


def write_index(path: Path, pairs: list[tuple[str, bytes]], data: bytes = b"", head: bytes | None = None) -> Path:
    """A bundle of one shard with the entries given, however wrong they are."""
    raw = [(b"", header() if head is None else head), *((key.encode(), value) for key, value in pairs)]
    Path(f"{path}.index").write_bytes(table(raw))
    Path(f"{path}.data-00000-of-00001").write_bytes(data)
    return path


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        assert found[key].tobytes() == array.tobytes()


@pytest.mark.parametrize("compression", [0, 1])
@pytest.mark.parametrize("num_shards", [1, 3])
def test_round_trip_of_every_dtype(tmp_path: Path, num_shards: int, compression: int) -> None:
    write_bundle(tmp_path / "model", TENSORS, num_shards=num_shards, compression=compression)
    assert_equal(read_all(tmp_path / "model"), TENSORS)
    with TensorBundle(tmp_path / "model") as bundle:
        assert bundle.keys() == sorted(TENSORS)
        assert bundle.shape("model/kernel" + VALUE) == (3, 4)
        assert bundle.shape("model/step" + VALUE) == ()


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    numbers = np.array([[1.0, -2.5], [np.float32(2.0**-133), np.inf]], dtype=np.float32)  # all exact in bfloat16
    write_bundle(tmp_path / "model", {"a": numbers}, bfloat16=True)
    assert (tmp_path / "model.data-00000-of-00001").read_bytes().hex() == "803f20c00100807f"
    assert_equal(read_all(tmp_path / "model"), {"a": numbers})


def test_arrays_are_the_callers_own(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", TENSORS)
    with TensorBundle(tmp_path / "model") as bundle:
        bundle.read("model/kernel" + VALUE)[:] = 7
        assert bundle.read("model/kernel" + VALUE)[0, 1] == 1


def test_a_closed_bundle_reads_again(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", TENSORS)
    bundle = TensorBundle(tmp_path / "model")
    bundle.read("model/ids" + VALUE)
    bundle.close()
    assert bundle.read("model/ids" + VALUE).tolist() == [3, -4]
    bundle.close()


def test_unknown_key(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", TENSORS)
    with TensorBundle(tmp_path) as bundle:
        for ask in (bundle.read, bundle.shape):
            with pytest.raises(CheckpointError, match=r"model\.index: no tensor 'model/kernels' among the 7 there"):
                ask("model/kernels")


@pytest.mark.parametrize("name", ["ckpt_rezero_6L", "ckpt_preln_2L_full"])
def test_checkpoints_of_tensorflow(golden: Path, name: str) -> None:
    with TensorBundle(golden / name) as bundle:
        keys = bundle.keys()
        assert GRAPH in keys
        arrays = {key: bundle.read(key) for key in keys if key != GRAPH}
        with pytest.raises(CheckpointError, match="_GRAPH' has dtype number 7; expected one of"):
            bundle.read(GRAPH)
    params = json.loads((golden / name / "params.json").read_text())
    assert arrays["model/fc1/kernel" + VALUE].shape == (280, 5)
    assert arrays["save_counter" + VALUE] == np.int64(1)
    assert sum("query_dense_layer" in key for key in arrays) == params["num_hidden_layers"]
    kernel = arrays["model/encoder_stack/layers/0/0/layer/query_dense_layer/kernel" + VALUE]
    assert kernel.shape == (280, 2, 140)
    assert (kernel == kernel.astype(np.float16)).all()  # golden/README.md: the weights are exact in float16
    assert 0.01 < kernel.std() < 0.1


def test_damage_in_a_checkpoint_of_tensorflow(golden: Path, tmp_path: Path) -> None:
    for file in (golden / "ckpt_preln_2L_full").glob("checkpoint*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with TensorBundle(tmp_path) as bundle:
        keys = [key for key in bundle.keys() if key != GRAPH]  # noqa: SIM118
    shard = tmp_path / "checkpoint-1.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[5_000_000] ^= 1
    shard.write_bytes(data)
    with TensorBundle(tmp_path) as bundle:
        errors = [error for key in keys if (error := refusal(bundle.read, key))]
    assert len(errors) == 1
    assert errors[0].startswith(f"{shard}: tensor 'model/encoder_stack/")
    assert "is damaged: " in errors[0]


def test_what_names_a_checkpoint(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model-1", TENSORS)
    for path in (tmp_path, tmp_path / "model-1", tmp_path / "model-1.index"):
        assert find_prefix(path) == tmp_path / "model-1"
    write_bundle(tmp_path / "model-2", TENSORS)
    with pytest.raises(CheckpointError, match="holds 2 checkpoints; give the prefix of one of: model-1, model-2"):
        find_prefix(tmp_path)
    state = tmp_path / "checkpoint"
    state.write_text('model_checkpoint_path: "model-2"\nall_model_checkpoint_paths: "model-1"\n')
    assert find_prefix(tmp_path) == find_prefix(state) == tmp_path / "model-2"
    state.write_text('model_checkpoint_path: "/where/it/was/trained/model-1"\n')
    assert find_prefix(tmp_path) == tmp_path / "model-1"
    state.write_text('model_checkpoint_path: "model-3"\n')
    with pytest.raises(CheckpointError, match="names 'model-3', which is not there; give the prefix of one"):
        find_prefix(tmp_path)
    assert find_prefix(tmp_path / "model-2") == tmp_path / "model-2"


def test_a_prefix_called_checkpoint(tmp_path: Path) -> None:
    """The released models of DeepConsensus: checkpoint.index, and no file 'checkpoint'."""
    write_bundle(tmp_path / "checkpoint", TENSORS)
    assert find_prefix(tmp_path / "checkpoint") == find_prefix(tmp_path) == tmp_path / "checkpoint"


def test_where_no_checkpoint_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no \.index file"):
        TensorBundle(tmp_path)
    with pytest.raises(CheckpointError, match=r"nothing: no such checkpoint; expected a directory, or a prefix with"):
        TensorBundle(tmp_path / "nothing")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(CheckpointError, match="holds a SavedModel; expected a checkpoint"):
        TensorBundle(tmp_path)


def test_shards_that_are_missing_or_short(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", TENSORS, num_shards=2)
    shard = tmp_path / "model.data-00001-of-00002"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match=rf"of-00002: has {len(data) - 1} bytes, but tensor '.*' ends at byte"):
        TensorBundle(tmp_path)
    shard.unlink()
    with pytest.raises(CheckpointError, match="data-00001-of-00002: cannot be read: No such file or directory"):
        TensorBundle(tmp_path)


def test_a_shard_that_is_cut_while_open(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", {"a": np.ones(100, dtype=np.float32)})
    with TensorBundle(tmp_path) as bundle:
        (tmp_path / "model.data-00000-of-00001").write_bytes(b"\0" * 10)
        with pytest.raises(CheckpointError, match="tensor 'a' at byte 0 is damaged: 10 of 400 bytes"):
            bundle.read("a")


FOUR = b"\0\0\x80\x3f"  # one float32


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (entry(1, [1], size=8), "has 4 bytes, but tensor 'a' ends at byte 8"),
        (entry(1, [1], offset=1 << 62, size=4), "ends at byte 4611686018427387908"),
        (entry(1, [1], offset=-1, size=4), "claims a tensor of 4 bytes at byte -1"),
        (entry(1, [1], size=-4), "claims a tensor of -4 bytes at byte 0"),
        (entry(1, [-1], size=4), r"claims a tensor of shape \(-1,\)"),
        (entry(1, [1 << 40, 1 << 40], size=4), r"claims a tensor of shape \(1099511627776, 1099511627776\)"),
        (entry(1, [0, 1 << 62], size=0), r"claims a tensor of shape \(0, 4611686018427387904\)"),
        (entry(1, [1] * 33, size=4), "more than 32 or an unknown number of dimensions"),
        (field(1, 1) + field(2, field(3, 1)) + field(5, 4), "an unknown number of dimensions"),
        (entry(1, [1], shard=1, size=4), "lies in shard 1 of 1"),
        (entry(1, [1], shard=-1, size=4), "lies in shard -1 of 1"),
        (b"\x0a\xff", "inside a number"),
        (varint(2 << 3 | 2) + varint(1 << 40), "has a field of 1099511627776 bytes"),
    ],
)
def test_hostile_entries_are_refused_on_opening(tmp_path: Path, value: bytes, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as caught:
        TensorBundle(write_index(tmp_path / "model", [("a", value)], FOUR))
    assert str(tmp_path / "model.") in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (entry(1, [2], size=4), r"tensor 'a' has 4 bytes, but shape \(2,\) of 4-byte numbers needs 8"),
        (entry(1, [1 << 30], size=4), "needs 4294967296; copy the checkpoint again"),
        (entry(1, [1, 0], size=4), "needs 0"),
        (entry(99, [1], size=4), "has dtype number 99"),
        (entry(0, [1], size=4), "has dtype number 0"),
        (entry(1, [1], size=4, extra=field(7, b"")), "is stored in slices; save the variable unpartitioned"),
        (entry(1, [1], size=4, crc=1), r"is damaged: 4 of 4 bytes with checksum \w{8}, expected 00000001"),
    ],
)
def test_hostile_entries_are_refused_on_reading(tmp_path: Path, value: bytes, text: str) -> None:
    good = entry(1, [1], size=4, crc=masked_crc(FOUR))
    with TensorBundle(write_index(tmp_path / "model", [("a", value), ("b", good)], FOUR)) as bundle:
        assert bundle.keys() == ["a", "b"]
        assert bundle.read("b").tolist() == [1.0]
        with pytest.raises(CheckpointError, match=text):
            bundle.read("a")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (header(big_endian=True), "written on a big-endian machine"),
        (header(min_consumer=2), "needs a reader of version 2; this one knows version 1"),
        (header(0), "claims 0 shards; expected 1 to 100000"),
        (header(-1), "claims -1 shards"),
        (header((1 << 31) - 1), "claims 2147483647 shards"),
        (fixed32(1, 1), "claims 0 shards"),  # the right field with the wrong wire type
    ],
)
def test_headers_that_are_refused(tmp_path: Path, head: bytes, text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        TensorBundle(write_index(tmp_path / "model", [], head=head))


def test_an_index_without_header(tmp_path: Path) -> None:
    Path(tmp_path / "model.index").write_bytes(table([(b"a", entry(1, [1], size=4))]))
    with pytest.raises(CheckpointError, match="has no header entry"):
        TensorBundle(tmp_path)


def test_keys_that_are_no_text_are_listed(tmp_path: Path) -> None:
    pairs = [(b"", header()), (b"\x00\x01slice\xff", entry(1, [1], size=4)), (b"z", entry(1, [1], size=4))]
    (tmp_path / "model.index").write_bytes(table(pairs))
    (tmp_path / "model.data-00000-of-00001").write_bytes(FOUR)
    assert TensorBundle(tmp_path).keys() == ["\x00\x01slice\\xff", "z"]
    (tmp_path / "model.index").write_bytes(table([(b"", header()), (b"\\xff", b""), (b"\xff", b"")]))
    with pytest.raises(CheckpointError, match=r"two keys that read '\\xff'"):
        TensorBundle(tmp_path)


def test_an_index_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "model.index").open("wb") as file:
        file.truncate(1 << 27)
    with pytest.raises(CheckpointError, match="has 134217728 bytes; an index has at most 67108864"):
        TensorBundle(tmp_path)


def damaged_copies(whole: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Truncations and flipped bits, a fixed sample."""
    yield from (whole[:length] for length in rng.integers(0, len(whole), 60))
    for bit in rng.integers(0, 8 * len(whole), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def test_a_damaged_index_never_gives_other_numbers(golden: Path, tmp_path: Path) -> None:
    whole = (golden / "ckpt_preln_2L_full" / "checkpoint-1.index").read_bytes()
    data = golden / "ckpt_preln_2L_full" / "checkpoint-1.data-00000-of-00001"
    (tmp_path / "model.data-00000-of-00001").symlink_to(data)
    num_refused = 0
    for damaged in damaged_copies(whole, np.random.default_rng(0)):
        (tmp_path / "model.index").write_bytes(damaged)
        error = refusal(TensorBundle, tmp_path)
        if error is None:
            bundle = TensorBundle(tmp_path)
            assert bundle.shape("model/fc1/kernel" + VALUE) == (280, 5)
            assert len(bundle.keys()) == 36
        else:
            assert error.startswith(str(tmp_path / "model.index"))
            num_refused += 1
    assert num_refused > 250  # the rest hit the unused metaindex block or the footer's padding


def test_mutated_entries_with_right_checksums_end_in_our_error_or_in_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_bundle(tmp_path / "model", TENSORS)
    data = (tmp_path / "model.data-00000-of-00001").read_bytes()
    good = [entry(1, [3, 4], offset=0, size=48, crc=masked_crc(data[:48])), header(1)]
    num_refused = 0
    for step in range(600):
        value = bytearray(good[step % 2])
        for _ in range(rng.integers(1, 4)):
            value[rng.integers(len(value))] = rng.integers(256)
        pairs, head = ([], bytes(value)) if step % 2 else ([("a", bytes(value))], None)
        write_index(tmp_path / "model", pairs, data, head)
        num_refused += refusal(read_all, tmp_path / "model") is not None
    assert num_refused > 200
