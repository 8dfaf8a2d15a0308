import pytest

import genoformer.io.ccs_table
from genoformer.errors import AlignmentError
from genoformer.io.bam import record_name
from genoformer.io.ccs_table import CcsTable
from tests.bam_builder import MOVIE, UNMAPPED, Read, ccs_name, ccs_read, raw_header, write_bam
from tests.bam_builder import bgzf as bgzf_file


def key(zmw, movie=MOVIE):
    return f"{movie}/{zmw}".encode()


@pytest.fixture
def path(tmp_path):
    reads = [ccs_read(7, "ACGT"), ccs_read(5, "A" * 300), ccs_read(9, "CC", movie="m2"), ccs_read(9, "CCC")]
    return write_bam(tmp_path / "ccs.bam", reads)


def test_names_and_lengths_in_file_order(path):
    with CcsTable(path) as table:
        assert len(table) == 4
        assert list(table) == [
            (ccs_name(7).encode(), 4),
            (ccs_name(5).encode(), 300),
            (b"m2/9/ccs", 2),
            (ccs_name(9).encode(), 3),
        ]
        assert table.name(1) == ccs_name(5)


def test_reads_are_found_by_zmw_in_any_order(path):
    with CcsTable(path) as table:
        assert [table.find(key(zmw)) for zmw in (9, 5, 7, 8)] == [[3], [1], [0], []]
        assert table.find(key(9, "m2")) == [2]
        assert [record_name(table.record(index)).decode() for index in (0, 1, 3, 0, 2)] == [
            ccs_name(7), ccs_name(5), ccs_name(9), ccs_name(7), "m2/9/ccs"
        ]  # fmt: skip


def test_zmws_of_one_hash_stay_apart(path, monkeypatch):
    monkeypatch.setattr(genoformer.io.ccs_table, "hash", lambda _: 1, raising=False)
    with CcsTable(path) as table:
        assert [table.find(key(zmw)) for zmw in (9, 5, 7, 8)] == [[3], [1], [0], []]


def test_reads_of_both_strands(tmp_path):
    reads = [ccs_read(4, "ACG", suffix="ccs/rev"), ccs_read(3, "A"), ccs_read(4, "CGT", suffix="ccs/fwd")]
    with CcsTable(write_bam(tmp_path / "ccs.bam", reads)) as table:
        assert table.find(key(4)) == [0, 2]


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ([], "holds no reads; expected CCS reads"),
        ([ccs_read(4, "A"), ccs_read(5, "A"), ccs_read(4, "C")], f"CCS read {MOVIE}/4/ccs is there twice"),
        ([Read(f"{MOVIE}/4/0_3", "ACG", flag=UNMAPPED)], f"read name '{MOVIE}/4/0_3'; expected a CCS read"),
        ([ccs_read(4, "A", suffix="ccs/both")], f"read name '{MOVIE}/4/ccs/both'; expected a CCS read"),
        ([Read("read1", "ACG", flag=UNMAPPED)], "read name 'read1'; expected PacBio's movie/hole/... form"),
        ([Read(ccs_name(4), "ACG", "3=", "chr1", quals=[9] * 3)], f"CCS read {MOVIE}/4/ccs is aligned"),
        ([Read(ccs_name(4), "", flag=UNMAPPED)], f"CCS read {MOVIE}/4/ccs has no bases"),
    ],
)
def test_what_is_no_file_of_ccs_reads_is_refused(tmp_path, reads, message):
    path = write_bam(tmp_path / "ccs.bam", reads)
    with pytest.raises(AlignmentError) as caught:
        CcsTable(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "ccs.bam"
    path.write_bytes(bgzf_file(raw_header([]) + b"\x40\0\0\0abc"))
    with pytest.raises(AlignmentError, match="ends inside a record"):
        CcsTable(path)


def test_a_file_that_changes_under_the_reader_is_noticed(path, tmp_path):
    with CcsTable(path) as table:
        other = write_bam(tmp_path / "other.bam", [ccs_read(zmw, "ACGT") for zmw in (1, 2, 3, 4)])
        path.write_bytes(other.read_bytes())
        with pytest.raises(AlignmentError, match=r"changed while it was read|cannot seek|damaged"):
            table.record(0)
