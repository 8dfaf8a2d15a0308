import pytest

from genoformer.errors import DataError
from genoformer.io import leveldb
from genoformer.io.leveldb import read_table
from tests.tensor_bundle import MAGIC, block, ending, masked_crc, stored, table, varint


def read_all(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, bytes(value)) for key, value in read_table(memoryview(data))]


def one_block_table(content: bytes, compression: int = 0, packed: bytes | None = None) -> bytes:
    """A table whose only data block is `content`, or the bytes `packed` under a compression type."""
    body = (packed if packed is not None else content) + bytes([compression])
    data = body + masked_crc(body).to_bytes(4, "little")
    return data + ending(len(data), block([(b"zz", varint(0) + varint(len(data) - 5))]))


# "apple" -> "1", "apply" -> "22": 4 shared letters; one restart at 0.
HAND_MADE = bytes.fromhex("00050161" + "70706c65" + "31" + "04010279" + "3232" + "00000000" + "01000000")


def test_a_block_written_out_by_hand() -> None:
    assert read_all(one_block_table(HAND_MADE)) == [(b"apple", b"1"), (b"apply", b"22")]


@pytest.mark.parametrize("compression", [0, 1])
@pytest.mark.parametrize("per_block", [1, 3, 100])
def test_tables_of_several_blocks(per_block: int, compression: int) -> None:
    pairs = sorted((f"layer/{i}/kernel".encode(), bytes([i]) * i) for i in range(40))
    assert read_all(table([(b"", b"head"), *pairs], per_block, compression)) == [(b"", b"head"), *pairs]


def test_an_empty_table() -> None:
    assert read_all(table([])) == []


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        ("0b" + "10" + "68656c6c6f" + "01" + "05" + "00" + "78", None),  # a copy of 4 from 5 back, then 'x' is 1 short
        ("0a" + "10" + "68656c6c6f" + "05" + "05" + "", b"hellohello"),  # copy of 5 from 5 back, one-byte distance
        ("0a" + "10" + "68656c6c6f" + "12" + "0500", b"hellohello"),  # the same, two-byte distance
        ("0a" + "10" + "68656c6c6f" + "13" + "05000000", b"hellohello"),  # the same, four-byte distance
        ("08" + "00" + "61" + "1a" + "0100", b"aaaaaaaa"),  # a run: distance below length
        ("08" + "04" + "6162" + "16" + "0200", b"abababab"),
        ("05" + "f0" + "04" + "68656c6c6f", b"hello"),  # length in one extra byte
        ("05" + "f4" + "0400" + "68656c6c6f", b"hello"),
        ("05" + "fc" + "04000000" + "68656c6c6f", b"hello"),
    ],
)
def test_snappy_by_hand(packed: str, expected: bytes | None) -> None:
    unpack = leveldb._unpack_snappy
    if expected is None:
        with pytest.raises(DataError, match="has a snappy block of 10 bytes that claims 11"):
            unpack(memoryview(bytes.fromhex(packed)), leveldb._Budget())
    else:
        assert unpack(memoryview(bytes.fromhex(packed)), leveldb._Budget()) == expected


def test_snappy_copy_with_a_long_one_byte_distance() -> None:
    text = bytes(i % 251 for i in range(600))
    packed = varint(604) + b"\xf4" + (599).to_bytes(2, "little") + text + bytes([1 | 2 << 5, 0x00])  # 512 back
    assert leveldb._unpack_snappy(memoryview(packed), leveldb._Budget()) == text + text[88:92]


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        ("", "inside a number"),
        ("05", "of 0 bytes that claims 5"),
        ("05" + "10" + "6865", "that claims 5"),  # a literal past the end
        ("05" + "05" + "01", "copy from 1 bytes back after 0 bytes"),
        ("08" + "00" + "61" + "1a" + "0000", "copy from 0 bytes back after 1 bytes"),
        ("08" + "00" + "61" + "1a" + "00", "ends inside the element"),
        ("ffffffff7f", "34359738367 bytes"),
        ("01" + "04" + "6162", "of 2 bytes that claims 1"),
    ],
)
def test_broken_snappy(packed: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        read_all(one_block_table(b"", 1, bytes.fromhex(packed)))


def entries_block(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal) + bytes(4) + (1).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (entries_block("010100" + "61"), "1 shared, 1 new and 0 value bytes after a key of 0 bytes"),
        (entries_block("000500" + "61"), "0 shared, 5 new and 0 value"),
        (entries_block("000105" + "61"), "1 new and 5 value bytes"),
        (entries_block("00ffffffffffffffffff0100" + "61"), "18446744073709551615 new"),
        (entries_block("0001"), "inside a number"),
        (entries_block("000100" + "62" + "000100" + "61"), "key b'a' after b'b'; expected increasing keys"),
        (entries_block("000100" + "61" + "010000"), "key b'a' after b'a'"),
        (b"", "a block of 0 bytes with 0 restart points"),
        (b"\1\0", "a block of 2 bytes with 1 restart"),
        (bytes(4) + b"\xff\xff\xff\xff", "with 4294967295 restart points"),
    ],
)
def test_broken_blocks(content: bytes, text: str) -> None:
    with pytest.raises(DataError, match=text):
        read_all(one_block_table(content))


def test_an_unknown_compression() -> None:
    with pytest.raises(DataError, match="compression type 2 in the block at byte 0; expected 0 or 1"):
        read_all(one_block_table(HAND_MADE, 2))


def test_block_handles_outside_the_file() -> None:
    data = stored(HAND_MADE)
    for offset, size in ((0, 10**6), (10**18, 1), ((1 << 64) - 1, (1 << 64) - 1)):
        handle = varint(offset) + varint(size)
        with pytest.raises(DataError, match=rf"has a block at bytes {offset} to \d+, but its blocks end at"):
            read_all(data + ending(len(data), block([(b"zz", handle)])))
    with pytest.raises(DataError, match="has a block at bytes"):
        read_all((varint(0) + varint(0) + varint(1 << 63) + varint(9)).ljust(40, b"\0") + MAGIC)


def test_a_block_that_the_index_names_twice() -> None:
    data = stored(HAND_MADE)
    handle = varint(0) + varint(len(data) - 5)
    with pytest.raises(DataError, match="key b'apple' after b'apply'"):
        read_all(data + ending(len(data), block([(b"x", handle), (b"y", handle)])))


@pytest.mark.parametrize("data", [b"", b"short", bytes(100), MAGIC, bytes(39) + MAGIC])
def test_files_that_are_no_table(data: bytes) -> None:
    with pytest.raises(DataError, match="not with the magic number 57fb808b247547db of a LevelDB table"):
        read_all(data)


def test_prefixes_that_unpack_to_gigabytes_are_refused() -> None:
    long_key = bytes([0, *varint(60_000), 0]) + b"a" * 60_000
    repeated = b"".join(varint(60_000 + i) + varint(1) + varint(0) + b"b" for i in range(2_000))
    with pytest.raises(DataError, match="unpacks to more than 67108864 bytes"):
        read_all(one_block_table(long_key + repeated + bytes(4) + (1).to_bytes(4, "little")))


def test_every_flipped_bit_is_found_or_harmless() -> None:
    whole = table([(b"", b"h"), (b"apple", b"1"), (b"apply", b"22")])
    expected, damaged = read_all(whole), bytearray(whole)
    meta_start = whole.index(stored(block([])))
    for bit in range(8 * len(whole)):
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            harmless = read_all(bytes(damaged)) == expected
        except DataError:
            harmless = False
        unused = meta_start <= bit // 8 < meta_start + len(stored(block([]))) or bit // 8 >= len(whole) - 48
        assert unused or not harmless
        damaged[bit // 8] ^= 1 << bit % 8


def test_every_truncation_is_found() -> None:
    whole = table([(b"", b"h"), (b"apple", b"1"), (b"apply", b"22")])
    for length in range(len(whole)):
        with pytest.raises(DataError):
            read_all(whole[:length])
