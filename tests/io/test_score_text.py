"""Scores as tables and VCF, read back by others' programs: csv and pysam."""

import csv
import gzip

import numpy as np
import pysam
import pytest

from genoformer.errors import OutputError
from genoformer.io.score_text import write_gene_tsv, write_score_tsv, write_score_vcf
from tests.score_rows import VARIANTS, Rows


def table_of(path):
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    return list(csv.DictReader((line for line in lines if not line.startswith("# ")), delimiter="\t"))


@pytest.mark.parametrize("name", ["scores.tsv", "scores.tsv.gz"])
def test_table_of_scores(tmp_path, name):
    path = tmp_path / name
    write_score_tsv(path, Rows())
    lines = table_of(path)
    assert len(lines) == 4 * 2
    assert lines[5]["chrom"] == "chr1"
    assert [lines[5][column] for column in ("record", "pos", "id", "ref", "alt", "note")] == [
        "3",
        "100",
        "del",
        "GATTACA",
        "G",
        "flipped",
    ]
    assert [line["track"] for line in lines[:2]] == ["2", "5"]
    assert lines[1]["description"] == 'DNASE:a "b" c'
    expected = np.array([row.values for row in Rows().rows()])  # [n, scores, T]
    for place, score in enumerate(("sad_sum", "js", "sad_sum_z")):
        found = np.array([line[score] for line in lines], np.float32).reshape(4, 2)
        np.testing.assert_array_equal(found, expected[:, place])
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert content.startswith(b"# version: 0.1.0\n# command: genoformer variants score\n")


def test_table_of_genes(tmp_path):
    write_gene_tsv(tmp_path / "genes.tsv", Rows())
    lines = table_of(tmp_path / "genes.tsv")
    assert [(line["record"], line["gene"], line["gene_name"], line["track"]) for line in lines[::2]] == [
        ("2", "ENSG1", "ABC1", "2"),
        ("3", "ENSG1", "ABC1", "2"),
        ("3", "ENSG2", "XYZ", "2"),
        ("4", "ENSG2", "XYZ", "2"),
    ]
    expected = np.concatenate([row.genes[1].ravel() for row in Rows().rows()])
    np.testing.assert_array_equal(np.array([line["tss_sum_logfc"] for line in lines], np.float32), expected)


def never(warning):
    raise AssertionError(warning)


def test_vcf_is_read_by_htslib(tmp_path):
    path = tmp_path / "scores.vcf.gz"
    write_score_vcf(path, Rows(), never)
    expected = [row.values for row in Rows().rows()]
    with pysam.VariantFile(str(path)) as file:
        records = list(file)
        assert list(file.header.contigs) == ["chr1", "chr2"]
        assert [record.pos for record in file.fetch("chr1", 50, 200)] == [100]
    for record, variant, values in zip(records, VARIANTS, expected, strict=True):
        assert (record.chrom, record.pos - 1, record.ref, record.alts) == (
            variant.chrom,
            variant.start,
            variant.ref,
            (variant.alt,),
        )
        assert record.id == (variant.name or None)
        np.testing.assert_allclose(record.info["SAD_SUM"], values[0], rtol=1e-6)
        np.testing.assert_allclose(record.info["SAD_SUM_Z"], values[2], rtol=1e-6)
    assert records[2].info["REF_NOTE"] == "flipped"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scores.vcf.gz", "scores.vcf.gz.tbi"]


def test_plain_vcf_has_no_index(tmp_path):
    write_score_vcf(tmp_path / "scores.vcf", Rows(), never)
    with pysam.VariantFile(str(tmp_path / "scores.vcf")) as file:
        assert len(list(file)) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["scores.vcf"]


@pytest.mark.parametrize("order", [[2, 0, 3], [3, 2, 0, 1], [0, 3, 1]])
def test_unsorted_variants_keep_their_order_without_an_index(tmp_path, order):
    path, warnings = tmp_path / "scores.vcf.gz", []
    write_score_vcf(path, Rows(), never)
    write_score_vcf(path, Rows([VARIANTS[place] for place in order]), warnings.append)
    with pysam.VariantFile(str(path)) as file:
        assert [record.pos - 1 for record in file] == [VARIANTS[place].start for place in order]
    assert [file.name for file in tmp_path.iterdir()] == ["scores.vcf.gz"]
    assert "has no index, since its records are in the order of the input" in warnings[0]


def test_long_contigs_have_another_index(tmp_path):
    from genoformer.genome.variant import Variant

    path = tmp_path / "scores.vcf.gz"
    write_score_vcf(path, Rows([Variant("chr1", 1 << 30, "A", "C")]), never)
    assert (tmp_path / "scores.vcf.gz.csi").exists()


@pytest.mark.parametrize(
    "write", [write_score_tsv, write_gene_tsv, lambda path, rows: write_score_vcf(path, rows, never)]
)
def test_a_failed_file_leaves_nothing(tmp_path, write):
    class Failing(Rows):
        def rows(self):
            yield from list(super().rows())[:2]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "scores.gz", Failing())
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "absent" / "scores.gz", Rows())
    assert list(tmp_path.iterdir()) == []
