import random

import pytest

from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import decode_ccs
from tests.bam_builder import ccs_name, ccs_read, subread
from tests.molecule_reading import read_molecules


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_ccs_reads_in_another_order_are_found_by_name(pair, order):
    zmws = list(range(40))
    reads = [subread(zmw, "ACG", "3=") for zmw in zmws]
    ccs = [ccs_read(zmw, "ACG" + "T" * zmw) for zmw in zmws]
    ccs = ccs[::-1] if order == "reversed" else random.Random(0).sample(ccs, len(ccs))
    molecules, is_indexed = read_molecules(*pair(reads, ccs))
    assert [molecule.zmw for molecule in molecules] == zmws
    assert [len(decode_ccs(molecule.ccs, "").sequence) for molecule in molecules] == [3 + zmw for zmw in zmws]
    assert is_indexed


def test_ccs_reads_without_subreads_are_passed_over(pair):
    reads = [subread(zmw, "ACG", "3=") for zmw in (3, 8, 12)]
    molecules, is_indexed = read_molecules(*pair(reads, [ccs_read(zmw, "ACG") for zmw in range(14)]))
    assert [molecule.zmw for molecule in molecules] == [3, 8, 12]
    assert not is_indexed


@pytest.mark.parametrize(("look_ahead_bytes", "expected"), [(100_000, False), (2_000, True)])
def test_a_ccs_read_beyond_the_look_ahead_is_found_in_an_index(pair, monkeypatch, look_ahead_bytes, expected):
    monkeypatch.setattr("genoformer.io.ccs_finder._LOOK_AHEAD_BYTES", look_ahead_bytes)
    reads = [subread(zmw, "ACG", "3=") for zmw in (1, 90, 91)]
    ccs = [ccs_read(zmw, "ACGTACGTAC" * 10) for zmw in range(100)]
    molecules, is_indexed = read_molecules(*pair(reads, ccs))
    assert [molecule.zmw for molecule in molecules] == [1, 90, 91]
    assert is_indexed == expected


def test_files_in_step_never_need_an_index(pair, monkeypatch):
    monkeypatch.setattr("genoformer.io.ccs_finder._LOOK_AHEAD_BYTES", 2_000)
    ccs = [ccs_read(zmw, "ACGTACGTAC" * 10) for zmw in range(100)]
    molecules, is_indexed = read_molecules(*pair([subread(zmw, "ACG", "3=") for zmw in range(100)], ccs))
    assert [molecule.zmw for molecule in molecules] == list(range(100))
    assert not is_indexed


def test_a_name_that_is_not_in_the_file(pair):
    _, path = pair([], [ccs_read(7, "ACG")])
    with CcsFinder(path) as ccs:
        assert ccs.find(b"m/1/ccs") is None
        assert ccs.find(ccs_name(7).encode()) is not None
        assert ccs.header.num_references == 0
