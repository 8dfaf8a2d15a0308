import numpy as np

from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.split_genome import Molecule, Stretch, cut_molecule, split_genome


def test_contigs_are_cut_at_80_and_90_percent_of_all_bases():
    stretches = split_genome({"a": b"A" * 50, "b": b"C" * 40, "c": b"G" * 10})
    assert [(one.name, one.split, one.start, one.letters) for one in stretches] == [
        ("a", "train", 0, b"A" * 50),
        ("b:1-30", "train", 0, b"C" * 30),
        ("b:31-40", "eval", 30, b"C" * 10),
        ("c", "test", 0, b"G" * 10),
    ]


def test_a_molecule_and_its_other_strand():
    one = Molecule(Stretch("b", 30, b"ACGTT", "eval", is_whole=False), 1, 4, is_reverse=False)
    assert (one.letters, one.origin) == (b"CGT", "b:32-34 +")
    assert (one.other_strand().letters, one.other_strand().origin) == (b"ACG", "b:32-34 -")
    assert one.other_strand().other_strand() == one


def test_molecules_come_from_everywhere_on_both_strands_without_n():
    letters = b"ACGGT" * 6 + b"N" + b"TTGAC" * 6
    stretches = [Stretch("a", 0, letters, "train", is_whole=True), Stretch("b", 0, b"ACGTTGCA", "test", is_whole=True)]
    rng = np.random.default_rng(0)
    molecules = [cut_molecule(stretches, 7, rng) for _ in range(400)]
    assert {one.is_reverse for one in molecules} == {True, False}
    starts = {one.start for one in molecules if one.stretch.contig == "a"}
    assert starts == {*range(24), *range(31, 55)}
    assert {one.start for one in molecules if one.stretch.contig == "b"} == {0, 1}
    for one in molecules:
        place = one.stretch.letters[one.start : one.end]
        assert one.letters == (reverse_complement(place) if one.is_reverse else place)


def test_no_molecule_without_n():
    assert cut_molecule([Stretch("a", 0, b"ACNGT" * 50, "train", is_whole=True)], 6, np.random.default_rng(0)) is None
