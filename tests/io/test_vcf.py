"""VCF files in: what the community writes, what is no variant, and damage."""

import gzip
import io
import random
import re

import pytest
from Bio import bgzf

from genoformer.errors import DataError
from genoformer.genome.variant import Variant
from genoformer.io import vcf
from genoformer.io.vcf import STDIN, Unscored, VcfRecord, read_vcf, seekable_vcf
from tests.variant_cases import damaged_copies

HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ROWS = "chr1\t14677\trs1\tG\tA\t.\t.\t.\nchr1\t54490\t.\tgat\tG,GATT\t50\tPASS\tAF=0.1,0.2\n"
RECORDS = [VcfRecord(1, 3, "chr1", 14676, "rs1", "G", ("A",)), VcfRecord(2, 4, "chr1", 54489, "", "GAT", ("G", "GATT"))]


def written(tmp_path, content, name="calls.vcf"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def bgzipped(content):
    buffer = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=buffer)
    writer.write(content)
    writer.flush()
    return buffer.getvalue() + bgzf._bgzf_eof


def test_plain_gzip_and_bgzip_are_the_same(tmp_path):
    content = (HEADER + ROWS).encode()
    for name, data in (("a.vcf", content), ("b.vcf.gz", gzip.compress(content)), ("c.vcf.gz", bgzipped(content))):
        assert list(read_vcf(written(tmp_path, data, name))) == RECORDS


def test_standard_input_can_be_read_twice(monkeypatch):
    for content in ((HEADER + ROWS).encode(), gzip.compress((HEADER + ROWS).encode())):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        with seekable_vcf(STDIN) as path:
            assert list(read_vcf(path)) == RECORDS
            assert list(read_vcf(path)) == RECORDS
        assert not path.exists()


def test_a_file_is_read_where_it_is(tmp_path):
    with seekable_vcf(tmp_path / "calls.vcf") as path:
        assert path == tmp_path / "calls.vcf"


@pytest.mark.parametrize(
    ("content", "num_records", "notes"),
    [
        (HEADER + ROWS, 2, []),
        (HEADER + "chr1\t5\t.\tA\tC\t.\t.\n", 1, ["have 7 columns, VCF asks for 8"]),
        ("chr1\t5\t.\tA\tC\n", 1, ["has no header", "have 5 columns"]),
        ("##fileformat=VCFv4.2\nchr1\t5\t.\tA\tC\t.\t.\t.\n", 1, []),
        (HEADER + "chr1\t5\t.\tA\tC\t.\t.\t.", 1, ["its last line has no end"]),
        ("chr1 5 . A C\n", 1, ["has no header", "have 5 columns"]),
        (HEADER, 0, []),
        (HEADER + "\n \n", 0, []),
        ((HEADER + ROWS).replace("\n", "\r\n"), 2, []),
    ],
)
def test_what_a_file_lacks_is_noted_and_read(tmp_path, content, num_records, notes):
    found = []
    assert len(list(read_vcf(written(tmp_path, content), found.append))) == num_records
    assert len(found) == len(notes)
    assert all(expected in note for expected, note in zip(notes, found, strict=True))


def test_what_each_alt_is():
    alts = (
        "C",
        "AT",
        "*",
        ".",
        "<DEL>",
        "<NON_REF>",
        "G]17:198982]",
        "]13:123456]T",
        ".TGCA",
        "G.",
        "a",
        "N",
        "R",
        "g",
    )
    record = VcfRecord(1, 1, "chr1", 9, "rs7", "A", alts)
    assert list(record.variants()) == [
        Variant("chr1", 9, "A", "C", "rs7"), Variant("chr1", 9, "A", "AT", "rs7"),
        Unscored.OVERLAPPED, Unscored.MISSING, Unscored.SYMBOLIC, Unscored.SYMBOLIC,
        Unscored.BREAKEND, Unscored.BREAKEND, Unscored.BREAKEND, Unscored.BREAKEND,
        Unscored.SAME, Unscored.AMBIGUOUS, Unscored.AMBIGUOUS, Variant("chr1", 9, "A", "G", "rs7"),
    ]  # fmt: skip
    assert list(VcfRecord(1, 1, "chr1", 9, "", "AN", ("A",)).variants()) == [Unscored.AMBIGUOUS]


def test_breakends_at_a_telomere(tmp_path):
    path = written(tmp_path, HEADER + "chr1\t0\t.\tN\t.[13:123457[,<DEL>,.\n")
    (record,) = read_vcf(path)
    assert record.start == -1
    assert list(record.variants()) == [Unscored.BREAKEND, Unscored.SYMBOLIC, Unscored.MISSING]


BROKEN = [
    ("chr1\t5\t.\tA\n", "record 1 (line 3): has 4 columns; expected at least CHROM, POS, ID, REF and ALT"),
    ("chr1\t-5\t.\tA\tC\n", "record 1 (line 3): POS is '-5'; expected a whole number from 1 to 2147483647"),
    ("chr1\t0\t.\tA\tC\n", "POS is '0'; expected a whole number from 1"),
    ("chr1\t0\t.\tA\t<DEL>,c\n", "POS is '0'; expected a whole number from 1"),
    ("chr1\t-1\t.\tA\t<DEL>\n", "POS is '-1'; expected a whole number from 1"),
    ("chr1\t5e3\t.\tA\tC\n", "POS is '5e3'; expected a whole number"),
    ("chr1\t99999999999\t.\tA\tC\n", "POS is '99999999999'; expected a whole number"),
    (f"chr1\t{'9' * 5000}\t.\tA\tC\n", f"POS is '{'9' * 40}... (5000 letters)'"),
    ("chr1\t5\t.\tA>C\tC\n", "REF is 'A>C'; expected bases"),
    (f"chr1\t{'0' * 18}1{'0' * 5000}\t.\tA\tC\n", f"POS is '{'0' * 18}1{'0' * 21}... (5019 letters)'"),
    ("chr1\t5\t.\t\tC\n", "REF is ''; expected bases"),
    ("chr1\t5\t.\tA\tC,,G\n", "ALT is ''; expected bases, a symbol such as <DEL>, '*' or '.'"),
    ("chr1\t5\t.\tA\tC;G\n", "ALT is 'C;G'"),
    ("\t5\t.\tA\tC\n", "CHROM is ''; expected the name of a contig"),
    ("chr\x1b[2J\t5\t.\tA\tC\n", "CHROM is 'chr?[2J'"),
    ("chr1\t5\t\x07\tA\tC\n", "ID is '?'; expected at most 4096 printable letters"),
    (f"chr1\t5\t{'r' * 5000}\tA\tC\n", f"ID is '{'r' * 40}... (5000 letters)'"),
    (f"{'c' * 5000}\t5\t.\tA\tC\n", f"CHROM is '{'c' * 40}... (5000 letters)'"),
    ("chr1\t5\t.\tA\tC\t.\nchr1\t6\t.\tA\tC\n", "record 2 (line 4): has 5 columns, the records before it 6"),
]


@pytest.mark.parametrize(("rows", "message"), BROKEN)
def test_broken_records_are_named(tmp_path, rows, message):
    path = written(tmp_path, HEADER + rows)
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        list(read_vcf(path))
    assert str(raised.value).startswith(f"{path} record ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected VCF"),
        (gzip.compress(b"", mtime=0), "the file is empty; expected VCF"),
        (b"BCF\2\2rest", "expected VCF, found BCF; make VCF of it with 'bcftools view'"),
        (gzip.compress(b"BCF\2\2rest", mtime=0), "expected VCF, found BCF"),
        (gzip.compress(b"BAM\1rest", mtime=0), "expected VCF, found BAM"),
        (bgzipped((HEADER + ROWS).encode())[:-28], "has no end-of-file block, so it is truncated"),
        (gzip.compress((HEADER + ROWS).encode(), mtime=0)[:-9], "cannot be read after "),
        (b"\x1f\x8b", "cannot be read after 0 records"),
        (b"##fileformat=VCFv4.2\n##contig=<ID=c", "ends before the line #CHROM of its header; it is cut off"),
        ((HEADER + ROWS).replace("\n", "\r").encode(), "ends before the line #CHROM of its header"),
        (b"\n", "ends before the line #CHROM of its header"),
    ],
)
def test_files_that_are_no_vcf(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        list(read_vcf(written(tmp_path, content, "calls.vcf.gz" if content[:2] == b"\x1f\x8b" else "calls.vcf")))


def test_messages_call_a_file_by_the_name_given(tmp_path):
    with pytest.raises(DataError, match=r"^standard input record 1 \(line 3\): POS is '0'"):
        list(read_vcf(written(tmp_path, HEADER + "chr1\t0\t.\tA\tC\n"), name="standard input"))


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"absent\.vcf: cannot be read after 0 records: No such file"):
        list(read_vcf(tmp_path / "absent.vcf"))


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(vcf, "MAX_LINE_BYTES", 100)
    with pytest.raises(DataError, match=r"record 0 \(line 3\): has more than 100 bytes"):
        list(read_vcf(written(tmp_path, HEADER + "chr1\t5\t.\tA\t" + "C" * 200 + "\n")))


def test_alleles_of_ten_million_letters(tmp_path):
    path = written(tmp_path, HEADER + f"chr1\t5\t.\tA\t{'C' * 10_000_000}\nchr1\t5\t.\t{'A' * 10_000_000}\tC\n")
    assert [(len(record.ref), len(record.alts[0])) for record in read_vcf(path)] == [(1, 10**7), (10**7, 1)]
    path = written(tmp_path, HEADER + f"chr1\t5\t.\tA\t{'?' * 10_000_000}\n")
    with pytest.raises(DataError, match=re.escape(f"ALT is '{'?' * 40}... (10000000 letters)'")):
        list(read_vcf(path))


@pytest.mark.parametrize(
    ("name", "num_records", "num_variants"),
    [
        ("baskerville_tests/snp/eqtl.vcf", 8, 8),
        ("baskerville_tests/snp/eqtl_flip.vcf", 8, 8),
        ("baskerville_tests/ism/snp.vcf", 1, 1),
        ("basenji_tests/rs339331.vcf", 1, 1),
        ("basenji_tests/vcf/regulatory_validated.vcf", 16, 16),
        ("basenji_tests/vcf/regulatory_validated_misorder.vcf", 16, 16),
        ("basenji_tests/vcf/variants.vcf", 2, 2),
        ("borzoi/chr6_41897087_SV.vcf", 1, 1),
        ("borzoi/snps_polya.vcf", 5, 5),
        ("kipoiseq/chr22_ENST00000319363.vcf.gz", 9212, 9212),
        ("kipoiseq/test_with_multiple_variants.vcf.gz", 8, 5),  # two ALTs missing, one N
        ("tangermeme/test.vcf", 5, 6),  # by hand: 1, 1, 2, 0 and 2 ALTs
    ],
)
def test_real_files(shared_data, name, num_records, num_variants):
    records = list(read_vcf(shared_data / "expression" / name))
    assert [record.number for record in records] == list(range(1, num_records + 1))
    alleles = [allele for record in records for allele in record.variants()]
    assert sum(isinstance(allele, Variant) for allele in alleles) == num_variants


@pytest.mark.parametrize("form", ["plain", "gzip", "bgzip"])
def test_damage_is_one_line_or_right_output(tmp_path, form):
    rows = "".join(f"chr1\t{10 * i + 5}\trs{i}\tA\tC\t.\tPASS\tAF={i}\n" for i in range(60))
    content = (HEADER + rows).encode()
    stored = {"plain": content, "gzip": gzip.compress(content, mtime=0), "bgzip": bgzipped(content)}[form]
    whole = list(read_vcf(written(tmp_path, stored, "calls.vcf.gz" if form != "plain" else "calls.vcf")))
    complaints = []
    for data in damaged_copies(random.Random(6), stored):
        path = written(tmp_path, data, "damaged.vcf" if form == "plain" else "damaged.vcf.gz")
        try:
            records = list(read_vcf(path))
        except DataError as error:
            complaints.append(str(error))
            continue
        if form == "plain":  # without checksums, what can be read is
            assert len(records) <= len(whole)
            assert all(record.alts and record.start >= 0 for record in records)
        else:
            assert records == whole
    assert len(complaints) >= (20 if form == "plain" else 150)
    assert all(str(path) in complaint and "\n" not in complaint for complaint in complaints)
