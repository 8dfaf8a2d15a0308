import array
import struct

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError
from genoformer.io.bam import (
    BamReader,
    BamRecord,
    BgzfFile,
    encode_header,
    encode_unmapped,
    record_flag,
    record_name,
    record_reference,
)
from tests.bam_builder import EOF_BLOCK, RawRecord, Read, bgzf, bgzf_block, raw_header, write_bam

REAL = [
    "actc/by_strand.bam",
    "actc/hifi.bam",
    "actc/single.ccs.bam",
    "actc/single.clr.bam",
    "actc/tiny.ccs.bam",
    "actc/tiny.clr.bam",
    "chm13_chr20/CHM13_chr20_0_200000_dc.to_truth.bam",
    "chm13_chr20/m64062_190806_063919-chr20.dc.small.bam",
    "ecoli/ecoli.ccs.bam",
    "ecoli/ecoli.subreads.bam",
    "ecoli/ecoli.subreadsToCcs.bam",
    "ecoli/ecoli.truthToCcs.bam",
    "human_1m/ccs.bam",
    "human_1m/subreads_to_ccs.bam",
    "human_1m/truth_to_ccs.bam",
    "human_1m/truth_to_ccs.fixed.bam",
    "human_v01/human.subreads.bam",
    "human_v01/human.subreadsToCcs.bam",
    "human_v01/human.truthToCcs.bam",
    "igvjs/HG002_chr11_119076212_119102218_2.bam",
    "pbbam/23.ccs.bam",
    "pbbam/ccs-kinetics-bystrandify-mock-input.2.bam",
    "pbbam/empty.bam",
    "pbbam/long-cigar-1.7.bam",
    "pbbam/long_reads.bam",
    "pbbam/m150404_101626_42267_c100807920800000001823174110291514_s1_p0.1.subreads.bam",
    "pbbam/phi29.bam",
    "pbbam/segfault.bam",
]


def read_records(path):
    """Records decoded from a file."""
    with BamReader(path) as reader:
        return [BamRecord(raw, path) for raw in reader]


def cigar_of(record):
    """Operations as pysam gives them: (operation, length)."""
    return [(int(packed) & 15, int(packed) >> 4) for packed in record.cigar]


def write(path, data):
    path.write_bytes(data)
    return path


# As pysam decodes


def assert_same_tags(ours, theirs):
    tags = theirs.get_tags(with_value_type=True)
    for name, value, kind in tags:
        found = ours.tag(name)
        assert ours.has_tag(name)
        if kind == "B":
            assert found.dtype.kind == {"b": "i", "h": "i", "i": "i", "f": "f"}.get(value.typecode, "u")
            np.testing.assert_array_equal(found, np.array(value))
        elif kind == "A":
            assert found == chr(value) if isinstance(value, int) else value
        else:
            assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", REAL)
def test_every_record_equals_pysam(shared_data, name):
    path, count = shared_data / "consensus" / name, 0
    with pysam.AlignmentFile(str(path), check_sq=False) as theirs, BamReader(path) as ours:
        assert [ours.header.reference_name(i) for i in range(ours.header.num_references)] == list(theirs.references)
        assert ours.header.text.rstrip("\n") == str(theirs.header).rstrip("\n")
        for raw, expected in zip(ours, theirs.fetch(until_eof=True), strict=True):
            record = BamRecord(raw, path)
            assert record.name == record_name(raw).decode() == expected.query_name
            assert record.flag == record_flag(raw) == expected.flag
            assert record.ref_id == record_reference(raw) == expected.reference_id
            assert record.is_reverse == expected.is_reverse
            assert record.start == expected.reference_start
            assert record.sequence.decode() == (expected.query_sequence or "")
            assert record.length == len(expected.query_sequence or "")
            quals = expected.query_qualities
            if record.length == 0:
                assert quals is None
                assert record.quals.tolist() == []
            else:
                assert (record.quals is None) == (quals is None)
                assert quals is None or record.quals.tolist() == quals.tolist()
            assert cigar_of(record) == (expected.cigartuples or [])
            assert_same_tags(record, expected)
            count += 1
    assert count > 0 or name == "pbbam/empty.bam"


def test_a_real_cigar_beyond_65535_operations(shared_data):
    (record,) = read_records(shared_data / "consensus" / "pbbam" / "long-cigar-1.7.bam")
    assert record.has_tag("CG")
    assert len(record.cigar) > 65_535
    assert sum(length for op, length in cigar_of(record) if op in (0, 1, 4, 7, 8)) == record.length


def test_a_built_cigar_beyond_65535_operations(tmp_path):
    num_pairs = 33_000
    read = Read("m/1/0_9", "AC" * num_pairs, "1=1I" * num_pairs, "m/1/ccs", 7)
    (record,) = read_records(write_bam(tmp_path / "long.bam", [read]))
    assert record.has_tag("CG")
    assert cigar_of(record) == [(7, 1), (1, 1)] * num_pairs
    assert record.sequence == b"AC" * num_pairs


@pytest.mark.parametrize("cigar", ["4S9N", "3S9N1=", "4S9D", "2=9N2="])
def test_a_cigar_that_looks_like_the_placeholder_of_a_long_one(tmp_path, cigar):
    read = Read("m/1/0_4", "ACGT", cigar, "m/1/ccs")
    (record,) = read_records(write_bam(tmp_path / "short.bam", [read]))
    assert not record.has_tag("CG")
    assert "".join(f"{length}{'MIDNSHP=X'[op]}" for op, length in cigar_of(record)) == cigar


def test_a_cg_tag_beside_a_whole_cigar_is_only_a_tag():
    tag = b"CGBI\1\0\0\0" + struct.pack("<I", 4 << 4 | 7)
    for ops, is_placeholder in [((4 << 4 | 4, 9 << 4 | 3), True), ((3 << 4 | 4, 9 << 4 | 3), False),
                                ((4 << 4 | 4, 9 << 4 | 2), False), ((4 << 4 | 4,), False)]:  # fmt: skip
        record = BamRecord(RawRecord(ops=ops, tags=tag).pack()[4:], "a.bam")
        assert tuple(record.cigar.tolist()) == ((4 << 4 | 7,) if is_placeholder else ops)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        (b"CGBi\1\0\0\0\x47\0\0\0", "tag CG has type Bi; expected an array ('u4',)"),
        (b"CGZ4=\0", "tag CG has type Z; expected an array ('u4',)"),
    ],
)
def test_a_long_cigar_of_another_type_is_an_error(tag, message):
    record = BamRecord(RawRecord(ops=(4 << 4 | 4, 9 << 4 | 3), tags=tag).pack()[4:], "a.bam")
    with pytest.raises(AlignmentError) as error:
        _ = record.cigar
    assert str(error.value) == f"a.bam: read m/1/0_4: {message}"


# Reading


@pytest.mark.parametrize("block_bytes", [1, 3, 37, 1000, 0xFF00])
def test_blocks_may_split_records_anywhere(tmp_path, block_bytes):
    records = [RawRecord(name=b"m/%d/0_4\0" % i).pack() for i in range(5)]
    path = write(tmp_path / "a.bam", bgzf(raw_header() + b"".join(records), block_bytes))
    with BamReader(path) as reader:
        assert reader.header.text == "@HD\tVN:1.6\n"
        assert reader.header.reference_name(0) == "m/1/ccs"
        assert list(reader) == [record[4:] for record in records]
        assert reader.read_record() is None


@pytest.mark.parametrize("block_bytes", [1, 50, 0xFF00])
def test_seeking_back_to_where_tell_was(tmp_path, block_bytes):
    records = [RawRecord(name=b"m/%d/0_4\0" % i).pack()[4:] for i in range(4)]
    data = raw_header() + b"".join(struct.pack("<i", len(record)) + record for record in records)
    with BamReader(write(tmp_path / "a.bam", bgzf(data, block_bytes))) as reader:
        assert reader.tell() == reader.first_record
        places = []
        for record in records:
            places.append(reader.tell())
            assert reader.read_record() == record
        end = reader.tell()
        for place, record in reversed(list(zip(places, records, strict=True))):
            reader.seek(place)
            assert reader.read_record() == record
        reader.seek(end)
        assert reader.read_record() is None


def test_empty_blocks_inside_a_file_are_skipped(tmp_path):
    record = RawRecord().pack()
    data = bgzf_block(raw_header()) + EOF_BLOCK + bgzf_block(record) + EOF_BLOCK + EOF_BLOCK
    assert len(read_records(write(tmp_path / "a.bam", data))) == 1


def test_a_file_with_only_a_header(tmp_path):
    with BamReader(write_bam(tmp_path / "a.bam", [], ["m/1/ccs", "m/2/ccs"])) as reader:
        assert reader.header.num_references == 2
        assert reader.header.reference_name(1) == "m/2/ccs"
        assert list(reader) == []


def test_a_file_without_references(tmp_path):
    with BamReader(write_bam(tmp_path / "a.bam", [])) as reader:
        assert reader.header.num_references == 0


def test_reading_in_pieces(tmp_path):
    data = np.random.default_rng(0).integers(0, 4, 300_000, np.uint8).tobytes()
    file = BgzfFile(write(tmp_path / "a.gz", bgzf(data)))
    assert file.size_bytes == (tmp_path / "a.gz").stat().st_size
    assert file.read(0) == b""
    assert file.read(10) == data[:10]
    assert file.read(200_000) == data[10:200_010]
    assert file.read(1 << 30) == data[200_010:]
    assert file.read(5) == b""
    file.seek(3)
    assert file.read(4) == data[3:7]
    assert file.read_compressed(4, 2) == bgzf(data)[4:6]
    file.close()


# Decoding

TAGS = (
    b"aaA!"
    + b"bbc\xff"
    + b"ccC\xff"
    + b"dds\xff\xff"
    + b"eeS\xff\xff"
    + b"ffi\xfe\xff\xff\xff"
    + b"ggI\xff\xff\xff\xff"
    + b"hhf\0\0\xc0\x3f"
    + b"iiZhello \0"
    + b"jjH1AE3\0"
    + b"kkZ\0"
    + b"llBc\2\0\0\0\1\xff"
    + b"mmBS\2\0\0\0\1\2\xff\xff"
    + b"nnBf\1\0\0\0\0\0\0\xbf"
    + b"ooBI\0\0\0\0"
)


def test_every_kind_of_tag():
    record = BamRecord(RawRecord(tags=TAGS).pack()[4:], "a.bam")
    expected = {"aa": "!", "bb": -1, "cc": 255, "dd": -1, "ee": 65535, "ff": -2, "gg": 2**32 - 1, "hh": 1.5,
                "ii": "hello ", "jj": "1AE3", "kk": "", "zz": None}  # fmt: skip
    for tag, value in expected.items():
        assert record.tag(tag) == value
        assert type(record.tag(tag)) is type(value)
        assert record.has_tag(tag) == (value is not None)
    assert record.array_tag("ll", "i1").tolist() == [1, -1]
    assert record.array_tag("mm", "u1", "u2").tolist() == [513, 65535]
    assert record.array_tag("nn", "f4").tolist() == [-0.5]
    assert record.array_tag("oo", "u4").tolist() == []


@pytest.mark.parametrize(
    ("tag", "dtypes", "found"),
    [("ff", ("u1",), "has type i"), ("ll", ("u1", "u2"), "has type Bc"), ("zz", ("f4",), "is missing")],
)
def test_an_array_of_another_type(tag, dtypes, found):
    record = BamRecord(RawRecord(tags=TAGS).pack()[4:], "a.bam")
    with pytest.raises(AlignmentError) as error:
        record.array_tag(tag, *dtypes)
    assert str(error.value) == f"a.bam: read m/1/0_4: tag {tag} {found}; expected an array {dtypes}"


def test_sixteen_letters_and_odd_lengths():
    letters = "=ACMGRSVTWYHKDBN"  # SAM specification, section 4.2.3
    packed = bytes.fromhex("0123456789abcdef")
    assert BamRecord(RawRecord(length=16, bases=packed, quals=bytes(16)).pack()[4:], "").sequence == letters.encode()
    odd = RawRecord(length=3, bases=b"\x12\x40", quals=bytes(3))
    assert BamRecord(odd.pack()[4:], "").sequence == b"ACG"
    none = BamRecord(RawRecord(length=0, bases=b"", quals=b"", tags=b"").pack()[4:], "")
    assert none.sequence == b""
    assert none.quals.tolist() == []


def test_qualities_or_none():
    assert BamRecord(RawRecord(quals=b"\0\1\xff\x5d").pack()[4:], "").quals.tolist() == [0, 1, 255, 93]
    assert BamRecord(RawRecord(quals=b"\xff\1\2\3").pack()[4:], "").quals is None


# Writing


@pytest.mark.parametrize("sequence", [b"", b"A", b"ACGTN", b"MRWSYKVHDBN=AC"])
def test_written_reads_come_back_from_pysam(tmp_path, sequence):
    quals = np.arange(len(sequence), dtype=np.uint8)
    tags = [("zm", "i", 17), ("rq", "f", 0.5), ("RG", "Z", "abc"), ("ec", "f", -1.0)]
    tags += [("cp", "B", np.array([0, 70_000], np.uint32)), ("sn", "B", np.array([0.5, 8.25], np.float32))]
    header = "@HD\tVN:1.6\tSO:unknown\n@RG\tID:abc\n"
    data = encode_header(header) + encode_unmapped("m/17/ccs", sequence, quals, tags) * 2
    path = write(tmp_path / "a.bam", bgzf(data))
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        assert str(file.header).rstrip("\n") == header.rstrip("\n")
        reads = list(file)
    assert len(reads) == 2
    for read in reads:
        assert (read.query_name, read.flag, read.query_sequence or "") == ("m/17/ccs", 4, sequence.decode())
        assert list(read.query_qualities or []) == quals.tolist()
        assert (read.reference_id, read.reference_start, read.cigartuples) == (-1, -1, None)
        assert read.get_tags(with_value_type=True) == [
            ("zm", 17, "i"),
            ("rq", 0.5, "f"),
            ("RG", "abc", "Z"),
            ("ec", -1.0, "f"),
            ("cp", array.array("I", [0, 70_000]), "B"),
            ("sn", array.array("f", [0.5, 8.25]), "B"),
        ]


def test_array_tags_as_samtools_sees_them(tmp_path):
    tags = [("pw", "B", np.array([1, 255], np.uint8)), ("sn", "B", np.array([4.5, -1], np.float32)), ("zm", "i", 7)]
    path = write(
        tmp_path / "a.bam",
        bgzf(encode_header("@HD\tVN:1.5\n") + encode_unmapped("m/7/0_2", b"AC", np.zeros(2, np.uint8), tags)),
    )
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        [read] = file
    assert read.get_tags(with_value_type=True) == [
        ("pw", array.array("B", [1, 255]), "B"),
        ("sn", array.array("f", [4.5, -1]), "B"),
        ("zm", 7, "i"),
    ]


def test_lower_case_is_written_as_upper_case():
    packed = encode_unmapped("m/1/ccs", b"acgtnr", np.zeros(6, np.uint8), [])
    assert BamRecord(packed[4:], "").sequence == b"ACGTNR"


@pytest.mark.parametrize(
    ("name", "sequence", "message"),
    [
        ("m/1/ccs", b"ACx", "read m/1/ccs: position 2 holds 'x'; expected A, C, G, T or IUPAC"),
        ("m/1/ccs", b"A CC", "read m/1/ccs: position 1 holds ' '; expected A, C, G, T or IUPAC"),
        ("n" * 255, b"A", f"read {'n' * 255}: its name has 255 bytes; BAM takes 254"),
    ],
)
def test_what_bam_cannot_hold(name, sequence, message):
    with pytest.raises(AlignmentError) as error:
        encode_unmapped(name, sequence, np.zeros(len(sequence), np.uint8), [])
    assert str(error.value) == message


def test_the_longest_name():
    packed = encode_unmapped("n" * 254, b"A", np.zeros(1, np.uint8), [])
    assert BamRecord(packed[4:], "").name == "n" * 254
