import random
import struct
from itertools import pairwise

import pysam
import pytest

from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader
from genoformer.io.shards import shard_range
from genoformer.io.subreads import iterate_zmws
from tests.bam_builder import RawRecord, bgzf, raw_header, subread, write_bam
from tests.correct_inputs import recut_blocks, simulate_molecules, write_inputs


def zmws_of_shards(path, count):
    """What each shard reads: its ZMWs as (movie/hole, number of subreads)."""
    shards = []
    for index in range(1, count + 1):
        with BamReader(path) as reader:
            groups = iterate_zmws(reader, *shard_range(reader, (index, count)))
            shards.append([(group.key.decode(), len(group.records) + group.num_unusable) for group in groups])
    return shards


def zmws_by_pysam(path):
    counts = {}
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        for record in file.fetch(until_eof=True):
            key = "/".join(record.query_name.split("/")[:2])
            counts[key] = counts.get(key, 0) + 1
    return list(counts.items())


def flat(shards):
    return [zmw for shard in shards for zmw in shard]


@pytest.mark.parametrize("block_bytes", [60, 500, 4096, 0xFF00])
def test_shards_put_together_are_the_file(tmp_path, block_bytes):
    path = write_inputs(tmp_path, simulate_molecules(9), block_bytes=block_bytes).subreads
    expected = zmws_by_pysam(path)
    assert len(expected) == 9
    for count in [1, 2, 3, 7, 20]:
        assert flat(zmws_of_shards(path, count)) == expected


def test_shards_of_many_blocks_are_of_like_size(tmp_path):
    path = write_inputs(tmp_path, simulate_molecules(40, lengths=[200], passes=[3]), block_bytes=1000).subreads
    assert all(8 <= len(shard) <= 12 for shard in zmws_of_shards(path, 4))


def test_ranges_follow_each_other(tmp_path):
    path = write_inputs(tmp_path, simulate_molecules(9), block_bytes=500).subreads
    with BamReader(path) as reader:
        ranges = [shard_range(reader, (index, 30)) for index in range(1, 31)]
        assert (ranges[0][0], ranges[-1][1]) == (reader.first_record, None)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    starts = [start for start, _ in ranges]
    assert starts == sorted(starts)


def test_real_subreads(shared_data):
    path = shared_data / "consensus" / "human_1m" / "subreads_to_ccs.bam"
    expected = zmws_by_pysam(path)
    assert (len(expected), sum(num_subreads for _, num_subreads in expected)) == (10, 93)
    for count in [2, 5, 13, 50]:
        assert flat(zmws_of_shards(path, count)) == expected


OTHER_SUBREADS = [
    "actc/tiny.clr.bam",
    "human_v01/human.subreads.bam",
    "pbbam/m150404_101626_42267_c100807920800000001823174110291514_s1_p0.1.subreads.bam",  # RS II, with long strings
]


@pytest.mark.parametrize("name", OTHER_SUBREADS)
def test_other_real_subreads(shared_data, name):
    path = shared_data / "consensus" / name
    for count in [3, 8]:
        assert flat(zmws_of_shards(path, count)) == zmws_by_pysam(path)


def test_records_larger_than_a_block(tmp_path):
    rng, length = random.Random(3), 40_000
    reads = [
        subread(zmw, "".join(rng.choices("ACGT", k=length)), f"{length}=", **tags)
        for zmw in (1, 2, 3)
        for tags in ({"dq": "".join(rng.choices("ACGT/1", k=length))}, {})  # as printable as a name
    ]
    path = write_bam(tmp_path / "a.bam", reads)
    for block_bytes in [0xFF00, 5000]:
        recut_blocks(path, block_bytes)
        for count in [2, 9]:
            assert flat(zmws_of_shards(path, count)) == [(f"m64011_190228_190319/{zmw}", 2) for zmw in (1, 2, 3)]


def byte_tag(name, content):
    return name + b"BC" + struct.pack("<I", len(content)) + content


FAKE = RawRecord(name=b"m/99/0_4\0").pack()
FAKES = {
    "qualities": {"length": len(FAKE), "bases": b"\x11" * ((len(FAKE) + 1) // 2), "quals": FAKE},
    "middle of a tag": {"tags": byte_tag(b"xx", b"\1" * 30 + FAKE + b"\1" * 30)},
    "end of a tag": {"tags": byte_tag(b"xx", b"\1" * 30 + FAKE)},
    "names": {"tags": byte_tag(b"xx", b"\x0am/99/ccs\0m/7/1_2\0/3/\0" * 9)},
}


@pytest.mark.parametrize("kind", FAKES)
@pytest.mark.parametrize("block_bytes", [40, 150, 1000])
def test_bytes_that_look_like_a_record_are_none(tmp_path, kind, block_bytes):
    names = [b"m/%d/%d_9\0" % (zmw, number) for zmw in range(1, 9) for number in range(3)]
    content = raw_header() + b"".join(RawRecord(name=name, **FAKES[kind]).pack() for name in names)
    path = tmp_path / "a.bam"
    path.write_bytes(bgzf(content, block_bytes))
    expected = [(f"m/{zmw}", 3) for zmw in range(1, 9)]
    for count in [2, 3, 5, 11, 37]:
        assert flat(zmws_of_shards(path, count)) == expected


def test_a_file_without_records_has_empty_shards(tmp_path):
    path = tmp_path / "a.bam"
    path.write_bytes(bgzf(raw_header()))
    assert zmws_of_shards(path, 3) == [[], [], []]


def test_one_zmw_is_in_one_shard(tmp_path):
    path = write_inputs(tmp_path, simulate_molecules(1, passes=[5]), block_bytes=100).subreads
    shards = zmws_of_shards(path, 10)
    assert sorted(map(len, shards)) == [0] * 9 + [1]


def test_damage_is_an_error_of_some_shard(tmp_path):
    path = tmp_path / "a.bam"
    write_inputs(tmp_path, simulate_molecules(9), block_bytes=500)
    content = bytearray((tmp_path / "subreads_to_ccs.bam").read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(AlignmentError, match=r"a.bam: damaged near compressed byte \d+: "):
        zmws_of_shards(path, 4)
