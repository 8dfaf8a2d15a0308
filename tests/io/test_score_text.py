"""Scores as tables, read back by csv."""

import csv
import gzip

import numpy as np
import pytest

from genoformer.errors import OutputError
from genoformer.io.score_text import text_file, write_gene_tsv, write_score_tsv
from tests.score_rows import Rows


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


@pytest.mark.parametrize("write", [write_score_tsv, write_gene_tsv])
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


def test_long_texts_are_whole_and_quick(tmp_path):
    """Ten million letters at once, which took a minute in pieces of a growing rest."""
    text = "ACGT" * 2_500_000
    with text_file(tmp_path / "long.gz") as write:
        write(text)
    assert gzip.decompress((tmp_path / "long.gz").read_bytes()).decode() == text
