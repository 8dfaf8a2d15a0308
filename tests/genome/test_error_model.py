"""Simulated reads against the measurements on real ones (84 subreads, six ZMWs), measured in the same way."""

import re

import numpy as np
import pytest
from Bio.Align import PairwiseAligner

from genoformer.genome.error_model import ErrorConditions, deletion_prob, draw_conditions, read_template
from genoformer.genome.gapped import GAP
from genoformer.genome.random_molecule import random_molecule

SN = np.array([5.5, 10.0, 4.9, 8.4])
ACGT = np.frombuffer(b"ACGT", np.uint8)


def columns(pair):
    return np.frombuffer(pair.ref, np.uint8), np.frombuffer(pair.read, np.uint8)


@pytest.fixture(scope="module")
def passes():
    """150 passes, each of its own ZMW, over molecules of 1,500 bases: (molecule, read)."""
    rng = np.random.default_rng(11)
    molecules = [random_molecule(1500, rng) for _ in range(150)]
    return [(molecule, read_template(molecule, draw_conditions(rng), rng)) for molecule in molecules]


@pytest.fixture(scope="module")
def pooled(passes):
    """Template and read rows of all passes, and PW and IP by column (-1 where the read has a gap)."""
    ref, read = (np.concatenate(rows) for rows in zip(*(columns(one.pair) for _, one in passes), strict=True))
    kinetics = np.full((2, len(ref)), -1)
    kinetics[0, read != GAP] = np.concatenate([one.pw for _, one in passes])
    kinetics[1, read != GAP] = np.concatenate([one.ip for _, one in passes])
    return ref, read, kinetics[0], kinetics[1]


def test_shapes_and_letters(passes):
    for molecule, one in passes[:10]:
        assert one.pair.ref.replace(b"-", b"") == molecule
        num_bases = len(one.pair.read.replace(b"-", b""))
        assert len(one.pair.ref) == len(one.pair.read)
        assert one.pw.shape == one.ip.shape == (num_bases,)
        assert one.pw.dtype == one.ip.dtype == np.uint8
        assert not any(a == b == GAP for a, b in zip(one.pair.ref, one.pair.read, strict=True))


def test_an_aligner_counts_the_errors_of_real_reads(passes):
    """Real: .1206 edits a template base, and .0333 more inserted than deleted bases."""
    aligner = PairwiseAligner(mode="global", match_score=0, mismatch_score=-1, gap_score=-1)
    template = sum(len(molecule) for molecule, _ in passes)
    reads = [one.pair.read.replace(b"-", b"") for _, one in passes]
    edits = -sum(aligner.score(molecule, read) for (molecule, _), read in zip(passes[:40], reads[:40], strict=True))
    assert edits / sum(len(molecule) for molecule, _ in passes[:40]) == pytest.approx(0.1206, rel=0.1)
    assert (sum(map(len, reads)) - template) / template == pytest.approx(0.0333, abs=0.005)


def test_error_rates_spread_between_reads(passes):
    """Real quantiles 10/50/90 %: .087, .102, .178 (of 84 reads of only six ZMWs)."""
    rates = [np.not_equal(*columns(one.pair)).sum() / len(molecule) for molecule, one in passes]
    low, middle, high = np.quantile(rates, [0.1, 0.5, 0.9])
    assert 0.07 < low < 0.1
    assert 0.1 < middle < 0.14
    assert 0.16 < high < 0.21


def test_substitutions_by_base(pooled):
    """Real: a C is misread least (.013), a G most (.035) and then as T in four of five cases."""
    ref, read, _, _ = pooled
    counts = np.array([[((ref == a) & (read == b)).sum() for b in ACGT] for a in ACGT])
    wrong = counts.sum(axis=1) - counts.diagonal()
    rate = wrong / counts.sum(axis=1)
    np.testing.assert_allclose(rate / rate.mean(), np.array([0.026, 0.012, 0.035, 0.014]) / 0.02175, atol=0.12)
    np.testing.assert_allclose(counts[2, [0, 1, 3]] / wrong[2], [0.143, 0.057, 0.8], atol=0.03)


def test_deletion_prob_by_hand():
    """.052 at SN 4.5 falls to .023 at SN 9 (2 ** -1.17); .042 / .024 between a base in a run and one alone."""
    at = deletion_prob(np.array([0, 0, 0, 1]), np.array([1, 2, 100, 1]), np.array([4.5, 9.0, 5.0, 5.0]))
    assert at[0] / at[3] == pytest.approx(2**1.17)
    assert at[1] / at[0] == pytest.approx(0.042 / 0.024)
    assert at[2] / at[0] == pytest.approx(0.052 / 0.024)
    assert at[0] == pytest.approx(1.42 * np.exp(-1.27) * 4.5**-1.17 * 0.024 / 0.0333)


def test_deletions_follow_the_channel_and_the_run():
    rng = np.random.default_rng(2)
    reads = [read_template(b"ACTTTG" * 400, ErrorConditions(SN, 1.0), rng) for _ in range(40)]
    ref, read = (np.concatenate(rows) for rows in zip(*(columns(one.pair) for one in reads), strict=True))
    rate = [((ref == base) & (read == GAP)).sum() / (ref == base).sum() for base in ACGT]
    expected = deletion_prob(np.arange(4), np.array([1, 1, 1, 3]), SN)
    np.testing.assert_allclose(rate, expected, rtol=0.12)


def test_insertion_lengths(pooled):
    """Real: .841, .106, .027, .011 of the events have 1, 2, 3, 4 bases; one in 270 has ten or more."""
    ref = pooled[0]
    lengths = np.array([len(run) for run in re.findall(rb"-+", ref.tobytes())])
    shares = [(lengths == n).mean() for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, [0.841, 0.106, 0.027, 0.011], atol=0.008)
    assert 0.002 < (lengths >= 10).mean() < 0.006
    assert lengths.max() <= 102


def test_inserted_bases_resemble_their_neighbours(pooled):
    """36 % copy one, and of the rest each equals one by chance; an aligner then sees the 57 % of real reads."""
    ref, read, _, _ = pooled
    at = np.flatnonzero(ref == GAP)[1:-1]
    at = at[(ref[at - 1] != GAP) & (ref[at + 1] != GAP)]
    prob = dict(zip(ACGT.tolist(), (0.25, 0.15, 0.30, 0.30), strict=True))
    by_chance = np.mean([sum(prob[base] for base in {a, b}) for a, b in zip(ref[at - 1], ref[at + 1], strict=True)])
    found = ((read[at] == ref[at - 1]) | (read[at] == ref[at + 1])).mean()
    assert found == pytest.approx(0.36 + 0.64 * by_chance, abs=0.012)


@pytest.mark.parametrize(
    ("kind", "pw_mean", "ip_mean"),
    [("correct", 16.6, 17.3), ("substitution", 9.1, 18.9), ("like a neighbour", 15.1, 20.6), ("random", 8.9, 23.7)],
)
def test_kinetics_by_kind(pooled, kind, pw_mean, ip_mean):
    """The means of the real codes."""
    ref, read, pw, ip = pooled
    template = np.flatnonzero(ref != GAP)
    following = np.minimum(np.searchsorted(template, np.arange(len(ref))), len(template) - 1)
    like_neighbour = (read == ref[template[following]]) | (read == ref[template[np.maximum(following - 1, 0)]])
    of_kind = {
        "correct": ref == read,
        "substitution": (ref != read) & (ref != GAP) & (read != GAP),
        "like a neighbour": (ref == GAP) & like_neighbour,
        "random": (ref == GAP) & ~like_neighbour,
    }[kind]
    assert pw[of_kind].mean() == pytest.approx(pw_mean, rel=0.07)
    assert ip[of_kind].mean() == pytest.approx(ip_mean, rel=0.09)


def test_pulse_widths_of_correct_bases(pooled):
    """Real means A/C/G/T: 14.6, 21.9, 18.3, 13.5; quantiles 10/50/90 %: 4, 12, 34."""
    ref, read, pw, _ = pooled
    means = [pw[(ref == base) & (read == base)].mean() for base in ACGT]
    np.testing.assert_allclose(means, [14.6, 21.9, 18.3, 13.5], rtol=0.03)
    np.testing.assert_allclose(np.quantile(pw[ref == read], [0.1, 0.5, 0.9]), [4, 12, 34], atol=1)


def test_the_base_after_a_lone_deletion_comes_late(pooled):
    """Real: mean 35.0 against 17.3. In a run nobody can tell which base is missing, and nothing shows."""
    ref, read, _, ip = pooled
    in_run = (ref == np.roll(ref, 1)) | (ref == np.roll(ref, -1))
    at = np.flatnonzero((read == GAP) & (np.roll(ref, 1) != GAP) & (np.roll(ref, -1) != GAP))[:-1]
    lone, of_run = at[~in_run[at]], at[in_run[at]]
    lone, of_run = (places[ref[places + 1] == read[places + 1]] for places in (lone, of_run))
    assert ip[lone + 1].mean() == pytest.approx(35.0, rel=0.08)
    assert ip[of_run + 1].mean() == pytest.approx(17.3, rel=0.1)
    assert ip[lone - 1][read[lone - 1] != GAP].mean() == pytest.approx(17.3, rel=0.1)


def test_conditions_stay_in_the_measured_ranges():
    rng = np.random.default_rng(0)
    drawn = [draw_conditions(rng) for _ in range(2000)]
    sn = np.array([one.sn for one in drawn])
    assert (sn >= [4.4, 8.2, 4.2, 7.2]).all()
    assert (sn <= [7.0, 13.0, 5.7, 9.8]).all()
    assert np.corrcoef(sn[:, 0], sn[:, 1])[0, 1] == pytest.approx(0.5, abs=0.06)
    assert np.mean([one.rate for one in drawn]) == pytest.approx(1, abs=0.02)


def test_the_shortest_template():
    one = read_template(b"A", ErrorConditions(SN, 1.0), np.random.default_rng(0))
    assert one.pair.ref.replace(b"-", b"") == b"A"
