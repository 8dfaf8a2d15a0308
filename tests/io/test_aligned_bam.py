import random
import struct

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, OutputError
from genoformer.genome.edit_path import LocalAlignment, parse_cigar
from genoformer.io.aligned_bam import AlignedBam, bgzf_blocks, encode_aligned
from genoformer.io.aligner import SubreadAlignment
from genoformer.io.bam import BamReader, BamRecord
from genoformer.io.ccs_table import CcsTable
from tests.align_inputs import raw_subread, records_of
from tests.bam_builder import MOVIE, RawRecord, bgzf, ccs_read, raw_header, write_bam

HEADER = "@HD\tVN:1.5\tSO:unknown\tpb:3.0.5\n@RG\tID:c0ffee00\n@PG\tID:genoformer\n"


def raw_records(path):
    with BamReader(path) as reader:
        return list(reader)


def alignment(ref_start, read_start, cigar, is_reverse=False):
    ops = parse_cigar(cigar)
    op, length = ops & 15, ops >> 4
    num_ref, num_read = int(length[op != 1].sum()), int(length[op != 2].sum())
    local = LocalAlignment(ref_start, ref_start + num_ref, read_start, read_start + num_read, ops)
    return SubreadAlignment(is_reverse, local)


def written(tmp_path, reads, encoded):
    """What pysam and samtools' library make of encoded records."""
    path = tmp_path / "aligned.bam"
    with CcsTable(write_bam(tmp_path / "ccs.bam", reads)) as table:
        output = AlignedBam(path)
        output.write_header(HEADER, table)
        output.write_blocks(bgzf_blocks(b"".join(encoded)))
        assert output.finish() == path.stat().st_size
    return records_of(path)


@pytest.mark.parametrize("sequence", ["ACCGTTTAGA", "ACCGTTTAG", "ACMRWSYKVHDBN"])
@pytest.mark.parametrize("is_reverse", [False, True])
def test_bases_tags_and_position(tmp_path, sequence, is_reverse):
    read = raw_subread(4, 70_000, sequence, st="text", ar=[70_000, 3])
    [raw] = raw_records(write_bam(tmp_path / "raw.bam", [read]))
    size = len(sequence)
    encoded = encode_aligned(BamRecord(raw, "raw.bam"), raw, 1, alignment(20, 2, f"2=1D1X2I{size - 8}=", is_reverse))
    [record] = written(tmp_path, [ccs_read(3, "A" * 50), ccs_read(4, "A" * 60)], [encoded])
    assert record.query_name == f"{MOVIE}/4/70000_{70_000 + size}"
    assert (record.flag, record.is_reverse, record.mapping_quality) == (16 * is_reverse, is_reverse, 60)
    assert (record.reference_name, record.reference_start) == (f"{MOVIE}/4/ccs", 20)
    assert record.cigarstring == f"2S2=1D1X2I{size - 8}=1S"
    assert record.query_qualities is None
    complement = str.maketrans("ACGT", "TGCA")
    assert record.query_sequence == (sequence.translate(complement)[::-1] if is_reverse else sequence)
    [before] = records_of(tmp_path / "raw.bam")
    assert record.get_tags(with_value_type=True) == before.get_tags(with_value_type=True)
    assert encoded.endswith(raw[raw.index(b"cxC") :])  # every tag byte for byte
    assert record.get_tag("pw")[0] == 1  # in the order of sequencing


def test_an_alignment_of_the_whole_read_has_no_clips(tmp_path):
    [raw] = raw_records(write_bam(tmp_path / "raw.bam", [raw_subread(4, 0, "ACG")]))
    encoded = encode_aligned(BamRecord(raw, "raw.bam"), raw, 0, alignment(0, 0, "3="))
    [record] = written(tmp_path, [ccs_read(4, "ACG")], [encoded])
    assert record.cigarstring == "3="


def bin_by_hand(start, end):
    """The smallest bin around [start, end), by trying all sizes. SAM specification, section 5.3."""
    first = {1 << 14: 4681, 1 << 17: 585, 1 << 20: 73, 1 << 23: 9, 1 << 26: 1, 1 << 29: 0}
    return next(number + start // size for size, number in first.items() if start // size == (end - 1) // size)


@pytest.mark.parametrize("start", [0, 16_380, 16_384, 131_070, 1_048_570, 67_108_860, 400_000_000])
def test_bins(tmp_path, start):
    [raw] = raw_records(write_bam(tmp_path / "raw.bam", [raw_subread(4, 0, "ACGTACGT")]))
    encoded = encode_aligned(BamRecord(raw, "raw.bam"), raw, 0, alignment(start, 0, "8="))
    assert struct.unpack_from("<H", encoded, 4 + 10)[0] == bin_by_hand(start, start + 8)


def test_a_cigar_of_more_than_65535_operations(tmp_path):
    size = 99_000
    [raw] = raw_records(write_bam(tmp_path / "raw.bam", [raw_subread(4, 0, "AC" * (size // 2))]))
    found = alignment(5, 0, "1=1X" * (size // 2))
    encoded = encode_aligned(BamRecord(raw, "raw.bam"), raw, 0, found)
    [record] = written(tmp_path, [ccs_read(4, "A" * (size + 9))], [encoded])
    assert (record.reference_start, record.reference_end) == (5, 5 + size)
    assert record.cigartuples == [(7, 1), (8, 1)] * (size // 2)
    assert np.array_equal(BamRecord(encoded[4:], "aligned.bam").cigar, found.local.cigar)
    [again] = raw_records(tmp_path / "aligned.bam")
    assert BamRecord(again, "aligned.bam").array_tag("pw", "u1").size == size


def test_damaged_tags_are_not_carried_on(tmp_path):
    path = tmp_path / "raw.bam"
    path.write_bytes(bgzf(raw_header([]) + RawRecord(flag=4, reference=-1, ops=(), tags=b"pwBC\xff\0\0\0\1").pack()))
    [raw] = raw_records(path)
    with pytest.raises(AlignmentError, match=r"raw.bam: read m/1/0_4: its tags are damaged"):
        encode_aligned(BamRecord(raw, path), raw, 0, alignment(0, 0, "4="))


@pytest.mark.parametrize("num_reads", [1, 3, 5000])  # 5,000 references are several blocks
def test_header(tmp_path, num_reads):
    reads = [ccs_read(zmw, "A" * (1 + zmw % 7)) for zmw in range(num_reads)]
    assert written(tmp_path, reads, []) == []
    with pysam.AlignmentFile(str(tmp_path / "aligned.bam")) as file:
        assert list(zip(file.references, file.lengths, strict=True)) == [
            (read.name, len(read.sequence)) for read in reads
        ]
        lines = str(file.header).splitlines()
    expected = [f"@SQ\tSN:{read.name}\tLN:{len(read.sequence)}" for read in reads]
    first, *rest = HEADER.splitlines()
    assert lines == [first, *expected, *rest]


@pytest.mark.parametrize("size", [0, 1, 0xFF00, 0xFF01, 200_000])
@pytest.mark.parametrize("content", ["zeros", "noise"])
def test_blocks_hold_what_was_put_in(tmp_path, size, content):
    data = bytes(size) if content == "zeros" else random.Random(1).randbytes(size)
    path = tmp_path / "data.gz"
    path.write_bytes(bgzf_blocks(data) + bgzf(b""))
    with pysam.BGZFile(str(path)) as file:
        assert file.read() == data
    assert (bgzf_blocks(data) == b"") == (size == 0)


def test_a_file_has_its_name_once_it_is_whole(tmp_path):
    path = tmp_path / "aligned.bam"
    output = AlignedBam(path)
    assert [file.name for file in tmp_path.iterdir()] == ["aligned.bam.partial"]
    output.discard()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"no/aligned.bam.partial: cannot be written"):
        AlignedBam(tmp_path / "no" / "aligned.bam")
