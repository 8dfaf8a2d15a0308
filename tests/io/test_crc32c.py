import numpy as np
import pytest

from genoformer.io.crc32c import crc32c, masked_crc32c
from tests.tensor_bundle import masked_crc

BLOCK = 1 << 17  # bytes that the code under test folds at once


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_published_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 12, 13, 63, 64, 1001, BLOCK, BLOCK + 1, 300_003])
def test_equals_the_byte_by_byte_definition_across_block_borders(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()
    assert masked_crc32c(data) == masked_crc(data)


def test_unaligned_and_read_only_views_are_taken_as_they_are() -> None:
    data = bytes(range(256)) * 4
    assert masked_crc32c(memoryview(data)[3:1001]) == masked_crc(data[3:1001])


def test_leading_and_trailing_zeros_count() -> None:
    assert len({crc32c(b"\0" * n) for n in range(20)}) == 20
    assert crc32c(b"\0a") != crc32c(b"a")
    assert crc32c(b"a\0") != crc32c(b"a")


def test_every_flipped_bit_shows() -> None:
    data = bytearray(b"the quick brown fox jumps over the lazy dog")
    whole = crc32c(bytes(data))
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        assert crc32c(bytes(data)) != whole
        data[bit // 8] ^= 1 << bit % 8


def test_masking_is_what_tensorflow_stores() -> None:
    assert masked_crc32c(b"") == 0xA282EAD8
    # `save_counter` = 1 in every checkpoint of DeepConsensus that was saved once.
    assert masked_crc32c((1).to_bytes(8, "little")) == 0x41DE7501
