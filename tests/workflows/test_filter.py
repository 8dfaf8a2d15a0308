import gzip

import pysam
import pytest

from genoformer.errors import AlignmentError, UsageError
from genoformer.workflows.filter import FilterCounts, filter_reads
from tests.bam_builder import Read, write_bam
from tests.correct_inputs import fastq_records, records

REAL_FASTQ = "consensus/chm13_chr20/m64062_190806_063919_q0_chr20_100reads.fq.gz"
REAL_BAM = "consensus/chm13_chr20/m64062_190806_063919-chr20.dc.small.bam"

# Mean errors by hand: 0.001 (Q30); 0.01 (Q20); (0.1 + 0.001) / 2 = 0.0505 (Q12.96709); nothing.
FASTQ = b"@q30\nACGT\n+\n????\n@q20\nAC\n+\n55\n@q13\nAC\n+\n+?\n@empty\n\n+\n\n"


def write(tmp_path, content=FASTQ, name="reads.fastq"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def kept_names(path):
    return [name for name, *_ in fastq_records(path)]


# The counts that the original's data come with


@pytest.mark.parametrize(("min_quality", "kept"), [(20, 99), (30, 64), (40, 5), (50, 0)])
def test_real_fastq(shared_data, tmp_path, min_quality, kept):
    output = str(tmp_path / "kept.fastq.gz")
    counts = filter_reads(str(shared_data / REAL_FASTQ), output, min_quality)
    assert (counts.total, counts.kept) == (100, kept)
    original = {record[0]: record for record in fastq_records(shared_data / REAL_FASTQ)}
    found = fastq_records(output)
    assert found == [original[name] for name, *_ in found]
    assert len(found) == kept
    assert counts.kept_bases == sum(len(sequence) for _, sequence, _ in found)


def test_real_bam(shared_data, tmp_path):
    counts = filter_reads(str(shared_data / REAL_BAM), str(tmp_path / "kept.bam"), 30)
    assert (counts.total, counts.kept) == (262, 156)
    assert len(records(tmp_path / "kept.bam")) == 156


# By hand


@pytest.mark.parametrize(
    ("min_quality", "expected"),
    [
        (0, ["q30", "q20", "q13", "empty"]),
        (12.96709, ["q30", "q20", "q13"]),
        (12.9671, ["q30", "q20"]),
        (20, ["q30", "q20"]),
        (20.001, ["q30"]),
        (30, ["q30"]),
        (30.1, []),
    ],
)
def test_reads_at_and_around_the_threshold(tmp_path, min_quality, expected):
    output = str(tmp_path / "kept.fastq")
    filter_reads(write(tmp_path), output, min_quality)
    assert kept_names(output) == expected


def test_counts(tmp_path):
    assert filter_reads(write(tmp_path), str(tmp_path / "kept.fastq"), 20) == FilterCounts(4, 2, 6)


@pytest.mark.parametrize("name", ["kept.fastq", "kept.fq.gz", "kept.bam"])
def test_every_output_holds_the_same_reads(tmp_path, name):
    output = tmp_path / name
    filter_reads(write(tmp_path, FASTQ.replace(b"@q30", b"@q30 np:i:3")), str(output), 20)
    if name == "kept.bam":
        pysam.quickcheck("-u", str(output))
        found = [(record["name"], record["seq"], record["qual"]) for record in records(output)]
    else:
        found = records(output)
    assert found == [("q30", "ACGT", "????"), ("q20", "AC", "55")]
    assert [file.name for file in sorted(tmp_path.iterdir())] == sorted(["reads.fastq", name])


def test_comments_stay_in_fastq(tmp_path):
    filter_reads(write(tmp_path, b"@q30 np:i:3 x\nA\n+\n?\n"), str(tmp_path / "kept.fastq"), 20)
    assert (tmp_path / "kept.fastq").read_bytes() == b"@q30 np:i:3 x\nA\n+\n?\n"


def test_the_rq_tag_plays_no_part(tmp_path):
    reads = [Read("m/1/ccs", "AC", flag=4, quals=[10, 30], tags={"rq": 0.9999})]
    counts = filter_reads(str(write_bam(tmp_path / "reads.bam", reads)), str(tmp_path / "kept.bam"), 20)
    assert counts.kept == 0


def test_no_reads_give_a_whole_empty_file(tmp_path):
    filter_reads(write(tmp_path, b""), str(tmp_path / "kept.bam"), 20)
    pysam.quickcheck("-u", str(tmp_path / "kept.bam"))


def test_stdout(tmp_path, capfdbinary):
    filter_reads(write(tmp_path), "-", 30)
    assert capfdbinary.readouterr().out == b"@q30\nACGT\n+\n????\n"


# Bad input leaves no output


def bad_inputs(tmp_path):
    return {
        "gzip cut": write(tmp_path, gzip.compress(FASTQ)[:-9], "cut.fastq.gz"),
        "FASTQ cut": write(tmp_path, FASTQ[:20], "cut.fastq"),
        "FASTA": write(tmp_path, b">q30\nACGT\n", "reads.fa"),
        "no qualities": str(write_bam(tmp_path / "noqual.bam", [Read("m/1/ccs", "AC", flag=4)])),
        "empty BAM": write(tmp_path, b"", "empty.bam"),
        "missing": str(tmp_path / "missing.fq"),
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("gzip cut", "cut.fastq.gz: cannot be read as FASTQ after 3 reads: Compressed file ended before"),
        ("FASTQ cut", "cut.fastq: cannot be read as FASTQ after 1 read: Unexpected end of file"),
        ("FASTA", "reads.fa: cannot be read as FASTQ after 0 reads: Records in Fastq files should start with '@'"),
        ("no qualities", "noqual.bam: read m/1/ccs has no qualities"),
        ("empty BAM", "empty.bam: the file is empty; expected a BAM file"),
        ("missing", "missing.fq: cannot be read: No such file"),
    ],
)
@pytest.mark.parametrize("name", ["kept.fastq", "kept.fastq.gz", "kept.bam"])
def test_bad_input(tmp_path, kind, text, name):
    source, folder = bad_inputs(tmp_path)[kind], tmp_path / "out"
    folder.mkdir()
    with pytest.raises(AlignmentError, match=text):
        filter_reads(source, str(folder / name), 20)
    assert list(folder.iterdir()) == []


def test_real_fastq_cut_anywhere(shared_data, tmp_path):
    content = (shared_data / REAL_FASTQ).read_bytes()  # BGZF
    (tmp_path / "out").mkdir()
    for size in range(30_000, len(content), 97_001):
        source = write(tmp_path, content[:size], "cut.fq.gz")
        with pytest.raises(AlignmentError, match=r"cut.fq.gz: has no end-of-file block, so it is truncated"):
            filter_reads(source, str(tmp_path / "out" / "kept.fastq"), 0)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_older_output_survives_bad_input(tmp_path):
    output = tmp_path / "kept.fastq"
    output.write_text("old")
    with pytest.raises(AlignmentError):
        filter_reads(write(tmp_path, FASTQ[:20]), str(output), 20)
    assert output.read_text() == "old"


def test_the_input_is_not_overwritten(tmp_path):
    source = write(tmp_path)
    with pytest.raises(UsageError, match=r"output '.*reads.fastq' is the input file"):
        filter_reads(source, str(tmp_path / "." / "reads.fastq"), 20)
    assert (tmp_path / "reads.fastq").read_bytes() == FASTQ


def test_bam_to_bam_keeps_records_and_header(tmp_path):
    source = tmp_path / "reads.bam"
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": 100}], "RG": [{"ID": "x", "PU": "m"}]}
    with pysam.AlignmentFile(str(source), "wb", header=header) as file:
        for name, qual in (("a", 40), ("b", 10)):
            record = pysam.AlignedSegment(file.header)
            record.query_name, record.query_sequence, record.flag = name, "ACGT", 16
            record.reference_id, record.reference_start, record.cigartuples = 0, 7, [(7, 4)]
            record.query_qualities = pysam.qualitystring_to_array(chr(33 + qual) * 4)
            record.set_tag("RG", "x")
            file.write(record)
    filter_reads(str(source), str(tmp_path / "kept.bam"), 20)
    with pysam.AlignmentFile(str(source)) as before, pysam.AlignmentFile(str(tmp_path / "kept.bam")) as after:
        assert str(after.header) == str(before.header)
        assert [read.to_string() for read in after] == [read.to_string() for read in before if read.query_name == "a"]


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number(tmp_path, threshold):
    with pytest.raises(UsageError, match=r"--min-quality is (nan|inf); expected a number"):
        filter_reads(str(tmp_path / "a.fastq"), str(tmp_path / "b.fastq"), threshold)
