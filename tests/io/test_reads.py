import gzip
import json
import os
from pathlib import Path

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, OutputError, UsageError
from genoformer.io.reads import (
    OutputRead,
    PartialFile,
    ReadWriter,
    header_with_program,
    output_format,
    partial_path,
    read_json,
    read_sequences,
    whole_files,
    write_json,
)
from tests.bam_builder import EOF_BLOCK, Read, bgzf, write_bam

FASTQ = b"@m/1/ccs\nACGT\n+\n!5I~\n@m/2/ccs\nGG\n+\n@+\n"
READS = [("m/1/ccs", b"ACGT", [0, 20, 40, 93]), ("m/2/ccs", b"GG", [31, 10])]


def as_plain(reads):
    return [(read.name, read.sequence, read.quals.tolist()) for read in reads]


def as_output(name, sequence, quals, *tags):
    return OutputRead(name, sequence, np.array(quals, np.uint8), tags)


def write_reads(path, reads=READS, header="@HD\tVN:1.6\n"):
    writer = ReadWriter(str(path), header)
    for read in reads:
        writer.write(read if isinstance(read, OutputRead) else as_output(*read))
    writer.end()
    writer.publish()
    return path


# Names and formats


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.fastq", "fastq"),
        ("a.fq", "fastq"),
        ("x.bam/a.fastq.gz", "fastq.gz"),
        ("a.fq.gz", "fastq.gz"),
        ("a.bam", "bam"),
        ("-", "fastq"),
    ],
)
def test_the_name_says_the_format(path, expected):
    assert output_format(path) == expected


@pytest.mark.parametrize("path", ["a.sam", "a.gz", "fastq", "a.bam.txt", ""])
def test_other_names_are_refused(path):
    with pytest.raises(UsageError) as error:
        output_format(path)
    expected = ".fastq, .fq, .fastq.gz, .fq.gz, .bam, or - for stdout"
    assert str(error.value) == f"output '{path}': expected a name ending in {expected}"


# Writing


def test_fastq_bytes(tmp_path):
    assert write_reads(tmp_path / "a.fastq").read_bytes() == FASTQ


def test_fastq_gz_is_bgzf_that_gzip_and_pysam_read(tmp_path):
    path = write_reads(tmp_path / "a.fq.gz")
    assert gzip.decompress(path.read_bytes()) == FASTQ
    assert path.read_bytes().endswith(EOF_BLOCK)
    with pysam.BGZFile(str(path)) as file:
        assert file.read() == FASTQ


def test_bam_fields_and_tags(tmp_path):
    tags = (("zm", "i", 17), ("ec", "f", 2.5), ("RG", "Z", "ab12"))
    path = write_reads(tmp_path / "a.bam", [as_output("m/17/ccs", b"ACGTN", [0, 1, 2, 3, 93], *tags)])
    pysam.quickcheck("-u", str(path))  # raises where samtools finds fault
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        (record,) = file.fetch(until_eof=True)
    assert record.to_string() == 'm/17/ccs\t4\t*\t0\t255\t*\t*\t0\t0\tACGTN\t!"#$~\tzm:i:17\tec:f:2.5\tRG:Z:ab12'


@pytest.mark.parametrize("name", ["a.fastq", "a.fastq.gz", "a.bam"])
def test_no_reads_at_all(tmp_path, name):
    path = write_reads(tmp_path / name, [])
    assert list(read_sequences(path)) == []
    if name.endswith(".bam"):
        pysam.quickcheck("-u", str(path))


def test_lower_case_bases_are_the_same_bases_in_bam(tmp_path):
    path = write_reads(tmp_path / "a.bam", [("m/1/ccs", b"acgtn", [1] * 5)])
    assert as_plain(read_sequences(path)) == [("m/1/ccs", b"ACGTN", [1] * 5)]


def test_a_comment_of_a_fastq_title_is_no_part_of_a_bam_name(tmp_path):
    path = write_reads(tmp_path / "a.bam", [("m/1/ccs np:i:3", b"A", [1])])
    assert as_plain(read_sequences(path)) == [("m/1/ccs", b"A", [1])]


@pytest.mark.parametrize(
    ("name", "sequence", "text"),
    [
        ("m/1/ccs", b"AC.T", "read m/1/ccs: position 2 holds '.'; expected A, C, G, T or IUPAC"),
        ("n" * 255, b"A", f"read {'n' * 255}: its name has 255 bytes; BAM takes 254"),
    ],
)
def test_what_bam_cannot_hold_is_an_error(tmp_path, name, sequence, text):
    writer = ReadWriter(str(tmp_path / "a.bam"), "@HD\tVN:1.6\n")
    with pytest.raises(AlignmentError) as error:
        writer.write(as_output(name, sequence, [1] * len(sequence)))
    writer.discard()
    assert str(error.value) == text


# Partial files


@pytest.mark.parametrize("name", ["a.fastq", "a.fastq.gz", "a.bam"])
def test_an_output_has_its_name_only_once_it_is_published(tmp_path, name):
    path = tmp_path / name
    writer = ReadWriter(str(path), "@HD\tVN:1.6\n")
    writer.write(as_output(*READS[0]))
    writer.end()
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}.partial"]
    writer.publish()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_discard_leaves_no_file(tmp_path):
    writer = ReadWriter(str(tmp_path / "a.bam"))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.fastq", "a.fastq.gz", "a.bam"])
def test_a_cut_output_goes_on_where_it_was_committed(tmp_path, name):
    path = tmp_path / name
    writer = ReadWriter(str(path), "@HD\tVN:1.6\n")
    writer.write(as_output(*READS[0]))
    committed = writer.commit()
    writer.write(as_output("m/9/ccs", b"TTTT", [9] * 4))  # written after the last commit: must not be there twice
    writer.commit()
    writer.abandon()
    writer = ReadWriter(str(path), "@HD\tVN:1.6\n", resume_at=committed)
    writer.write(as_output(*READS[1]))
    size = writer.end()
    writer.publish()
    assert as_plain(read_sequences(path)) == READS
    assert size == path.stat().st_size


def test_a_partial_file_shorter_than_its_journal_is_refused(tmp_path):
    path = tmp_path / "a.fastq"
    partial_path(path).write_bytes(b"@m/1")
    with pytest.raises(OutputError, match=r"a.fastq.partial: has 4 bytes, the journal says 20; start without --resume"):
        PartialFile(path, resume_at=20)


def test_a_file_that_got_its_name_before_the_others_is_taken_back(tmp_path):
    path = tmp_path / "report.tsv"
    path.write_bytes(b"header\nrow\nlater row\n")
    file = PartialFile(path, resume_at=len(b"header\nrow\n"))
    assert not path.exists()
    file.raw.write(b"new row\n")
    file.finish()
    assert path.read_bytes() == b"header\nrow\nnew row\n"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OutputError, match=r"none/a.fastq.partial: cannot be written: No such file or directory"):
        ReadWriter(str(tmp_path / "none" / "a.fastq"))


# JSON


def test_json_round_trip_and_no_partial_file(tmp_path):
    write_json(tmp_path / "a.json", {"counts": {"zmws": 3}})
    assert read_json(tmp_path / "a.json") == {"counts": {"zmws": 3}}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "cannot be read as JSON: Expecting property name"),
        (b"[1]", "holds a JSON list; expected an object"),
        (b"\xff\xfe", "cannot be read as JSON: 'utf-8' codec can't decode"),
        (None, "cannot be read as JSON: .*No such file"),
    ],
)
def test_broken_json_is_an_error(tmp_path, content, text):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(OutputError, match=f"a.json: {text}"):
        read_json(tmp_path / "a.json")


def test_a_full_disk_names_the_file_which_can_be_discarded(tmp_path):
    path = tmp_path / "a.fastq"
    os.symlink("/dev/full", partial_path(path))
    file = PartialFile(path)
    file.raw.write(b"lost")
    with pytest.raises(OSError, match="No space left on device") as error:
        file.commit()
    assert error.value.filename == partial_path(path)
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_json(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}


# Header


CCS_HEADER = """\
@HD\tVN:1.5\tSO:unknown\tpb:3.0.1
@RG\tID:ab12\tPL:PACBIO
@SQ\tSN:chr1\tLN:10
@PG\tID:ccs\tPN:ccs\tVN:6.0.0\tCL:ccs a.bam b.bam
@PG\tID:lima\tPN:lima\tPP:ccs
"""


def test_our_program_follows_the_last_one():
    lines = header_with_program(CCS_HEADER, "1.2", "genoformer consensus correct", "model sha256:00").splitlines()
    assert lines == [
        "@HD\tVN:1.5\tSO:unknown\tpb:3.0.1",
        "@RG\tID:ab12\tPL:PACBIO",
        "@PG\tID:ccs\tPN:ccs\tVN:6.0.0\tCL:ccs a.bam b.bam",
        "@PG\tID:lima\tPN:lima\tPP:ccs",
        "@PG\tID:genoformer\tPN:genoformer\tVN:1.2\tPP:lima\tDS:model sha256:00\tCL:genoformer consensus correct",
    ]


def test_a_second_correction_has_an_id_of_its_own():
    once = header_with_program(CCS_HEADER, "1.2", "c", "d")
    twice = header_with_program(once, "1.2", "c", "d")
    assert twice.splitlines()[-1] == "@PG\tID:genoformer.1\tPN:genoformer\tVN:1.2\tPP:genoformer\tDS:d\tCL:c"


def test_a_header_without_lines_gets_its_own():
    assert header_with_program("", "1.2", "c", "d") == (
        "@HD\tVN:1.6\tSO:unknown\n@PG\tID:genoformer\tPN:genoformer\tVN:1.2\tDS:d\tCL:c\n"
    )


def test_lines_that_are_there_twice_are_written_once():
    assert header_with_program(CCS_HEADER * 2, "1", "c", "d") == header_with_program(CCS_HEADER, "1", "c", "d")


def test_the_header_of_real_reads_is_accepted(tmp_path, shared_data):
    with pysam.AlignmentFile(str(shared_data / "consensus" / "human_1m" / "ccs.bam"), check_sq=False) as file:
        header, groups = str(file.header), file.header.to_dict()["RG"]
    path = write_reads(tmp_path / "a.bam", header=header_with_program(header, "1.2", "genoformer", "model x"))
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        written = file.header.to_dict()
    assert written["RG"] == groups
    assert written["SQ"] == []
    programs = {program["ID"]: program for program in written["PG"]}
    assert programs["genoformer"]["PP"] in programs


# Reading


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.fastq", FASTQ), ("a.fq.gz", gzip.compress(FASTQ, mtime=0)), ("a.fq.gz", bgzf(FASTQ, 11)), ("a", FASTQ)],
    ids=["plain", "gzip", "bgzf", "no suffix"],
)
def test_fastq_in_every_wrapping(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert as_plain(read_sequences(path)) == READS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (FASTQ[:-1], READS),  # no line end
        (FASTQ.replace(b"\n", b"\r\n"), READS),
        (b"@m/1 np:i:3\nAC\nGT\n+\n@@\nII\n", [("m/1 np:i:3", b"ACGT", [31, 31, 40, 40])]),  # lines wrapped
        (b"@m/1\n\n+\n\n", [("m/1", b"", [])]),
    ],
)
def test_fastq_of_every_layout(tmp_path, content, expected):
    (tmp_path / "a.fq").write_bytes(content)
    assert as_plain(read_sequences(tmp_path / "a.fq")) == expected


BROKEN_FASTQ = {
    "cut in a name": (b"@m/1\nA\n+\nI\n@m/", "after 1 read: Unexpected end of file"),
    "cut in bases": (b"@m/1\nACGT\n", "after 0 reads: End of file without quality information."),
    "cut before qualities": (b"@m/1\nACGT\n+\n", "after 0 reads: Unexpected end of file"),
    "cut in qualities": (b"@m/1\nACGT\n+\nII", r"after 0 reads: Lengths .* differs for m/1 \(4 and 2\)"),
    "FASTA": (b">m/1\nACGT\n", "after 0 reads: Records in Fastq files should start with '@' character"),
    "text": (b"hello\n", "after 0 reads: Records in Fastq files should start with '@' character"),
    "damaged start of a record": (b"@m/1\nA\n+\nI\nAm/2\nC\n+\nI\n", "after 0 reads: Lengths .* differs"),
    "no name": (b"@\nA\n+\nI\n", "after 0 reads: '': expected a name, and qualities from '!' to '~'"),
    "quality below": (b"@m/1\nAC\n+\n\x1fI\n", "after 0 reads: 'm/1': expected a name, and qualities from '!' to '~'"),
    "quality above": (b"@m/1\nA\n+\n\x7f\n", "after 0 reads: 'm/1': expected a name, and qualities from '!' to '~'"),
    "no text": (b"@m/1\nA\xff\n+\nII\n", "after 0 reads: 'ascii' codec can't decode byte 0xff"),
}


@pytest.mark.parametrize("kind", BROKEN_FASTQ)
def test_broken_fastq_is_an_error(tmp_path, kind):
    content, text = BROKEN_FASTQ[kind]
    (tmp_path / "a.fq").write_bytes(content)
    with pytest.raises(AlignmentError, match=f"a.fq: cannot be read as FASTQ {text}"):
        list(read_sequences(tmp_path / "a.fq"))


BROKEN_GZIP = {
    "gzip cut": (gzip.compress(FASTQ)[:-9], "cannot be read as FASTQ after 1 read: Compressed file ended before"),
    "gzip checksum": (gzip.compress(FASTQ)[:-8] + bytes(8), "cannot be read as FASTQ after 1 read: CRC check failed"),
    "gzip and more": (gzip.compress(FASTQ) + b"more", "cannot be read as FASTQ after .* Not a gzipped file"),
    "BGZF cut in a block": (bgzf(FASTQ, 20)[:-30], "has no end-of-file block, so it is truncated; copy it again"),
    "BGZF cut between blocks": (bgzf(FASTQ, 20)[:-28], "has no end-of-file block, so it is truncated; copy it again"),
    "nothing": (b"", "the file is empty; expected gzip"),
}


@pytest.mark.parametrize("kind", BROKEN_GZIP)
def test_broken_fastq_gz_is_an_error(tmp_path, kind):
    content, text = BROKEN_GZIP[kind]
    (tmp_path / "a.fq.gz").write_bytes(content)
    with pytest.raises(AlignmentError, match=f"a.fq.gz: {text}"):
        list(read_sequences(tmp_path / "a.fq.gz"))


def test_a_missing_fastq_is_an_error(tmp_path):
    with pytest.raises(AlignmentError, match=r"none.fq: cannot be read: No such file"):
        list(read_sequences(Path(tmp_path / "none.fq")))


def test_bam_reads_come_as_stored(tmp_path):
    path = write_bam(tmp_path / "a.bam", [Read("m/1/ccs", "ACGT", flag=4, quals=[1, 2, 3, 4])])
    assert as_plain(read_sequences(path)) == [("m/1/ccs", b"ACGT", [1, 2, 3, 4])]


def test_a_bam_read_without_qualities_is_an_error(tmp_path):
    path = write_bam(tmp_path / "a.bam", [Read("m/1/ccs", "ACGT", flag=4)])
    with pytest.raises(AlignmentError, match=r"a.bam: read m/1/ccs has no qualities"):
        list(read_sequences(path))


def test_real_fastq_equals_pysam(shared_data):
    path = shared_data / "consensus" / "chm13_chr20" / "m64062_190806_063919_q0_chr20_100reads.fq.gz"
    with pysam.FastxFile(str(path)) as file:
        expected = [(entry.name, entry.sequence.encode(), list(entry.get_quality_array())) for entry in file]
    assert len(expected) == 100
    assert as_plain(read_sequences(path)) == expected


# Several files at once


def test_whole_files_get_their_names_at_the_end(tmp_path):
    paths = [str(tmp_path / name) for name in ("a", "b")]
    with whole_files(paths) as files:
        for path in paths:
            files[path].write(path.encode())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.partial", "b.partial"]
    assert [(tmp_path / name).read_text() for name in ("a", "b")] == paths
    assert len(list(tmp_path.iterdir())) == 2


def test_whole_files_leave_nothing_behind_a_failure(tmp_path):
    with pytest.raises(KeyError), whole_files([str(tmp_path / "a")]):
        raise KeyError
    with (
        pytest.raises(OutputError, match=r"none/b\.partial: cannot be written: No such file"),
        whole_files([str(tmp_path / "a"), str(tmp_path / "none" / "b")]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
