import random

import pytest

from genoformer.errors import DataError
from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.cigar import CIGAR_DELETION, CIGAR_INSERTION
from genoformer.io.truth_aligner import GenomeAligner, align_to_molecule

pytest.importorskip("mappy")
pytest.importorskip("edlib")


def letters(seed, length):
    return "".join(random.Random(seed).choices("ACGT", k=length)).encode()


def text(cigar):
    return "".join(f"{op >> 4}{'MIDNSHP=X'[op & 15]}" for op in cigar.tolist())


def test_end_to_end():
    #            insertion of A before the As, G missing of GG
    found = align_to_molecule(b"CTAAAACTGTC", b"CTAAACTGGTC")
    assert (found.truth, found.read_start, found.read_end) == (b"CTAAACTGGTC", 0, 11)
    assert text(found.cigar) == "2=1I5=1D3="


def test_the_other_strand_is_seen_along_the_read():
    truth = reverse_complement(b"CTAAACTGGTC")
    found = align_to_molecule(b"CTAAAACTGTC", truth)
    assert found.truth == b"CTAAACTGGTC"
    assert text(found.cigar) == "2=1I5=1D3="


def test_unrelated_sequences_do_not_align():
    assert align_to_molecule(letters(1, 500), letters(2, 500)) is None
    assert align_to_molecule(b"", b"ACGT") is None
    assert align_to_molecule(b"A", b"ACGTACGTACGT") is None


def test_noisy_but_related_sequences_align():
    rng = random.Random(3)
    truth = letters(1, 500)
    read = bytes(rng.choice(b"ACGT") if rng.random() < 0.25 else base for base in truth)
    found = align_to_molecule(read, truth)
    assert found.truth == truth


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_bytes(b">one\n" + letters(5, 3000) + b"\n>two\n" + letters(6, 3000).lower() + b"\n")
    return path


def test_a_read_of_a_genome(genome):
    aligner = GenomeAligner(genome, {"one", "two"})
    two = letters(6, 3000)
    stretch = two[1000:1500] + two[1501:2200]  # a base is missing
    for read, truth in ((stretch, two[1000:2200]), (reverse_complement(stretch), reverse_complement(two[1000:2200]))):
        found = aligner.align(read)
        assert (found.truth, found.read_start, found.read_end) == (truth, 0, len(read))
        assert [op >> 4 for op in found.cigar if op & 15 == CIGAR_DELETION] == [1]
        assert not any(op & 15 == CIGAR_INSERTION for op in found.cigar)


def test_ends_that_do_not_align_are_clipped(genome):
    aligner = GenomeAligner(genome, {"one", "two"})
    read = letters(7, 300) + letters(5, 3000)[500:1500] + letters(8, 200)
    found = aligner.align(read)
    assert abs(found.read_start - 300) < 10
    assert abs(found.read_end - 1300) < 10
    assert aligner.align(letters(7, 1200) + letters(5, 3000)[500:1500]) is None  # less than half
    assert aligner.align(letters(9, 1000)) is None
    assert aligner.align(b"") is None


def test_a_genome_that_is_not_indexed_whole(genome):
    with pytest.raises(DataError, match=r"genome\.fa: minimap2 indexed 2 of 3 sequences"):
        GenomeAligner(genome, {"one", "two", "three"})
