import pytest

from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader, record_name
from genoformer.io.raw_subreads import iterate_raw_zmws
from tests.align_inputs import raw_subread
from tests.bam_builder import MOVIE, UNMAPPED, Read, ccs_read, subread, write_bam


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
        (ccs_read(4, "ACG"), f"read '{MOVIE}/4/ccs' is a CCS read; expected raw subreads; is the order of files"),
        (Read("read1", "ACG", flag=UNMAPPED), "read name 'read1'; expected PacBio's movie/hole/... form"),
    ],
)
def test_what_is_no_raw_subread_is_refused(tmp_path, read, message):
    path = write_bam(tmp_path / "raw.bam", [raw_subread(3, 0, "ACG"), read])
    with pytest.raises(AlignmentError) as caught:
        zmws(path)
    assert str(caught.value).startswith(f"{path}: {message}")
