import array

import numpy as np
import pytest

from genoformer.errors import AlignmentError
from genoformer.io.aligned_bam import bgzf_blocks
from genoformer.io.bam import BamReader, encode_unmapped, record_name
from genoformer.io.raw_subreads import (
    decode_raw_subread,
    iterate_raw_zmws,
    subreads_header,
    write_raw_subreads,
)
from tests.align_inputs import raw_subread
from tests.bam_builder import MOVIE, SN, UNMAPPED, Read, ccs_read, subread, write_bam


def zmws(path, start=None, end=None):
    with BamReader(path) as reader:
        groups = list(iterate_raw_zmws(reader, start, end))
    return [(group.zmw, [record_name(record).decode() for record in group.records]) for group in groups], groups


def test_all_records_of_each_zmw(tmp_path):
    reads = [raw_subread(4, 0, "ACG"), raw_subread(4, 50, "AC"), raw_subread(9, 3, "A"), raw_subread(5, 0, "")]
    found, groups = zmws(write_bam(tmp_path / "raw.bam", reads))
    assert found == [
        (4, [f"{MOVIE}/4/0_3", f"{MOVIE}/4/50_52"]),
        (9, [f"{MOVIE}/9/3_4"]),
        (5, [f"{MOVIE}/5/0_0"]),
    ]
    assert zmws(tmp_path / "raw.bam", groups[0].next_offset, groups[1].next_offset)[0] == found[1:2]
    assert zmws(tmp_path / "raw.bam", groups[1].next_offset)[0] == found[2:]
    assert zmws(tmp_path / "raw.bam", groups[2].next_offset)[0] == []


def test_a_file_without_reads(tmp_path):
    assert zmws(write_bam(tmp_path / "raw.bam", []))[0] == []


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (subread(4, "ACG", "3="), f"read {MOVIE}/4/0_3 is aligned already; expected raw subreads; if it is aligned to"),
        (ccs_read(4, "ACG"), f"read '{MOVIE}/4/ccs' is a CCS read; expected raw subreads"),
        (Read("read1", "ACG", flag=UNMAPPED), "read name 'read1'; expected PacBio's movie/hole/... form"),
    ],
)
def test_what_is_no_raw_subread_is_refused(tmp_path, read, message):
    path = write_bam(tmp_path / "raw.bam", [raw_subread(3, 0, "ACG"), read])
    with pytest.raises(AlignmentError) as caught:
        zmws(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def decoded(tmp_path, read):
    with BamReader(write_bam(tmp_path / "raw.bam", [read])) as reader:
        return decode_raw_subread(reader.read_record(), reader.path)


@pytest.mark.parametrize(("context", "is_full"), [(3, True), (1, False), (2, False), (0, False), (3 | 4 | 16, True)])
def test_a_full_pass_has_an_adapter_on_either_side(tmp_path, context, is_full):
    assert decoded(tmp_path, raw_subread(4, 0, "ACG", cx=context)).is_full == is_full


def test_a_subread_as_sequenced(tmp_path):
    found = decoded(tmp_path, raw_subread(4, 0, "ACNT"))
    assert found.sequence == b"ACNT"
    assert found.pw.tolist() == [1, 2, 3, 4]
    assert found.ip.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(found.sn, np.array(SN, np.float32))


def test_without_kinetics_they_are_zeros(tmp_path):
    found = decoded(tmp_path, raw_subread(4, 0, "ACG", pw=None, ip=None, sn=None))
    assert [values.tolist() for values in (found.pw, found.ip, found.sn)] == [[0] * 3, [0] * 3, [0] * 4]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"cx": None}, f"read {MOVIE}/4/0_3: has no tag cx, which says whether it is a full pass; expected subreads"),
        ({"cx": "both"}, "has no tag cx"),
        ({"pw": array.array("B", [1, 2])}, f"read {MOVIE}/4/0_3: tag pw has 2 values for 3 bases"),
    ],
)
def test_tags_that_cannot_be_used(tmp_path, tags, message):
    with pytest.raises(AlignmentError, match=message):
        decoded(tmp_path, raw_subread(4, 0, "ACG", **tags))


REAL_MOVIE = "m54238_180901_011437"


def test_header_of_a_movie():
    """The id and fields of the read group are those of real files of this movie."""
    assert subreads_header(REAL_MOVIE, {"ID": "genoformer", "VN": "0.1.0"}).splitlines() == [
        "@HD\tVN:1.5\tSO:unknown\tpb:3.0.1",
        "@RG\tID:301e4efa\tPL:PACBIO\tDS:READTYPE=SUBREAD;Ipd:CodecV1=ip;PulseWidth:CodecV1=pw;"
        "BINDINGKIT=101-500-400;SEQUENCINGKIT=101-427-800;BASECALLERVERSION=5.0.0;FRAMERATEHZ=100.000000"
        f"\tPU:{REAL_MOVIE}\tPM:SEQUEL",
        "@PG\tID:genoformer\tVN:0.1.0",
    ]


def test_blocks_make_a_file(tmp_path):
    records = [encode_unmapped(f"m/{zmw}/0_4", b"ACGT", np.zeros(4, np.uint8), []) for zmw in (1, 2)]
    write_raw_subreads(tmp_path / "raw.bam", "@HD\tVN:1.5\n", map(bgzf_blocks, records))
    assert zmws(tmp_path / "raw.bam")[0] == [(1, ["m/1/0_4"]), (2, ["m/2/0_4"])]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "raw.bam").write_bytes(b"old")

    def blocks():
        yield b""
        raise AlignmentError("no more")

    with pytest.raises(AlignmentError, match="no more"):
        write_raw_subreads(tmp_path / "raw.bam", "", blocks())
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("raw.bam", b"old")]
