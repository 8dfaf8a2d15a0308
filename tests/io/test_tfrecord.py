import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.io.tfrecord import parse_example, read_examples, read_records
from tests.tensor_bundle import field, fixed32, masked_crc, varint
from tests.tfrecord_builder import example, record


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def records(path: Path) -> list[bytes]:
    return [bytes(body) for body in read_records(path)]


BODIES = [b"first", b"", b"x" * 200_000, b"last"]
PLAIN = b"".join(record(body) for body in BODIES)


def test_a_record_written_out_by_hand(tmp_path: Path) -> None:
    # TensorFlow's TFRecordWriter().write(b"123456789"): CRCs masked, of the length and of the text
    length = "0900000000000000"
    data = bytes.fromhex(length) + masked_crc(bytes.fromhex(length)).to_bytes(4, "little") + b"123456789"
    crc = 0xE3069283
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert records(write(tmp_path / "a", data + struct.pack("<I", masked))) == [b"123456789"]


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, zlib.compress, lambda data: gzip.compress(data[:70]) + gzip.compress(data[70:])]
)
def test_plain_gzip_zlib_and_joined_gzip(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert records(write(tmp_path / "a.tfr", pack(PLAIN))) == BODIES


@pytest.mark.parametrize("length", [0x8B1F, 0x0178, 0x9C78])
def test_a_plain_file_that_starts_like_a_compressed_one(tmp_path: Path, length: int) -> None:
    """Lengths whose first bytes are gzip's 1f 8b or zlib's 78 01 and 78 9c."""
    body = b"g" * length
    assert records(write(tmp_path / "a", record(body))) == [body]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
def test_an_empty_file_has_no_records(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert records(write(tmp_path / "a", pack(b""))) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
def test_every_truncation_is_found(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    bodies = [b"first", b"second" * 10]
    whole = pack(b"".join(map(record, bodies)))
    borders = {0, len(record(bodies[0]))} if pack is bytes else {0}
    for length in range(len(whole)):
        path = write(tmp_path / "a", whole[:length])
        if length in borders:
            assert len(records(path)) < 2
        else:
            with pytest.raises(DataError, match=f"{path}"):
                records(path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    whole = bytearray(b"".join(map(record, [b"first", b"second"])))
    for bit in range(8 * len(whole)):
        whole[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            records(write(tmp_path / "a", bytes(whole)))
        whole[bit // 8] ^= 1 << bit % 8


def test_errors_name_file_record_and_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "a", record(b"one") + record(b"two")[:-1])
    with pytest.raises(DataError, match=rf"^{path} record 1 at byte 19 is cut off at the end of the file"):
        records(path)
    path.write_bytes(record(b"one") + record(b"two").replace(b"two", b"tow"))
    with pytest.raises(DataError, match=r"record 1 at byte 19 has checksum \w{8}, expected \w{8}: damaged or no"):
        records(path)
    path.write_bytes(b"##fileformat=VCFv4.2\n" * 5)
    with pytest.raises(DataError, match=r"record 0 at byte 0: its length has checksum .* no TFRecord file"):
        records(path)
    path.write_bytes(gzip.compress(PLAIN)[:-10])
    with pytest.raises(DataError, match=r"a: damaged compressed data \("):
        records(path)
    with pytest.raises(DataError, match="b: cannot be read: No such file or directory"):
        records(tmp_path / "b")


def test_a_huge_record_is_refused_before_it_is_read(tmp_path: Path) -> None:
    length = (1 << 60).to_bytes(8, "little")
    with pytest.raises(DataError, match="has 1152921504606846976 bytes; expected at most 67108864"):
        records(write(tmp_path / "a", length + masked_crc(length).to_bytes(4, "little") + b"x"))


def test_records_are_streamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a", record(b"one") + b"rubbish")
    stream = read_records(path)
    assert bytes(next(stream)) == b"one"
    with pytest.raises(DataError, match="record 1"):
        next(stream)


def packed_floats(*numbers: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(numbers)}f", *numbers)))


def test_features_of_every_kind() -> None:
    big = [0, 1, 127, 128, 300, -1, (1 << 63) - 1, -(1 << 63)]
    message = example(
        name=field(1, field(1, b"zmw") + field(1, b"")),
        packed=field(3, field(1, b"".join(map(varint, big)))),
        unpacked=field(3, b"".join(field(1, number) for number in big)),
        mixed=field(3, field(1, 5) + field(1, varint(6) + varint(7))),
        floats=packed_floats(1.5, -2.0),
        single_floats=field(2, fixed32(1, 0x3FC00000) + fixed32(1, 0xC0000000)),
        none=b"",
        no_numbers=field(3, b""),
        empty_pack=field(3, field(1, b"")),
    )
    parsed = parse_example(memoryview(message))
    assert parsed["name"] == [b"zmw", b""]
    for name in ("packed", "unpacked"):
        numbers = parsed[name]
        assert isinstance(numbers, np.ndarray)
        assert numbers.dtype == np.int64
        assert numbers.tolist() == big
    assert list(parsed["mixed"]) == [5, 6, 7]
    for name in ("floats", "single_floats"):
        numbers = parsed[name]
        assert isinstance(numbers, np.ndarray)
        assert numbers.dtype == np.float32
        assert numbers.tolist() == [1.5, -2.0]
    assert parsed["none"] == []
    assert len(parsed["no_numbers"]) == len(parsed["empty_pack"]) == 0


def test_the_last_of_equal_names_counts_and_no_features_are_no_error() -> None:
    twice = field(1, field(1, field(1, b"a") + field(2, packed_floats(1.0)))) + example(a=packed_floats(2.0))
    assert list(parse_example(memoryview(twice))["a"]) == [2.0]
    assert parse_example(memoryview(b"")) == {}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x0a\xff\x01", "has a field of 255 bytes at byte 0, but only 0 follow"),
        (b"\x0b", "wire type 3"),
        (example(x=field(3, field(1, b"\xff"))), "a list of integers of 1 bytes that is cut off"),
        (example(x=field(3, field(1, b"\xff" * 10 + b"\1"))), "integers of 11 bytes .* over 64 bits"),
        (example(x=field(2, field(1, b"abc"))), "a list of floats of 3 bytes"),
    ],
)
def test_broken_examples_name_their_record(tmp_path: Path, message: bytes, text: str) -> None:
    path = write(tmp_path / "a", record(example()) + record(message))
    with pytest.raises(DataError, match=f"^{path} record 1: .*{text}.*; expected a tf.train.Example"):
        list(read_examples(path))


def test_examples_of_deepconsensus(shared_data: Path) -> None:
    examples = list(read_examples(shared_data / "consensus/human_1m/tf_examples/eval/eval.tfrecord.gz"))
    assert len(examples) == 65
    for parsed in examples:
        shape = parsed["subreads/shape"]
        assert list(shape) == [85, 100, 1]
        (encoded,) = parsed["subreads/encoded"]
        rows = np.frombuffer(encoded, dtype="<f4").reshape(85, 100)
        assert set(np.unique(rows[:20])) <= {0.0, 1.0, 2.0, 3.0, 4.0}
        assert set(np.unique(rows[60:80])) <= {0.0, 1.0, 2.0}
        assert (rows[80] > 0).any()


def test_examples_of_basenji(shared_data: Path) -> None:
    examples = list(read_examples(shared_data / "expression/baskerville_tests/tiny/hg38/tfrecords/train-0.tfr"))
    assert len(examples) == 4
    for parsed in examples:
        (sequence,), (target,) = parsed["sequence"], parsed["target"]
        assert set(np.unique(np.frombuffer(sequence, dtype=np.uint8))) <= {0, 1, 2, 3, 4}
        values = np.frombuffer(target, dtype="<f2")
        assert len(sequence) == 131_072
        assert np.isfinite(values).all()
        assert values.max() > 0
