"""Tables estimated from reads whose every column is known: the model that made them comes back."""

from dataclasses import replace

import numpy as np
import pytest

from genoformer.genome.aligned_columns import AlignedColumns
from genoformer.genome.error_counts import ErrorCounts
from genoformer.genome.error_estimate import corrected, estimate_model
from genoformer.genome.error_model import TABLES, ErrorModel, draw_conditions, read_template
from genoformer.genome.random_genome import random_genome

QUANTILE_RAMP = np.linspace(5, 60, 17)


def known_model():
    """Rates of real size, with something to find in every table; spreads as large as those of real reads."""
    by_base = np.array([0.04, 0.02, 0.05, 0.03])
    substitution = np.where(np.eye(4), 0, 0.006) + np.zeros((4, 4, 4))
    substitution[:, 2, 3], substitution[1, 0, 3] = 0.03, 0.02
    return ErrorModel(
        deletion=by_base[:, None] * np.linspace(1, 2, 8),
        deletion_before=np.where(np.eye(4), 1, [[1], [1.4], [0.8], [0.8]]),
        deletion_sn_slope=np.array(-0.8),
        substitution=substitution,
        copy=by_base[::-1, None] * np.linspace(1, 0.5, 8),
        insertion=np.where(np.eye(4), 0.03, 0.015),
        insertion_letter=np.array([0.1, 0.2, 0.4, 0.3]),
        insertion_length=np.array([0.8, 0.12, 0.05] + [0.0] * 8 + [0.03]),
        long_insertion_bp=np.array(20.0),
        insertion_same_kind=np.array(0.7),
        merged=np.array(0.6),
        rate_spread=np.array([[0.15, 0.3, 0.1], [0.2, 0.25, 0.2], [0.2, 0.2, 0.3]]),
        kinetics_spread=np.array([[0.05, 0.2], [0.1, 0.15]]),
        sn_log_mean=np.log([5.0, 10, 5, 9]),
        sn_log_sd=np.full(4, 0.2),
        sn_correlation=np.array(0.7),
        pw=np.stack([QUANTILE_RAMP / scale + np.arange(4)[:, None] for scale in (1, 2, 1.2, 3)]),
        ip=np.stack([QUANTILE_RAMP * scale + np.arange(4)[:, None] for scale in (1, 1, 1.1, 1.2, 2)]),
    )


def trimmed(columns):
    """From the first to the last match, as alignments run."""
    matches = np.flatnonzero(columns.template == columns.read)
    kept = slice(matches[0], matches[-1] + 1)
    return AlignedColumns(columns.template[kept], columns.read[kept], columns.kinetics[:, kept])


def simulate(model, num_zmws, bases):
    rng = np.random.default_rng(5)
    counts = ErrorCounts()
    for zmw in range(num_zmws):
        conditions = draw_conditions(model, rng)
        for _ in range(4):
            template = random_genome(bases, rng)
            counts.add_read_(trimmed(read_template(template, conditions, model, rng)), str(zmw), conditions.sn)
    return counts


@pytest.fixture(scope="module")
def known():
    return known_model()


@pytest.fixture(scope="module")
def found(known):
    nothing = ErrorModel(**{name: np.zeros(table.shape) for name, table in TABLES.items()})
    return estimate_model(simulate(known, 80, 4000), nothing)


@pytest.mark.parametrize(
    ("name", "rtol", "atol"),
    [
        ("deletion_sn_slope", 0.15, 0),
        ("insertion", 0.15, 0.002),
        ("insertion_letter", 0.1, 0.01),
        ("insertion_length", 0.1, 0.005),
        ("long_insertion_bp", 0.1, 0),
        ("insertion_same_kind", 0.1, 0),
        ("kinetics_spread", 0.25, 0.01),
        ("sn_log_mean", 0.02, 0),
        ("sn_log_sd", 0.2, 0),
        ("sn_correlation", 0.2, 0),
    ],
)
def test_tables_come_back(known, found, name, rtol, atol):
    np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=rtol, atol=atol)


def test_rate_spreads_come_back(known, found):
    """Deletions differ between ZMWs by their SN, too: by 0.8 times .2 where the channels are bright together."""
    expected = known.rate_spread.copy()
    expected[0, 2] = np.hypot(0.1, 0.8 * 0.2 * np.sqrt(0.7 + 0.3 / 4))
    np.testing.assert_allclose(found.rate_spread, expected, rtol=0.25, atol=0.02)


def test_tables_by_context_come_back(known, found):
    for name, classes in (("deletion", 3), ("copy", 3)):  # longer homopolymers are rare here
        np.testing.assert_allclose(
            getattr(found, name)[:, :classes], getattr(known, name)[:, :classes], rtol=0.2, atol=0.002
        )
    np.testing.assert_allclose(found.deletion_before / known.deletion_before, 1, atol=0.35)
    np.testing.assert_allclose(found.substitution, known.substitution, atol=0.004)


def test_kinetics_come_back(known, found):
    """Medians; a ZMW's and a read's speed widen the rest."""
    np.testing.assert_allclose(found.pw[..., 7], known.pw[..., 7], rtol=0.15, atol=1.5)
    np.testing.assert_allclose(found.ip[:4, :, 7], known.ip[:4, :, 7], rtol=0.15, atol=1.5)
    assert float(found.merged) == pytest.approx(0.6, abs=0.12)


def test_what_reads_do_not_tell_stays(known):
    """No kinetics, no SN, one ZMW."""
    counts, rng = ErrorCounts(), np.random.default_rng(0)
    columns = trimmed(read_template(random_genome(3000, rng), draw_conditions(known, rng), known, rng))
    counts.add_read_(replace(columns, kinetics=np.full_like(columns.kinetics, -1)), "m/1", None)
    found = estimate_model(counts, known)
    for name in ("pw", "ip", "merged", "kinetics_spread", "sn_log_mean", "sn_log_sd", "deletion_sn_slope"):
        assert getattr(found, name) is getattr(known, name)
    assert (found.rate_spread[0] == 0).all()


def test_a_step_moves_rates_by_their_ratio_and_codes_by_their_difference(known):
    wanted = replace(known, copy=np.full((4, 8), 0.03), pw=known.pw + 5)
    came = replace(known, copy=np.full((4, 8), 0.02), pw=known.pw + 4, deletion=np.zeros((4, 8)))
    moved = corrected(replace(known, copy=np.full((4, 8), 0.1)), wanted, came)
    np.testing.assert_allclose(moved.copy, 0.15)
    np.testing.assert_allclose(moved.pw, known.pw + 1)
    np.testing.assert_allclose(moved.deletion, known.deletion)


def test_a_step_is_bounded(known):
    wanted, came = replace(known, merged=np.array(0.9)), replace(known, merged=np.array(0.01))
    assert corrected(known, wanted, came).merged == 1  # twice 0.6 is no probability
    assert corrected(known, came, wanted).merged == pytest.approx(0.3)
    falling = replace(known, ip=known.ip[..., ::-1])
    assert (np.diff(corrected(known, known, falling).ip) >= 0).all()
