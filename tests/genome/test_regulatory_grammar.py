import re

import numpy as np
import pytest

from genoformer.genome.alphabet import reverse_complement
from genoformer.genome.regulatory_grammar import is_core_position, plant

PATTERNS = {
    "TATA": "TATA[AT]AAG", "INR": "TCA[GT]TCTC", "GCBOX": "GGGCGG[AG]G", "A1": "[AT]GATAAGC", "A2": "CAGCTGT[CT]",
    "B1": "[AG]TTACGTA", "B2": "TGA[CG]TCAT",
}  # fmt: skip


@pytest.fixture(scope="module")
def contig():
    letters = bytes(np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), 400_000))
    return letters, *plant(letters, np.random.default_rng(2))


def word(planted, site):
    found = planted[site.start : site.end]
    return (found if site.strand == "+" else reverse_complement(found)).decode()


def downstream(element, site):
    """First base of a site from the element's position, in the element's direction."""
    return site.start - element.position if element.strand == "+" else element.position - (site.end - 1)


def test_sites_are_written_as_they_are_listed(contig):
    letters, planted, elements = contig
    changed = np.flatnonzero(np.frombuffer(letters, np.uint8) != np.frombuffer(planted, np.uint8))
    inside = np.zeros(len(letters), bool)
    num_broken = 0
    for element in elements:
        for site in element.sites:
            assert not inside[site.start : site.end].any()
            inside[site.start : site.end] = True
            is_whole = re.fullmatch(PATTERNS[site.motif], word(planted, site)) is not None
            assert is_whole == (site.broken_at is None)
            num_broken += not is_whole
    assert inside[changed].all()
    assert 0.2 < num_broken / len(elements) < 0.4


def test_a_broken_site_differs_in_the_base_that_is_named(contig):
    _, planted, elements = contig
    sites = [site for element in elements for site in element.sites if site.broken_at is not None]
    assert sites
    for site in sites:
        repaired = {planted[: site.broken_at] + bytes([letter]) + planted[site.broken_at + 1 :] for letter in b"ACGT"}
        assert any(re.fullmatch(PATTERNS[site.motif], word(letters, site)) for letters in repaired)


def test_order_orientation_and_spacing(contig):
    _, _, elements = contig
    kinds = {element.kind for element in elements}
    assert kinds == {"promoter", "enhancer_A", "enhancer_B"}
    for element in elements:
        first, second, *boxes = element.sites
        assert first.strand == second.strand == element.strand
        between = downstream(element, second) - downstream(element, first) - 8
        if element.kind == "promoter":
            assert (first.motif, second.motif) == ("TATA", "INR")
            assert -35 <= downstream(element, first) <= -31
            assert (21 <= between <= 25) != element.is_misplaced
            for box, place in zip(boxes, (-62, -86), strict=False):
                assert box.motif == "GCBOX"
                assert abs(downstream(element, box) - place) <= 5
        else:
            assert (first.motif, second.motif) == {"enhancer_A": ("A1", "A2"), "enhancer_B": ("B1", "B2")}[element.kind]
            assert (6 <= between <= 14) != element.is_misplaced
            assert not boxes
    strands = [box.strand == element.strand for element in elements for box in element.sites[2:]]
    assert 0.3 < np.mean(strands) < 0.7


def test_elements_keep_their_distance_and_density(contig):
    letters, _, elements = contig
    positions = [element.position for element in elements]
    assert positions == sorted(positions)
    assert min(np.diff(positions)) >= 220
    promoters = [element for element in elements if element.kind == "promoter"]
    assert len(letters) / 3200 < len(promoters) < len(letters) / 1800


def test_core_positions():
    assert [offset for offset in range(8) if not is_core_position("TATA", offset)] == [4]
    assert [offset for offset in range(8) if not is_core_position("A2", offset)] == [7]
