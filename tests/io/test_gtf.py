"""GTF files written out by hand in the dialects of several annotations, and the real ones."""

import gzip
import random

import pytest

from genoformer.errors import DataError
from genoformer.genome.gene import Gene
from genoformer.genome.interval import Interval
from genoformer.io import gtf
from genoformer.io.gtf import read_gtf

GENCODE = """\
##description: evidence-based annotation
chr1\tHAVANA\tgene\t101\t900\t.\t+\t.\tgene_id "ENSG01.5"; gene_type "protein_coding"; gene_name "ABC1"; level 2;
chr1\tHAVANA\ttranscript\t101\t900\t.\t+\t.\tgene_id "ENSG01.5"; transcript_id "ENST01.1"; gene_name "ABC1";
chr1\tHAVANA\texon\t101\t200\t.\t+\t.\tgene_id "ENSG01.5"; transcript_id "ENST01.1"; exon_number 1;
chr1\tHAVANA\texon\t801\t900\t.\t+\t.\tgene_id "ENSG01.5"; transcript_id "ENST01.1"; exon_number 2;
chr1\tHAVANA\tCDS\t151\t850\t.\t+\t0\tgene_id "ENSG01.5"; transcript_id "ENST01.1";
chr1\tHAVANA\ttranscript\t151\t850\t.\t+\t.\tgene_id "ENSG01.5"; transcript_id "ENST01.2"; gene_name "ABC1";
chr1\tHAVANA\texon\t151\t250\t.\t+\t.\tgene_id "ENSG01.5"; transcript_id "ENST01.2"; exon_number 1;
chr2\tHAVANA\tgene\t11\t20\t.\t-\t.\tgene_id "ENSG02.1"; gene_type "lncRNA"; gene_name "DEF";
chr2\tHAVANA\ttranscript\t11\t20\t.\t-\t.\tgene_id "ENSG02.1"; transcript_id "ENST03.1"; gene_name "DEF";
chr2\tHAVANA\texon\t11\t20\t.\t-\t.\tgene_id "ENSG02.1"; transcript_id "ENST03.1"; exon_number 1;
"""
ABC1 = Gene(
    "ENSG01.5", "ABC1", "protein_coding", "+", Interval("chr1", 100, 900), (100, 150),
    (Interval("chr1", 100, 250), Interval("chr1", 800, 900)),
)  # fmt: skip
DEF = Gene("ENSG02.1", "DEF", "lncRNA", "-", Interval("chr2", 10, 20), (19,), (Interval("chr2", 10, 20),))


def write(tmp_path, text, name="genes.gtf"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["genes.gtf", "genes.gtf.gz"])
def test_genes_of_gencode(tmp_path, name):
    assert read_gtf(write(tmp_path, GENCODE, name)) == [ABC1, DEF]


def test_the_order_of_lines_changes_only_the_order_of_genes(tmp_path):
    lines = GENCODE.splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    found = read_gtf(write(tmp_path, "".join(lines)))
    assert {gene.identifier: gene.tss for gene in found} == {"ENSG01.5": (100, 150), "ENSG02.1": (19,)}
    assert {gene.exons for gene in found} == {ABC1.exons, DEF.exons}


def test_genes_of_ensembl_take_the_names_of_the_contigs_asked_for(tmp_path):
    text = (
        GENCODE.replace("chr2", "MT").replace("chr", "").replace("gene_type", "gene_biotype")
        + '3\tensembl\tgene\t1\t5\t.\t+\t.\tgene_id "ENSG9"; gene_biotype "miRNA";\n'
    )
    path = write(tmp_path, text)
    found = read_gtf(path, {"chr1": 1000, "chrM": 1000})
    assert [(gene.span.chrom, gene.name, gene.biotype) for gene in found] == [
        ("chr1", "ABC1", "protein_coding"),
        ("chrM", "DEF", "lncRNA"),
    ]
    assert found[0].exons == ABC1.exons
    assert [gene.span.chrom for gene in read_gtf(path)] == ["1", "MT", "3"]
    assert [gene.name for gene in read_gtf(path, ["3"])] == ["ENSG9"]


def test_gencode_for_contigs_without_a_prefix(tmp_path):
    assert [gene.span.chrom for gene in read_gtf(write(tmp_path, GENCODE), ["1"])] == ["1"]


def test_exons_alone_make_a_gene_with_the_starts_of_its_transcripts(tmp_path):
    text = (
        "chrX\tucsc\texon\t11\t20\t0.0\t-\t.\tgene_id ABC; transcript_id NM_1;\n"
        "chrX\tucsc\texon\t31\t40\t0.0\t-\t.\tgene_id ABC; transcript_id NM_1;\n"
        "chrX\tucsc\texon\t15\t25\t0.0\t-\t.\tgene_id ABC; transcript_id NM_2;\n"
    )
    [gene] = read_gtf(write(tmp_path, text))
    assert (gene.identifier, gene.name, gene.biotype, gene.strand) == ("ABC", "ABC", "", "-")
    assert (gene.span, gene.tss) == (Interval("chrX", 10, 40), (24, 39))
    assert gene.exons == (Interval("chrX", 10, 25), Interval("chrX", 30, 40))


def test_a_line_of_a_gene_alone_gives_its_start(tmp_path):
    text = 'chr1\tRefSeq\tgene\t11\t20\t.\t-\t.\tgene_id "LOC1"; transcript_id ""; gene "LOC1X";\r\n\n'
    [gene] = read_gtf(write(tmp_path, text))
    assert (gene.name, gene.tss, gene.exons) == ("LOC1X", (19,), ())


def test_a_gene_without_strand_has_no_start(tmp_path):
    text = 'chr1\tStringTie\ttranscript\t11\t20\t.\t.\t.\tgene_id "S.1"; transcript_id "S.1.1";\n'
    assert read_gtf(write(tmp_path, text))[0].tss == ()


def test_a_gene_on_two_contigs_is_two(tmp_path):
    line = '{}\tensembl\tgene\t11\t20\t.\t+\t.\tgene_id "ENSG00000002586"; gene_name "CD99";\n'
    found = read_gtf(write(tmp_path, line.format("X") + line.format("Y")))
    assert [str(gene.span) for gene in found] == ["X:11-20", "Y:11-20"]


def test_the_real_ones(shared_data):
    """Counted with `cut -f3,4,5 | sort`: starts of CFHR2's transcript and ends of those of GCFC2."""
    [cfhr2] = read_gtf(shared_data / "expression" / "borzoi" / "CFHR2_example.gtf")
    assert (cfhr2.name, cfhr2.strand, cfhr2.tss, len(cfhr2.exons)) == ("CFHR2", "+", (196943737,), 5)
    [gcfc2] = read_gtf(shared_data / "expression" / "borzoi" / "GCFC2_example.gtf")
    assert (gcfc2.name, gcfc2.strand) == ("GCFC2", "-")
    assert gcfc2.tss == (75710891, 75710898, 75710914, 75710984)
    [ensembl] = read_gtf(shared_data / "expression" / "kipoiseq" / "chr22_ENST00000319363.gtf", ["22"])
    assert (str(ensembl.span), ensembl.tss) == ("22:17565849-17596583", (17565848,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no genes; expected lines of genes, transcripts or exons"),
        ("# only a comment\n", "has no genes"),
        ("chr1 10 20\n", "line 1: has 1 columns; expected the 9 of a GTF file, separated by tabs"),
        (GENCODE + "chr1\t.\tgene\t20\t10\t.\t+\t.\tgene_id \"A\";\n", "line 12: goes from '20' to '10'; expected"),
        ("chr1\t.\tgene\t0\t10\t.\t+\t.\tgene_id \"A\";\n", "line 1: goes from '0' to '10'"),
        ("chr1\t.\tgene\t1\t99999999999\t.\t+\t.\tgene_id \"A\";\n", "line 1: goes from '1' to '99999999999'"),
        ("chr1\t.\tgene\t1\t10\t.\t?\t.\tgene_id \"A\";\n", r"line 1: strand is '\?'; expected \+, - or \."),
        ("chr1\t.\tgene\t1\t10\t.\t+\t.\tID=gene:A;Name=B\n", "line 1: has the attributes 'ID=gene:A;Name=B'; exp"),
        ("chr1\t.\tgene\t1\t10\t.\t+\t.\tgene_id \"\";\n", "line 1: has the attributes"),
    ],
)  # fmt: skip
def test_what_is_no_gtf_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_gtf(write(tmp_path, text))


def test_contigs_of_another_genome_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"has no gene on the contigs that are asked for \(chr7, ...\); it has chr1, chr2"
    ):
        read_gtf(write(tmp_path, GENCODE), ["chr7"])


def test_damage_is_named(tmp_path):
    path = write(tmp_path, GENCODE, "genes.gtf.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"genes.gtf.gz: cannot be read as GTF: "):
        read_gtf(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"genes.gtf.gz: cannot be read as GTF: the file is empty; expected gzip"):
        read_gtf(path)
    with pytest.raises(DataError, match=r"none.gtf: cannot be read as GTF: No such file"):
        read_gtf(tmp_path / "none.gtf")


def test_a_line_without_end_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(gtf, "MAX_LINE_BYTES", 200)
    with pytest.raises(DataError, match="line 2: is longer than 200 bytes; expected a GTF file"):
        read_gtf(write(tmp_path, "#\n" + "A" * 500, "genes.gtf.gz"))
