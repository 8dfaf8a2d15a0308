import pytest

from genoformer.errors import DataError
from genoformer.io.protobuf import fields, read_varint, signed


def read_all(message: bytes) -> list[tuple[int, int | bytes]]:
    found = fields(memoryview(message))
    return [(number, value if isinstance(value, int) else bytes(value)) for number, value in found]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("00", (0, 1)),
        ("7f", (127, 1)),
        ("9601", (150, 2)),  # the encoding guide's example
        ("8000", (0, 2)),  # longer than needed, but valid
        ("ffffffffffffffffff01", ((1 << 64) - 1, 10)),
    ],
)
def test_varints(data: str, expected: tuple[int, int]) -> None:
    assert read_varint(memoryview(bytes.fromhex(data)), 0) == expected


@pytest.mark.parametrize("data", ["", "80", "ffff", "ff" * 9])
def test_a_varint_that_is_cut_off(data: str) -> None:
    with pytest.raises(DataError, match=f"ends at byte {len(data) // 2}, inside a number that starts at byte 0"):
        read_varint(memoryview(bytes.fromhex(data)), 0)


@pytest.mark.parametrize("data", ["ff" * 11, "80" * 20, "ffffffffffffffffff02", "ff" * 9 + "7f"])
def test_a_varint_that_is_too_long(data: str) -> None:
    with pytest.raises(DataError, match="a number of more than 64 bits at byte 0"):
        read_varint(memoryview(bytes.fromhex(data)), 0)


def test_signed_numbers() -> None:
    assert [signed(n) for n in (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)] == [0, 1, (1 << 63) - 1, -(1 << 63), -1]


def test_fields_of_every_wire_type_in_file_order() -> None:
    message = bytes.fromhex("089601" + "120774657374696e67" + "1d01020304" + "210102030405060708" + "0801" + "1200")
    assert read_all(message) == [
        (1, 150),
        (2, b"testing"),
        (3, b"\1\2\3\4"),
        (4, b"\1\2\3\4\5\6\7\10"),
        (1, 1),
        (2, b""),
    ]
    assert read_all(b"") == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("1207746573", "has a field of 7 bytes at byte 0, but only 3 follow"),
        ("12ffffffffffffffffff01", "has a field of 18446744073709551615 bytes at byte 0, but only 0 follow"),
        ("1d0102", "has a field of 4 bytes at byte 0, but only 2 follow"),
        ("0b", "wire type 3"),  # a group
        ("0f", "wire type 7"),
        ("08", "inside a number"),
    ],
)
def test_broken_messages(message: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        read_all(bytes.fromhex(message))
