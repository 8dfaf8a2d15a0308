import array
import gzip

import pytest

from genoformer.errors import AlignmentError
from genoformer.io.read_input import iterate_reads
from tests.bam_builder import REVERSE, SECONDARY, SUPPLEMENTARY, Read, ccs_read, write_bam


def test_fastq(tmp_path):
    path = tmp_path / "reads.fastq.gz"
    path.write_bytes(gzip.compress(b"@m/1/ccs a comment\nacGT\n+\n!+5~\n"))
    [read] = iterate_reads(path)
    assert (read.name, read.sequence, read.is_copied) == ("m/1/ccs", b"ACGT", None)
    assert read.quals.tolist() == [0, 10, 20, 93]


def test_fasta_has_no_qualities(tmp_path):
    path = tmp_path / "reads.fa"
    path.write_text(">m/1/ccs\nac\nGT\n")
    [read] = iterate_reads(path)
    assert (read.name, read.sequence, read.quals, read.is_copied) == ("m/1/ccs", b"ACGT", None, None)


def test_bam_with_copied_bases(tmp_path):
    tags = {"cp": array.array("I", [1, 2, 1])}
    path = write_bam(tmp_path / "reads.bam", [ccs_read(1, "ACGT", [1, 2, 3, 4], **tags), ccs_read(2, "AC")])
    first, second = iterate_reads(path)
    assert (first.sequence, first.quals.tolist()) == (b"ACGT", [1, 2, 3, 4])
    assert first.is_copied.tolist() == [False, True, True, False]
    assert second.is_copied is None


def test_aligned_reads_come_as_sequenced(tmp_path):
    reads = [
        Read("m/1/ccs", "AACG", "4=", "chr1", flag=REVERSE, quals=[1, 2, 3, 4]),
        Read("m/1/ccs", "AACG", "4=", "chr1", flag=SUPPLEMENTARY, quals=[1, 2, 3, 4]),
        Read("m/1/ccs", "AACG", "4=", "chr1", flag=SECONDARY, quals=[1, 2, 3, 4]),
    ]
    [read] = iterate_reads(write_bam(tmp_path / "reads.bam", reads))
    assert (read.sequence, read.quals.tolist()) == (b"CGTT", [4, 3, 2, 1])


def test_bam_without_qualities(tmp_path):
    [read] = iterate_reads(write_bam(tmp_path / "reads.bam", [Read("m/1/ccs", "ACGT", flag=4)]))
    assert read.quals is None


def test_a_tag_that_does_not_fit(tmp_path):
    read = ccs_read(1, "ACGT", cp=array.array("I", [1, 2, 4_000_000_000]))
    path = write_bam(tmp_path / "reads.bam", [read])
    with pytest.raises(AlignmentError, match="tag cp covers 4000000003 bases, the read has 4"):
        list(iterate_reads(path))


def test_a_truncated_file(tmp_path):
    path = write_bam(tmp_path / "reads.bam", [ccs_read(1, "ACGT")])
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(AlignmentError, match=r"reads\.bam: has no end-of-file block"):
        list(iterate_reads(path))
