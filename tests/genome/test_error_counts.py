"""Counts of alignments written out by hand."""

import numpy as np

from genoformer.genome.aligned_columns import AlignedColumns, base_codes
from genoformer.genome.error_counts import ErrorCounts
from genoformer.genome.error_model import AFTER_DELETION, COPIED, CORRECT, RANDOM, SUBSTITUTED

A, C, G, T = range(4)


def columns(template, read, pw=None):
    rows = [np.where(base_codes(row.encode()) > 4, 4, base_codes(row.encode())) for row in (template, read)]
    kinetics = np.full((2, len(template)), -1)
    if pw is not None:
        kinetics[0], kinetics[1] = pw, np.arange(len(template))
        kinetics[:, rows[1] == 4] = -1
    return AlignedColumns(rows[0], rows[1], kinetics)


def count(template, read, pw=None):
    counts = ErrorCounts()
    counts.add_read_(columns(template, read, pw), "m/1", np.array([5.0, 10, 5, 9]))
    return counts


def cells(table):
    return {tuple(place): table[tuple(place)] for place in np.argwhere(table).tolist()}


def test_bases_and_deletions_by_run():
    counts = count("ACCGTTTA", "AC-GTTTA")
    assert cells(counts.run_bases) == {(A, 0): 2, (C, 1): 2, (G, 0): 1, (T, 2): 3}
    assert cells(counts.run_missed) == {(C, 1): 1}
    assert cells(counts.lone_bases) == {(C, G): 1, (T, A): 1}
    assert cells(counts.lone_missed) == {}


def test_a_lone_deletion_and_a_substitution():
    counts = count("ACGTA", "A-GCA")
    assert cells(counts.lone_missed) == {(A, C): 1}
    assert cells(counts.read_as) == {(A, A, A): 1, (C, G, G): 1, (G, T, C): 1, (T, A, A): 1}


def test_insertions():
    """A copy of T before the two; before the last A, two letters of which the one beside it is another."""
    counts = count("AC-TTG--A", "ACTTTGACA")
    assert cells(counts.run_copies) == {(T, 1): 1}
    assert cells(counts.inserted_between) == {(G, A): 1}
    assert counts.between.sum() == 5
    assert counts.insertion_lengths.tolist() == [1, 1] + [0] * 10
    assert counts.pairs_inserted.tolist() == [0, 1]
    assert counts.other_letters.sum() == 0


def test_letters_and_long_insertions():
    counts = count("AC-G" + "-" * 14 + "AC--G", "ACTG" + "T" * 14 + "ACTTG")
    assert cells(counts.other_letters) == {(C, G, T): 1}
    assert counts.long_insertions.tolist() == [14, 1]
    assert counts.insertion_lengths[[0, 1, 11]].tolist() == [1, 1, 1]
    assert counts.pairs_inserted.tolist() == [1, 1]


def test_kinds_of_bases():
    """C stands before a missing G; GG is a copy and its base; a T is inserted, an A read as C."""
    template, read = "TCGA-GT-ACA", "TC-AGGTGACC"
    counts = count(template, read, pw=range(10, 21))
    kinds = {place[2]: place[0] for place in np.argwhere(counts.pw).tolist()}
    expected = [CORRECT, CORRECT, None, CORRECT, COPIED, COPIED, CORRECT, RANDOM, CORRECT, CORRECT, SUBSTITUTED]
    assert kinds == {10 + at: kind for at, kind in enumerate(expected) if kind is not None}
    late = np.argwhere(counts.ip[AFTER_DELETION])
    assert late.tolist() == [[A, 3]]


def test_homopolymers_with_one_base_missing():
    """CC is read as one of PW 30; AAA has a mismatch, TT an insertion beside the gap: neither counts."""
    counts = count("GCCGAAAG-TTG", "G-CG-CAGATTG", pw=[1, 1, 30, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert counts.short_runs.tolist() == [[0, 0, 0], [30, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_rates_of_a_read():
    template = "ACGT" * 60
    counts = count(template, "ATGT" + "-CGT" + template[8:], pw=[4] * 240)
    [read] = counts.reads
    assert (read.zmw, read.num_bases, read.events.tolist()) == ("m/1", 240, [1, 0, 1])
    assert read.windows.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert read.kinetics[0] == 4
    assert read.base_deletions.tolist() == [[1, 60], [0, 60], [0, 60], [0, 60]]


def test_without_kinetics():
    counts = count("ACGT", "ACGT")
    assert counts.pw.sum() == counts.ip.sum() == 0
    assert counts.reads[0].kinetics is None
