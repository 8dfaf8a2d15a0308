import random
import subprocess
import sys

import pytest

from genoformer.errors import UsageError
from genoformer.io import partial_order
from genoformer.io.partial_order import partial_order_consensus, partial_order_version
from tests.align_inputs import noisy, random_sequence


@pytest.fixture
def pyabpoa():
    return pytest.importorskip("pyabpoa")


def test_the_letter_that_most_passes_have(pyabpoa):
    assert partial_order_consensus([b"ACGTTACCAGT", b"ACGTACCAGT", b"ACGTTACGAGT"]) == b"ACGTTACCAGT"


def test_the_same_passes_give_the_same_consensus(pyabpoa):
    rng = random.Random(1)
    truth = random_sequence(rng, 800)
    passes = [noisy(rng, truth).encode() for _ in range(6)]
    found = {partial_order_consensus(passes) for _ in range(5)}
    assert len(found) == 1
    assert abs(len(found.pop()) - len(truth)) < 20


def test_where_it_dies_the_later_passes_decide(pyabpoa, monkeypatch):
    passes = [b"ACGTTACCAGT"] * 2 + [b"ACGTTACGAGT"] * 2
    assert partial_order_consensus([b"AC", *passes[:1]]) != b""
    real = partial_order._start
    starts = []

    def dying_once():
        starts.append(1)
        return (
            real()
            if len(starts) > 1
            else subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )

    monkeypatch.setattr(partial_order, "_start", dying_once)
    server = partial_order._Server()
    monkeypatch.setattr(partial_order, "_server", lambda owner: server)
    assert partial_order_consensus([b"TTTTTTTTTT", *passes[2:]]) == b"ACGTTACGAGT"
    assert len(starts) == 2
    server.close()


def test_one_pass_is_its_own_consensus():
    assert partial_order_consensus([b"ACGT"]) == b"ACGT"


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyabpoa", None)
    with pytest.raises(UsageError, match=r"pyabpoa is not installed, and drafts need it; run: pip install 'genoformer"):
        partial_order_version()


def test_version(pyabpoa):
    assert partial_order_version().startswith("pyabpoa 1.")


def test_passes_whose_alignment_leaves_a_narrow_band():
    """Four simulated passes at which abPOA with its own band ends the process."""
    pytest.importorskip("pyabpoa")
    passes = [
        b"TCAAATAGAAGATTGTTTTAAACCCTGAAAATTTTTGTTCTACACAGTAAATAGACTGCCTCATAAATTGGGATTTATTGTTATCATCAATGAAAGCTTAGTTTTTTTAACATAA"
        b"AATACGGTATCAAAGAATAAACAAAAACCTCGCGTTTTTCTAAAAATGA",
        b"TCAAAAGAGAAGATTGTTTTTAAACATGGAAATTTTTTGTTCAACCACAGGAAATAGACTGCCACTCGATGAAATTGGGATTTTATTGGATCATCAAATGAACGCTTTTAACTAA"
        b"ATAACGAGTTCAAATATAAACAAAAACCTCGCGTTTTTCTAAAAATATA",
        b"TCAAATATGAAGATTTTTTAACCATGGAAATTTACTGCTCACACAGGAAATAAGAACTGCACCTTCCCATGAAATTGGGATTTATTGATTAATAATTGAAAGTTTAACTAAATAC"
        b"GAGTATCAAAAAAGATAAACAAAAACCTCCGGCGTTTTCTTAAAAAAATTA",
        b"TCAAATAGAAAGGATTTTTTAACCATGGAAATTTGTTGTTTTTGAGGAATTCACGTAACAGGAATAGGACTGCAACTCATGAAATTGGATTTTTGATCATCAATGAAAAGCGATTT"
        b"AACTAAATACGATATCAAAGATAAAACAAAACCTCGCGTTTCTAAAAATTA",
    ]
    assert 140 < len(partial_order_consensus(passes)) < 180
