import gzip

import pytest

from genoformer.errors import DataError, OutputError
from genoformer.io.fasta import read_fasta, read_fasta_names, write_fasta


def test_real_truth(shared_data):
    contigs = read_fasta(shared_data / "consensus" / "chm13_chr20" / "CHM13_chr20_0_200000.fa")
    assert [len(sequence) for sequence in contigs.values()] == [200_000]


def test_letters_and_line_ends_of_a_genome(tmp_path):
    content = b">chr1 of something\r\nACgt\r\nnRYK\r\n>chr2\nA"
    (tmp_path / "genome.fa").write_bytes(content)
    (tmp_path / "genome.fa.gz").write_bytes(gzip.compress(content))
    expected = {"chr1": b"ACGTNNNN", "chr2": b"A"}
    assert read_fasta(tmp_path / "genome.fa") == expected
    assert read_fasta(tmp_path / "genome.fa.gz") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty; expected a FASTA file"),
        (b"@read\nACGT\n+\nIIII\n", r"starts with b'@read\\nAC'; expected a FASTA file"),
        (b">a\nACGT\nAC*T\n", r"'\*' at a:7; expected A, C, G, T, N or an IUPAC letter"),
        (b">a\nAC\n>b\nA\n>a\nA\n", "sequence 'a' is there twice"),
        (b">a\n>b\nA\n", "sequence 'a' has no letters"),
        (gzip.compress(b">a\nACGT\n", mtime=0)[:-4], "cannot be read: Compressed file ended"),
        (b"\x1f\x8bnothing", "cannot be read: "),
    ],
)
def test_a_broken_fasta(tmp_path, content, message):
    path = tmp_path / "genome.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"genome.fa: {message}"):
        read_fasta(path)


def test_a_fasta_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none.fa: cannot be read: No such file"):
        read_fasta(tmp_path / "none.fa")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_fasta(tmp_path)


def test_names(tmp_path):
    content = b">chr1 of something\r\nACgt\r\n>chr2\nA"
    (tmp_path / "genome.fa").write_bytes(content)
    (tmp_path / "genome.fa.gz").write_bytes(gzip.compress(content))
    assert read_fasta_names(tmp_path / "genome.fa") == read_fasta_names(tmp_path / "genome.fa.gz") == ["chr1", "chr2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty"),
        (b"@read\nACGT\n", r": starts with b'@read\\n'; expected a FASTA file"),
        (b">a\nAC\n>a\nA\n", " line 3: name 'a' is empty or there twice"),
        (b">a\nAC\n>\nA\n", " line 3: name '' is empty or there twice"),
        (gzip.compress(b">a\nACGT\n", mtime=0)[:-4], ": cannot be read: Compressed file ended"),
    ],
)
def test_broken_names(tmp_path, content, message):
    path = tmp_path / "genome.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"genome.fa{message}"):
        read_fasta_names(path)


def test_fasta_is_wrapped_and_read_back(tmp_path):
    path = tmp_path / "truth.fasta"
    write_fasta(path, [("m/1/truth", b"A" * 60 + b"C"), ("m/2/truth chr1:5-8 -", b"ACGT")])
    assert path.read_bytes() == b">m/1/truth\n" + b"A" * 60 + b"\nC\n>m/2/truth chr1:5-8 -\nACGT\n"
    assert read_fasta(path) == {"m/1/truth": b"A" * 60 + b"C", "m/2/truth": b"ACGT"}


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"out.fa.partial: cannot be written: No such file"):
        write_fasta(tmp_path / "none" / "out.fa", [])
