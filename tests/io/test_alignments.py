import array

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, OutputError
from genoformer.io.alignments import (
    CCS,
    SUBREAD,
    AlignedRead,
    bam_header,
    read_group_id,
    write_aligned_subreads,
    write_ccs_reads,
    write_fasta,
)
from genoformer.io.bam import BamReader
from genoformer.io.fasta import read_fasta
from genoformer.io.reads import OutputRead
from genoformer.io.subreads import decode_ccs, decode_subread

MOVIE = "m54238_180901_011437"
PROGRAM = {"ID": "genoformer", "PN": "genoformer", "VN": "0.1.0"}
HEADER = bam_header(MOVIE, SUBREAD, [(f"{MOVIE}/7/ccs", 12), (f"{MOVIE}/9/ccs", 8)], PROGRAM)

#   CCS   ACGTACGT      3=1I2=1X on the forward strand, from position 1
CIGAR = np.array([3 << 4 | 7, 1 << 4 | 1, 2 << 4 | 7, 1 << 4 | 8], np.uint32)


def aligned_read(**changes):
    tags = (
        ("RG", "Z", "301e4efa"),
        ("ip", "B", np.array([1, 2, 3, 4, 5, 6, 255], np.uint8)),
        ("pw", "B", np.array([11, 12, 13, 14, 15, 16, 17], np.uint8)),
        ("qe", "i", 70_000),
        ("rq", "f", 0.8),
        ("sn", "B", np.array([4.5, 8.25, 4.25, 7.5], np.float32)),
        ("zm", "i", 9),
    )
    fields = {
        "name": f"{MOVIE}/9/3_10", "sequence": b"CGTTACC", "cigar": CIGAR, "ref_id": 1, "start": 1,
        "is_reverse": False, "tags": tags,
    }  # fmt: skip
    return AlignedRead(**(fields | changes))


def ccs_read():
    tags = (("ec", "f", 5.5), ("np", "i", 5), ("sn", "B", np.ones(4, np.float32)), ("zm", "i", 4_194_375))
    return OutputRead(f"{MOVIE}/4194375/ccs", b"ACGTA", np.array([1, 20, 40, 60, 93], np.uint8), tags)


def test_read_groups_of_a_real_movie():
    """From the headers of real files of this movie."""
    assert read_group_id(MOVIE, "SUBREAD") == "301e4efa"
    assert read_group_id(MOVIE, "CCS") == "231b5401"


def test_header_lines():
    assert HEADER.splitlines() == [
        "@HD\tVN:1.5\tSO:unknown\tpb:3.0.1",
        f"@SQ\tSN:{MOVIE}/7/ccs\tLN:12",
        f"@SQ\tSN:{MOVIE}/9/ccs\tLN:8",
        "@RG\tID:301e4efa\tPL:PACBIO\tDS:READTYPE=SUBREAD;Ipd:CodecV1=ip;PulseWidth:CodecV1=pw;"
        "BINDINGKIT=101-500-400;SEQUENCINGKIT=101-427-800;BASECALLERVERSION=5.0.0;FRAMERATEHZ=100.000000"
        f"\tPU:{MOVIE}\tPM:SEQUEL",
        "@PG\tID:genoformer\tPN:genoformer\tVN:0.1.0",
    ]
    ccs = bam_header(MOVIE, CCS, [], PROGRAM)
    assert "@SQ" not in ccs
    assert "DS:READTYPE=CCS;BINDINGKIT" in ccs


def test_aligned_subread_as_samtools_sees_it(tmp_path):
    path = tmp_path / "subreads.bam"
    write_aligned_subreads(path, HEADER, [aligned_read(), aligned_read(is_reverse=True)])
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        assert str(file.header) == HEADER
        forward, reverse = file
    assert (forward.flag, reverse.flag) == (0, 16)
    assert forward.reference_name == f"{MOVIE}/9/ccs"
    assert (forward.reference_start, forward.mapping_quality, forward.cigarstring) == (1, 60, "3=1I2=1X")
    assert forward.query_sequence == reverse.query_sequence == "CGTTACC"
    assert forward.query_qualities is None
    types = {tag: (kind, value) for tag, value, kind in forward.get_tags(with_value_type=True)}
    assert types["ip"] == ("B", array.array("B", [1, 2, 3, 4, 5, 6, 255]))
    assert types["sn"] == ("B", array.array("f", [4.5, 8.25, 4.25, 7.5]))
    assert types["qe"] == ("I", 70_000)
    assert types["zm"] == ("C", 9)
    assert list(types) == ["RG", "ip", "pw", "qe", "rq", "sn", "zm"]


def test_absent_qualities_are_stored_as_255(tmp_path):
    path = tmp_path / "subreads.bam"
    write_aligned_subreads(path, HEADER, [aligned_read()])
    with BamReader(path) as reader:
        [raw] = reader
    bases_at = 32 + raw[8] + 4 * len(CIGAR)
    assert raw[bases_at + 4 : bases_at + 11] == b"\xff" * 7  # behind 7 bases in 4 bytes


@pytest.mark.parametrize(
    ("is_reverse", "pw"), [(False, [11, 12, 13, 14, 15, 16, 17]), (True, [17, 16, 15, 14, 13, 12, 11])]
)
def test_kinetics_stay_in_the_reads_own_orientation(tmp_path, is_reverse, pw):
    path = tmp_path / "subreads.bam"
    write_aligned_subreads(path, HEADER, [aligned_read(is_reverse=is_reverse)])
    with BamReader(path) as reader:
        subread = decode_subread(next(iter(reader)), path)
    assert subread.pw.tolist() == pw
    assert subread.is_reverse is is_reverse


def test_ccs_read_comes_back(tmp_path):
    path = tmp_path / "ccs.bam"
    write_ccs_reads(path, bam_header(MOVIE, CCS, [], PROGRAM), [ccs_read()])
    with BamReader(path) as reader:
        assert reader.header.num_references == 0
        ccs = decode_ccs(next(iter(reader)), path)
    assert (ccs.name, ccs.sequence, ccs.quals.tolist()) == (f"{MOVIE}/4194375/ccs", b"ACGTA", [1, 20, 40, 60, 93])
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        [record] = file
    assert (record.flag, record.reference_id, record.reference_start, record.mapping_quality) == (4, -1, -1, 255)
    assert (record.get_tag("ec"), record.get_tag("np"), record.get_tag("zm")) == (5.5, 5, 4_194_375)


def test_a_file_without_reads(tmp_path):
    path = tmp_path / "empty.bam"
    write_aligned_subreads(path, HEADER, [])
    with BamReader(path) as reader:
        assert reader.header.num_references == 2
        assert list(reader) == []


def test_a_cigar_of_other_length_is_refused(tmp_path):
    path = tmp_path / "subreads.bam"
    with pytest.raises(AlignmentError, match=r"subreads.bam: read .*/9/3_10: CIGAR covers 7 bases; it has 6$"):
        write_aligned_subreads(path, HEADER, [aligned_read(sequence=b"CGTTAC")])


def test_kinetics_of_other_length_are_refused(tmp_path):
    read = aligned_read(tags=(("pw", "B", np.ones(6, np.uint8)),))
    with pytest.raises(AlignmentError, match="tag pw has 6 values for 7 bases"):
        write_aligned_subreads(tmp_path / "subreads.bam", HEADER, [read])


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "subreads.bam"
    path.write_bytes(b"old")
    with pytest.raises(AlignmentError):
        write_aligned_subreads(path, HEADER, [aligned_read(), aligned_read(sequence=b"A")])
    assert [file.name for file in tmp_path.iterdir()] == ["subreads.bam"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("write", [
    lambda path: write_aligned_subreads(path, HEADER, []),
    lambda path: write_fasta(path, []),
])  # fmt: skip
def test_a_folder_that_is_not_there(tmp_path, write):
    with pytest.raises(OutputError, match=r"none/out: cannot be written: .*No such file"):
        write(tmp_path / "none" / "out")


def test_fasta_is_wrapped_and_read_back(tmp_path):
    path = tmp_path / "truth.fasta"
    write_fasta(path, [("m/1/truth", b"A" * 60 + b"C"), ("m/2/truth chr1:5-8 -", b"ACGT")])
    assert path.read_bytes() == b">m/1/truth\n" + b"A" * 60 + b"\nC\n>m/2/truth chr1:5-8 -\nACGT\n"
    assert read_fasta(path) == {"m/1/truth": b"A" * 60 + b"C", "m/2/truth": b"ACGT"}
