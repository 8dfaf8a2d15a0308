import gzip
import logging
import os
import shutil
import tempfile

import numpy as np
import pytest
from Bio import bgzf

from genoformer.errors import DataError
from genoformer.genome.alphabet import genome_codes
from genoformer.genome.interval import Interval
from genoformer.io.fasta import read_fasta
from genoformer.io.genome_fasta import Genome

CHR1 = b"ACGTacgtNNryACGTTGCAAC"  # 22 letters in lines of 8
TEXT = b">chr1 a contig\nACGTacgt\nNNryACGT\nTGCAAC\n>chr2\nGGGG\n>empty_after\nA\n"


def write(tmp_path, name="genome.fa", text=TEXT):
    path = tmp_path / name
    if name.endswith(".gz"):
        with bgzf.BgzfWriter(path) as file:
            file.write(text)
    else:
        path.write_bytes(text)
    return path


@pytest.fixture(params=["genome.fa", "genome.fa.gz"])
def path(request, tmp_path):
    return write(tmp_path, request.param)


def test_every_window_of_a_small_contig(path):
    padded = b"N" * 30 + CHR1.upper() + b"N" * 30
    with Genome(path) as genome:
        assert genome.lengths == {"chr1": 22, "chr2": 4, "empty_after": 1}
        for start in range(-30, 30):
            for end in range(start + 1, 52):
                assert genome.letters(Interval("chr1", start, end)) == padded[start + 30 : end + 30]


def test_codes(path):
    with Genome(path) as genome:
        assert genome.codes(Interval("chr1", -2, 14)).tolist() == [4, 4, 0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 4, 4, 0, 1]
        assert genome.codes(Interval("chr2", 3, 6)).tolist() == [2, 4, 4]
        assert genome.codes(Interval("chr2", 100, 103)).tolist() == [4, 4, 4]
        assert genome.codes(Interval("chr2", 100, 103)).dtype == np.uint8


def test_windows_line_ends(tmp_path):
    with Genome(write(tmp_path, text=TEXT.replace(b"\n", b"\r\n"))) as genome:
        assert genome.letters(Interval("chr1", 5, 20)) == CHR1[5:20].upper()


@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_many_bgzip_blocks(tmp_path, name):
    rng = np.random.default_rng(1)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), 300_000).tobytes()
    lines = b"\n".join(letters[at : at + 61] for at in range(0, len(letters), 61))
    with Genome(write(tmp_path, name, b">c\n" + lines + b"\n>d\nA\n")) as genome:
        for start in [0, 65_279, 65_280, 131_000, 299_990, *rng.integers(0, 300_000, 20).tolist()]:
            end = start + int(rng.integers(1, 100_000))
            assert genome.letters(Interval("c", start, end)) == letters[start:end] + b"N" * max(0, end - 300_000)


def test_a_real_contig_by_its_own_index_and_by_ours(shared_data, tmp_path):
    real = shared_data / "expression" / "baskerville_tests" / "hg38_1m.fa.gz"
    whole = read_fasta(real)["chr1"]
    shutil.copyfile(real, tmp_path / "copy.fa.gz")
    for path in (real, tmp_path / "copy.fa.gz"):
        with Genome(path) as genome:
            assert genome.lengths == {"chr1": 1_000_000}
            codes = genome.codes(Interval("chr1", -100, 1_000_100))
        np.testing.assert_array_equal(codes, genome_codes(b"N" * 100 + whole + b"N" * 100))
    assert (tmp_path / "copy.fa.gz.fai").read_bytes() == real.with_name("hg38_1m.fa.gz.fai").read_bytes()


def test_the_index_is_built_whole_and_used_again(path):
    Genome(path)
    names = {item.name for item in path.parent.iterdir()}
    assert names == {path.name, f"{path.name}.fai"} | ({f"{path.name}.gzi"} if path.suffix == ".gz" else set())
    built = [item.stat().st_ino for item in path.parent.iterdir()]
    with Genome(path) as genome:
        assert genome.letters(Interval("chr2", 0, 4)) == b"GGGG"
    assert [item.stat().st_ino for item in path.parent.iterdir()] == built


def test_an_index_older_than_its_file_is_built_anew(path):
    Genome(path)
    fresh = write(path.parent, path.name, TEXT.replace(b"chr2", b"chrX"))
    os.utime(f"{path}.fai", (0, 0))
    assert list(Genome(fresh).lengths) == ["chr1", "chrX", "empty_after"]


def refuse(**_):
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_written(path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryDirectory", refuse)
        with pytest.raises(DataError, match=rf"{path.name}.fai: is missing and cannot be written; make it with 'samto"):
            Genome(path)
    Genome(path)
    os.utime(f"{path}.fai", (0, 0))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with caplog.at_level(logging.WARNING), Genome(path) as genome:
        assert genome.letters(Interval("chr2", 0, 4)) == b"GGGG"
    assert "is newer than its index, which cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("chrom", "message"),
    [
        ("1", "has no contig '1'; it has 'chr1': rename the contigs in one of the files"),
        ("NC_000001.11", "has no contig 'NC_000001.11'; it has chr1, chr2, empty_after"),
    ],
)
def test_a_contig_that_is_not_there(path, chrom, message):
    with Genome(path) as genome, pytest.raises(DataError) as caught:
        genome.codes(Interval(chrom, 0, 5))
    assert str(caught.value) == f"{path}: {message}"


def test_a_contig_among_many(tmp_path):
    text = b"".join(b">c%d\nA\n" % number for number in range(9))
    with Genome(write(tmp_path, text=text)) as genome, pytest.raises(DataError, match=r"it has c0, c1, c2 and 6 more$"):
        genome.length("chr1")


def test_a_prefix_too_many(tmp_path):
    with Genome(write(tmp_path, text=b">1\nA\n")) as genome, pytest.raises(DataError, match="it has '1': rename the"):
        genome.length("chr1")


def test_a_letter_that_is_no_base(tmp_path):
    with Genome(write(tmp_path, text=b">c\nACGT\nAC-T\nA\n")) as genome:
        assert genome.codes(Interval("c", 0, 6)).tolist() == [0, 1, 2, 3, 0, 1]
        with pytest.raises(DataError, match=r"genome.fa: '-' at c:7; expected A, C, G, T, N or an IUPAC letter"):
            genome.codes(Interval("c", -3, 8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot be indexed: .*does not contain a valid sequence"),
        (b"@read\nACGT\n", "cannot be indexed: Unexpected text before the first sequence"),
        (b">c\nACGT\nAC\nACGT\n", "cannot be indexed: Line length of fasta file is not consistent"),
        (b">c\nAC\n>c\nAC\n", 'cannot be indexed: Duplicate key "c"'),
        (b">c\n\xff\xfe\n", "cannot be indexed: "),
    ],
)
def test_files_that_cannot_be_indexed(tmp_path, text, message):
    path = write(tmp_path, text=text)
    with pytest.raises(DataError, match=f"genome.fa: {message}"):
        Genome(path)
    assert list(tmp_path.iterdir()) == [path]


def test_gzip_that_is_not_bgzip(tmp_path):
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(gzip.compress(TEXT))
    with pytest.raises(DataError, match=r"genome.fa.gz: cannot be indexed: Compressed FASTA is only supported in BGZF"):
        Genome(path)


def test_names_that_lie_about_compression(tmp_path):
    shutil.copyfile(write(tmp_path, "genome.fa.gz"), tmp_path / "genome.fa")
    with pytest.raises(DataError, match=r"genome.fa: is compressed, its name says otherwise; rename it"):
        Genome(tmp_path / "genome.fa")
    (tmp_path / "plain.fa.gz").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"plain.fa.gz: is not compressed, its name says otherwise"):
        Genome(tmp_path / "plain.fa.gz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.fa: cannot be read: No such file"):
        Genome(tmp_path / "none.fa")


def test_a_file_cut_off_after_it_was_indexed(path):
    Genome(path)
    path.write_bytes(path.read_bytes()[:20])
    os.utime(path, (0, 0))
    with pytest.raises(
        DataError, match=r"genome.fa.*(chr1:1-20 has 5 bases, by the index it has 20|cannot be read by)"
    ):
        Genome(path).letters(Interval("chr1", 0, 20))


@pytest.mark.parametrize("content", [b"no index", b"\xff\n", b"chr1\t22\n"])
def test_a_broken_index(path, content):
    Genome(path)
    (path.parent / f"{path.name}.fai").write_bytes(content)
    with pytest.raises(DataError, match=r"genome.fa.*: cannot be read by its index .*remove the index"):
        Genome(path)
