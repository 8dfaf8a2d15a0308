import random
import sys

import pytest

from genoformer.errors import UsageError
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


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyabpoa", None)
    with pytest.raises(UsageError, match=r"pyabpoa is not installed, and drafts need it; run: pip install 'genoformer"):
        partial_order_version()


def test_version(pyabpoa):
    assert partial_order_version().startswith("pyabpoa 1.")
