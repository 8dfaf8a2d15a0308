"""Draws from tables made by hand: each table alone, the others at zero."""

import re
from dataclasses import replace

import numpy as np
import pytest

from genoformer.genome.aligned_columns import GAP_CODE
from genoformer.genome.error_model import (
    QUANTILES,
    TABLES,
    ErrorConditions,
    ErrorModel,
    draw_conditions,
    read_template,
    run_lengths,
)

ACGT = "ACGT"
SN = np.array([5.0, 10.0, 5.0, 9.0])
CALM = ErrorConditions(SN, np.ones(3), np.ones(2))
RAMP = np.linspace(10, 20, len(QUANTILES))


def tables(**changes):
    zeros = {name: np.zeros(table.shape) for name, table in TABLES.items()}
    usual = {
        "deletion_before": np.ones((4, 4)), "sn_log_mean": np.log(SN), "insertion_letter": np.ones(4),
        "insertion_length": np.eye(12)[0], "long_insertion_bp": np.array(20.0), "pw": np.full((4, 4, 17), 7.0),
        "ip": np.full((5, 4, 17), 3.0),
    }  # fmt: skip
    return zeros | usual | {name: np.asarray(value, dtype=float) for name, value in changes.items()}


def model(**changes):
    return ErrorModel(**tables(**changes))


def read(template, error_model, conditions=CALM, seed=0):
    return read_template(template, conditions, error_model, np.random.default_rng(seed))


def rows(columns):
    letters = np.frombuffer(b"ACGT-", np.uint8)
    return letters[columns.template].tobytes().decode(), letters[columns.read].tobytes().decode()


def test_without_errors_the_read_is_the_template():
    one = read(b"ACGTTTAC", model())
    assert rows(one) == ("ACGTTTAC", "ACGTTTAC")
    assert one.kinetics.tolist() == [[7] * 8, [3] * 8]


def test_the_shortest_template():
    assert read(b"A", model()).sequence == b"A"
    assert read(b"A", model(deletion=np.full((4, 8), 0.5)), seed=3).sequence in (b"", b"A")


def test_deletions_by_base_and_run():
    deletion = np.zeros((4, 8))
    deletion[0, 0], deletion[1, 1], deletion[3, 7] = 0.1, 0.2, 0.3
    top, bottom = rows(read(b"GACCGT" * 4000 + b"G" + b"T" * 9000, model(deletion=deletion)))
    assert (top.count("-"), top.count("A")) == (0, 4000)
    lost = {base: [a for a, b in zip(top, bottom, strict=True) if b == "-"].count(base) for base in ACGT}
    assert lost["A"] / 4000 == pytest.approx(0.1, abs=0.015)
    assert lost["C"] / 8000 == pytest.approx(0.2, abs=0.015)
    assert lost["G"] == 0
    assert lost["T"] / 9000 == pytest.approx(0.3, abs=0.015)


def test_deletions_by_the_base_before_and_the_channel():
    """Half as often after C; doubled in a channel of a quarter of the mean SN with slope -0.5."""
    before = np.ones((4, 4))
    before[1, 0] = 0.5
    deletion = np.zeros((4, 8))
    deletion[0] = 0.1
    dim = replace(CALM, sn=SN * [0.25, 1, 1, 1])
    one = read(b"CAGA" * 10_000, model(deletion=deletion, deletion_before=before, deletion_sn_slope=-0.5), dim)
    missed = (one.read == GAP_CODE).reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(missed, [0, 0.1, 0, 0.2], atol=0.01)


def test_substitutions_by_context():
    substitution = np.zeros((4, 4, 4))
    substitution[1, 0] = [0, 0, 0.1, 0.2]  # CA is read as CG or CT
    _, bottom = rows(read(b"CAGA" * 10_000, model(substitution=substitution)))
    pairs = re.findall("..", bottom)
    assert set(pairs) == {"CA", "CG", "CT", "GA"}
    assert pairs.count("CG") / 10_000 == pytest.approx(0.1, abs=0.01)
    assert pairs.count("CT") / 10_000 == pytest.approx(0.2, abs=0.012)


def test_copies_and_other_insertions():
    """Before A after C: a copy in 20 %, in 10 % another letter, which is G, or T three times as often."""
    copy, insertion = np.zeros((4, 8)), np.zeros((4, 4))
    copy[0, 0], insertion[1, 0] = 0.2, 0.1
    one = read(b"CA" * 10_000, model(copy=copy, insertion=insertion, insertion_letter=[0.9, 0.9, 0.1, 0.3]))
    top, bottom = rows(one)
    inserted = [b for a, b in zip(top, bottom, strict=True) if a == "-"]
    assert inserted.count("A") / 10_000 == pytest.approx(0.2, abs=0.012)
    assert inserted.count("C") == 0
    assert (inserted.count("G") + inserted.count("T")) / 10_000 == pytest.approx(0.1, abs=0.01)
    assert inserted.count("T") / inserted.count("G") == pytest.approx(3, rel=0.2)


def test_insertion_lengths():
    lengths = np.zeros(12)
    lengths[[0, 2, 11]] = 0.5, 0.25, 0.25
    insertion = np.full((4, 4), 0.05)
    top, _ = rows(read(b"CA" * 20_000, model(insertion=insertion, insertion_length=lengths, long_insertion_bp=15)))
    found = np.array([len(gap) for gap in re.findall("-+", top)])
    assert (found == 1).mean() == pytest.approx(0.5, abs=0.04)
    assert (found == 3).mean() == pytest.approx(0.25, abs=0.04)
    assert found[found > 3].min() == 12
    assert found[found > 3].mean() == pytest.approx(15, abs=0.6)


def test_letters_of_a_long_insertion_keep_their_kind_or_change_it():
    lengths = np.eye(12)[1]
    for same_kind, expected in ((1.0, {"AA"}), (0.0, {"GA", "TA"})):
        changes = {"copy": np.eye(4)[0][:, None] * np.full(8, 0.2), "insertion_length": lengths}
        top, bottom = rows(read(b"CA" * 500, model(insertion_same_kind=same_kind, **changes)))
        assert {bottom[gap.start() : gap.end()] for gap in re.finditer("--", top)} == expected


def test_kinetics_by_kind_and_base():
    """PW: correct 7, substituted 20, copy and the copied base 40, others 60, by the base that is read: + 0 to 3."""
    pw = np.array([7.0, 20, 40, 60])[:, None, None] + np.arange(4)[:, None] + np.zeros(17)
    changes = {
        "copy": np.full((4, 8), 0.1), "insertion": np.full((4, 4), 0.1),
        "substitution": np.where(np.eye(4), 0, 0.05) + np.zeros((4, 4, 4)),
    }  # fmt: skip
    one = read(b"CATG" * 500, model(pw=pw, **changes))
    columns = list(zip(one.template.tolist(), one.read.tolist(), one.kinetics[0].tolist(), strict=True))
    copied = {at + 1 for at, (a, b, _) in enumerate(columns[:-1]) if a == GAP_CODE and b == columns[at + 1][0]}
    for at, (a, b, code) in enumerate(columns):
        kind = 20 if b != a else 40 if at in copied else 7
        if a == GAP_CODE:
            kind = 40 if b == columns[at + 1][0] else 60
        assert code == kind + b
    assert {code - b for _, b, code in columns} == {7, 20, 40, 60}


def test_the_base_after_a_missing_one_comes_late():
    ip = np.full((5, 4, 17), 3.0)
    ip[4] = 50
    deletion = np.zeros((4, 8))
    deletion[1] = 0.2
    one = read(b"ACG" * 300, model(ip=ip, deletion=deletion))
    after = np.flatnonzero(one.read == GAP_CODE) + 1
    late = np.zeros(len(one.read), bool)
    late[after] = True
    assert set(one.kinetics[1, late].tolist()) == {50}
    assert set(one.kinetics[1, ~late & (one.read != GAP_CODE)].tolist()) == {3}


def test_merged_pulses_are_as_wide_as_both():
    deletion = np.zeros((4, 8))
    deletion[1] = 0.2
    one = read(b"ACCG" * 1000, model(deletion=deletion, merged=1.0, ip=np.full((5, 4, 17), 3.0)))
    pairs, pw = one.read.reshape(-1, 4)[:, 1:3], one.kinetics[0].reshape(-1, 4)[:, 1:3]
    is_read = pairs != GAP_CODE
    assert set(pw[is_read.all(axis=1)].ravel().tolist()) == {7}
    assert set(pw[is_read & (is_read.sum(axis=1, keepdims=True) == 1)].tolist()) == {14}
    assert set(one.kinetics[1].tolist()) == {3, -1}


def test_codes_follow_their_quantiles():
    """A line from 10 at 0 to 20 at 1 over the quantiles' ranks."""
    one = read(b"ACGT" * 5000, model(pw=np.zeros((4, 4, 1)) + RAMP))
    found = np.quantile(one.kinetics[0], [0, 0.1, 0.5, 0.9, 1])
    np.testing.assert_allclose(found, np.interp([0, 0.1, 0.5, 0.9, 1], QUANTILES, RAMP), atol=0.51)


def test_codes_end_at_255():
    one = read(b"ACGT" * 10, model(pw=np.full((4, 4, 17), 200.0)), replace(CALM, kinetics=np.array([2.0, 0.0])))
    assert one.kinetics.tolist() == [[255] * 40, [0] * 40]


def test_conditions_spread_as_the_tables_say():
    spread = np.array([[0.1, 0.3, 0.2], [0, 0, 0], [0, 0, 0]])
    changes = {"rate_spread": spread, "kinetics_spread": [[0.05, 0.25], [0, 0]]}
    error_model = model(sn_log_sd=np.full(4, 0.2), sn_correlation=0.8, **changes)
    rng = np.random.default_rng(0)
    drawn = [draw_conditions(error_model, rng) for _ in range(4000)]
    rate, sn = np.array([one.rate for one in drawn]), np.log([one.sn for one in drawn])
    np.testing.assert_allclose(rate.mean(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(np.log(rate).std(axis=0), spread[0], rtol=0.05)
    np.testing.assert_allclose(np.log([one.kinetics for one in drawn]).std(axis=0), [0.05, 0.25], rtol=0.05)
    np.testing.assert_allclose(sn.mean(axis=0), np.log(SN), atol=0.02)
    assert np.abs(sn - np.log(SN)).max() <= 0.4 + 1e-9
    assert np.corrcoef(sn[:, 0], sn[:, 1])[0, 1] == pytest.approx(0.8, abs=0.04)


def test_mirrored_conditions():
    error_model = model(rate_spread=np.full((3, 3), 0.3), kinetics_spread=np.full((2, 2), 0.2))
    one = draw_conditions(error_model, np.random.default_rng(1))
    other = one.mirrored(error_model)
    np.testing.assert_allclose(np.log(one.rate) + np.log(other.rate), -(0.3**2))
    np.testing.assert_allclose(one.sn * other.sn, SN**2)
    np.testing.assert_allclose(other.mirrored(error_model).kinetics, one.kinetics)


def test_rates_differ_between_windows_of_a_read():
    deletion = np.full((4, 8), 0.1)
    spread = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0.8]])
    one = read(b"ACGT" * 25_000, model(deletion=deletion, rate_spread=spread))
    counts = (one.read == GAP_CODE).reshape(-1, 100).sum(axis=1)
    assert counts.var() > 3 * counts.mean()
    assert counts.mean() == pytest.approx(10, rel=0.1)


def test_run_lengths():
    assert run_lengths(np.array([0, 1, 1, 1, 0, 0])).tolist() == [1, 3, 3, 3, 2, 2]
    assert run_lengths(np.zeros(0, np.uint8)).tolist() == []


def test_tables_as_lists_and_back():
    one = model(deletion=np.full((4, 8), 0.123456789))
    lists = one.to_dict()
    assert lists["deletion"][3] == [0.12346] * 8
    again = ErrorModel.from_dict(lists)
    for name in TABLES:
        np.testing.assert_allclose(getattr(again, name), getattr(one, name), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"copy": None}, "table 'copy' is missing; expected deletion, deletion_before, "),
        ({"colour": 1}, "table 'colour' is unknown"),
        ({"merged": "half"}, r"table 'merged' is not of numbers in shape \[\]"),
        ({"insertion": [[0.1, 0.1], [0.1]]}, r"table 'insertion' is not of numbers in shape \[4, 4\]"),
        ({"insertion": [[0.1] * 4] * 3}, r"table 'insertion' has shape \[3, 4\]; expected \[4, 4\]"),
        ({"merged": 1.5}, "table 'merged' has values from 1.5 to 1.5; expected 0 to 1"),
        ({"merged": float("nan")}, "table 'merged' has values from nan to nan"),
        ({"insertion_letter": [0, 1, 1, 1]}, "table 'insertion_letter' has values from 0 to 1; expected 1e-06 to 1"),
        ({"insertion_length": [0] * 12}, "table 'insertion_length' has only zeros"),
        ({"pw": [[[9.0] * 16 + [8.0]] * 4] * 4}, "table 'pw': codes fall"),
    ],
)
def test_tables_that_cannot_be(changes, message):
    lists = {name: value.tolist() for name, value in tables().items()} | changes
    with pytest.raises(ValueError, match=message):
        ErrorModel.from_dict({name: value for name, value in lists.items() if value is not None})
