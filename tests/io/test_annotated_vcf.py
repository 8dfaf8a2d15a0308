"""What a VCF file keeps when INFO grows: lines written out by hand, and damage that htslib still reads back."""

import random

import pysam
import pytest

from genoformer.io import annotated_vcf
from genoformer.io.annotated_vcf import AnnotatedVcf
from genoformer.io.vcf import VcfPart

HEADER = (
    "##fileformat=VCFv4.2\n"
    '##FILTER=<ID=q10,Description="Quality below 10">\n'
    "##contig=<ID=chr1,length=1000>\n"
    "##contig=<assembly=b,ID=chr2>\n"
    '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "##source=caller 1.0\n"
)
NAMES = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def annotated(tmp_path, content, keys=("SAD_SUM",), added=("SAD_SUM=1",)):
    """What a file becomes, in lines, and what is said."""
    path = tmp_path / "calls.vcf"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    said = []
    part = VcfPart(path, "calls.vcf")
    vcf = AnnotatedVcf(part, keys, said.append)
    lines = [*vcf.header, vcf.columns]
    lines += [vcf.line(record, added).removesuffix("\n") for record in part.records()]
    return lines, said


def row_of(tmp_path, row, header=HEADER + NAMES + "\n", **changes):
    """What a record becomes, and what is said."""
    header = header.encode() if isinstance(header, str) else header
    lines, said = annotated(tmp_path, header + (row.encode() if isinstance(row, str) else row) + b"\n", **changes)
    return lines[-1], said


def test_header_records_and_samples_stay(tmp_path):
    content = (
        HEADER + NAMES + "\tFORMAT\tmum\tdad\n"
        "chr1\t5\trs1\tA\tC,<DEL>\t50.5\tq10\tAF=0.1,0.2;DB\tGT\t0/1\t1|2\n"
        "chr2\t007\t.\tg\tt\t.\tPASS\t.\tGT\t.\t0\n"
    )
    lines, said = annotated(tmp_path, content)
    assert lines == [
        *HEADER.splitlines(),
        NAMES + "\tFORMAT\tmum\tdad",
        "chr1\t5\trs1\tA\tC,<DEL>\t50.5\tq10\tAF=0.1,0.2;DB;SAD_SUM=1\tGT\t0/1\t1|2",
        "chr2\t7\t.\tg\tt\t.\tPASS\tSAD_SUM=1\tGT\t.\t0",
    ]
    assert said == []


def test_a_telomere_stays_where_it_is(tmp_path):
    row = "chr1\t0\t.\tN\t.[chr2:5[\t.\t.\t"
    assert row_of(tmp_path, row + "MATEID=b", added=[]) == (row + "MATEID=b", [])


def test_contigs_that_are_defined(tmp_path):
    (tmp_path / "calls.vcf").write_text(HEADER + NAMES + "\n")
    assert AnnotatedVcf(VcfPart(tmp_path / "calls.vcf", "calls.vcf"), [], [].append).contigs == {"chr1", "chr2"}


def test_nothing_to_add(tmp_path):
    assert row_of(tmp_path, "chr1\t5\t.\tA\tC\t.\t.\t.", added=()) == ("chr1\t5\t.\tA\tC\t.\t.\t.", [])
    assert row_of(tmp_path, "chr1\t5\t.\tA\tC\t.\t.\tDB", added=()) == ("chr1\t5\t.\tA\tC\t.\t.\tDB", [])


@pytest.mark.parametrize(
    "row", ["chr1\t5\t.\tA\tC", "chr1 5 . A C", "chr1\t5\t.\tA\tC\t.\t.", "chr1\t5\t.\tA\tC\t.\t.\t\r"]
)
def test_files_with_fewer_columns_and_other_line_ends(tmp_path, row):
    for header in (HEADER + NAMES + "\n", "##fileformat=VCFv4.2\r\n", ""):
        assert row_of(tmp_path, row, header) == ("chr1\t5\t.\tA\tC\t.\t.\tSAD_SUM=1", [])
    assert annotated(tmp_path, row)[0][:2] == ["##fileformat=VCFv4.3", NAMES]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ("", "GT\t0/1"),  # no names at all
        ("\tFORMAT\tmum\tmum", "GT\t0/1\t0/1"),
        ("\tFORMAT\tmum\t", "GT\t0/1\t0/1"),
        ("\tFORMAT\tmum\tdad", "GT\t0/1"),
        ("\tFORMAT\tmum", "GT\t0/1\t1/1"),
        ("\tFORMAT\tmum", None),
    ],
)
def test_samples_that_the_header_does_not_name(tmp_path, names, rows):
    row = "chr1\t5\t.\tA\tC\t.\t.\tDB"
    lines, said = annotated(
        tmp_path, f"{HEADER}{NAMES}{names}\n" + "".join([row, f"\t{rows}" if rows else "", "\n"]) * 2
    )
    assert lines[-3:] == [NAMES, row + ";SAD_SUM=1", row + ";SAD_SUM=1"]
    assert said == [
        "calls.vcf: its header does not name each sample of its records once; FORMAT and samples are left out, in the "
        "VCF output"
    ]


def test_a_format_of_no_samples_goes(tmp_path):
    found, said = row_of(tmp_path, "chr1\t5\t.\tA\tC\t.\t.\tDB\tGT", f"{HEADER}{NAMES}\tFORMAT\n")
    assert (found, said) == ("chr1\t5\t.\tA\tC\t.\t.\tDB;SAD_SUM=1", [])


def test_scores_of_an_earlier_run_give_way(tmp_path):
    header = (
        "##fileformat=VCFv4.3\n##genoformer_version=0.0.9\n##genoformer_track=<ID=0>\n"
        '##INFO=<ID=JS,Number=.,Type=Float,Description="js",Source="genoformer",Version="0.0.9">\n'
        '##INFO=<ID=SAD_SUM,Number=1,Type=Float,Description="of another tool">\n'
        '##INFO=<ID=D1,Number=1,Type=Float,Description="of another tool">\n' + NAMES + "\n"
    )
    lines, said = annotated(tmp_path, header + "chr1\t5\t.\tA\tC\t.\t.\tJS=1;D1=2;SAD_SUM=3;SAD_SUMS=4\n")
    assert lines == [
        "##fileformat=VCFv4.3",
        '##INFO=<ID=D1,Number=1,Type=Float,Description="of another tool">',
        NAMES,
        "chr1\t5\t.\tA\tC\t.\t.\tD1=2;SAD_SUMS=4;SAD_SUM=1",
    ]
    assert said == [
        "calls.vcf: it has scores of an earlier run, or fields of their names; the new ones replace them, in the VCF "
        "output"
    ]


@pytest.mark.parametrize(
    ("fields", "expected", "said"),
    [
        (b".\t.\tAF=1;;GERP++_RS=2;x=a b=c;", ".\t.\tAF=1;GERP++_RS=2;x=a b=c", None),
        (b".\t.\tAF=1;=5;a b;a<b=1;a,b;DB", ".\t.\tAF=1;DB", "its INFO has parts that are not KEY or KEY=VALUE"),
        (b".\t.\tX=a\x00b\x1b[2J", ".\t.\tX=a?b?[2J", "it has control characters; each is written as '?'"),
        (b".\t.\tX=caf\xe9;Y=\xc3\xa9", ".\t.\tX=caf\ufffd;Y=\xe9", "it has bytes that are not UTF-8"),
        (b"high\t.\tDB", ".\t.\tDB", "its QUAL is none; such ones are left out"),
        (b"1" * 100_000 + b"x\t.\tDB", ".\t.\tDB", "its QUAL is none"),
        (b"-1.5e-3\tq10;s50\tDB", "-1.5e-3\tq10;s50\tDB", None),
        (b"inf\tA B\tDB", "inf\t.\tDB", "its FILTER is none"),
        (b"\t\t", ".\t.\t", None),
        (b"1\tq10,s50\t.", "1\t.\t", "its FILTER is none"),
    ],
)
def test_what_no_vcf_file_can_hold_is_left_out_and_said_once(tmp_path, fields, expected, said):
    row = b"chr1\t5\t.\tA\tC\t" + fields
    found, complaints = row_of(tmp_path, row + b"\n" + row)
    assert found == f"chr1\t5\t.\tA\tC\t{expected}{';' if not expected.endswith(chr(9)) else ''}SAD_SUM=1"
    assert len(complaints) == (said is not None)
    assert all(complaint.startswith(f"calls.vcf record 1 (line 9): {said}") for complaint in complaints)


def test_a_long_info_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_vcf, "MAX_INFO", 10)
    found, said = row_of(tmp_path, "chr1\t5\t.\tA\tC\t.\t.\tX=123456789")
    assert found == "chr1\t5\t.\tA\tC\t.\t.\tSAD_SUM=1"
    assert said == [
        "calls.vcf record 1 (line 9): its INFO has 11 letters; what has more than 10 is left out, in the VCF output"
    ]


def test_as_many_entries_as_htslib_reads(tmp_path):
    """It refuses a record of 65,536."""
    for count, kept in ((1 << 15, True), ((1 << 15) + 1, False)):
        found, said = row_of(tmp_path, "chr1\t5\t.\tA\tC\t.\t.\t" + ";".join(["DB"] * count))
        assert found.count("DB;") == (count if kept else 0)
        assert len(said) == (not kept)
    assert "its INFO has 32,769 parts; what has more than 32,768 is left out" in said[0]


def test_a_long_header_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_vcf, "MAX_HEADER_BYTES", 60)
    lines, said = annotated(tmp_path, HEADER + NAMES + "\tFORMAT\tmum\nchr1\t5\t.\tA\tC\t.\t.\t.\tGT\t0\n")
    assert lines == ["##fileformat=VCFv4.2", NAMES + "\tFORMAT\tmum", "chr1\t5\t.\tA\tC\t.\t.\tSAD_SUM=1\tGT\t0"]
    assert said == ["calls.vcf: its header has more than 60 bytes; the rest is left out, in the VCF output"]


def test_header_lines_that_are_cut_off(tmp_path):
    """htslib would look for the end of a bracket or a quote in the lines that follow."""
    whole = (
        '##ALT=<ID=DEL,Description="a \\" b">\n##GATK=<ID=a,C="x "y" z">\n##META=<ID=A,Values=[a, b]>\n##a=b "c\n##\n'
    )
    broken = '##INFO=<ID=AF,Number=A\n##FILTER=<ID=q10,Description="Qual>\n##INFO=<\n'
    lines, said = annotated(tmp_path, f"##fileformat=VCFv4.2\n{whole}{broken}{NAMES}\n")
    assert lines == ["##fileformat=VCFv4.2", *whole.splitlines(), NAMES]
    assert said == ["calls.vcf: its header has lines that are cut off; such ones are left out, in the VCF output"]


def test_a_header_of_bcf_that_became_text(tmp_path):
    """Equal numbers of fields make htslib refuse the file."""
    header = "##fileformat=VCFv4.2\n" + "".join(
        f'##INFO=<ID={name},Number=1,Type=Float,Description="x",IDX=3>\n' for name in "XY"
    )
    lines, _ = annotated(tmp_path, header + NAMES + "\n")
    assert [line[:11] for line in lines[1:3]] == ["##INFO=<ID=", "##INFO=<ID="]
    assert not any("IDX" in line for line in lines)


def damaged(rng, content):
    """Copies with up to five bytes or columns changed."""
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(changed))
            changed[at : at + 1] = rng.choice(
                [b"", b"\x00", b"\xff", b" ", b";", b"=", b",", b"<", b'"', b"\r", b"\x7f"]
            )
        yield bytes(changed)


def test_what_is_written_of_damaged_fields_is_read_back(tmp_path):
    """Header lines, FILTER and INFO of any bytes, in a file whose first five columns and samples are whole."""
    rng, num_read = random.Random(3), 0
    fields = b"50\tq10;PASS\tAF=0.5;DB;CSQ=a|b c|d,e"
    for fields_here, header_here in zip(damaged(rng, fields), damaged(rng, HEADER.encode()), strict=True):
        if fields_here.count(b"\t") != 2:
            continue
        header = b"".join(line + b"\n" for line in header_here.split(b"\n") if line.startswith(b"##"))
        content = header + NAMES.encode() + b"\tFORMAT\tmum\nchr1\t5\trs1\tA\tC\t" + fields_here + b"\tGT\t0/1\n"
        lines, _ = annotated(tmp_path, content, added=("SAD_SUM=0.25,.",))
        lines.insert(1, '##INFO=<ID=SAD_SUM,Number=.,Type=Float,Description="sad">')
        (tmp_path / "out.vcf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with pysam.VariantFile(str(tmp_path / "out.vcf")) as file:
            (record,) = file
            assert (record.chrom, record.pos, record.id, record.ref, record.alts) == ("chr1", 5, "rs1", "A", ("C",))
            assert record.info["SAD_SUM"] == (0.25, None)
            if "GT" in record.format:
                assert record.samples["mum"]["GT"] in ((0, 1), "0/1")
        num_read += 1
    assert num_read > 100
