import random

import numpy as np
import pytest

from genoformer.genome.quality import error_prob
from genoformer.io.bam import BamReader
from genoformer.io.raw_subreads import RawSubread, decode_raw_subread, iterate_raw_zmws
from genoformer.workflows.draft_zmw import MAX_PARTIAL_ORDER_PASSES, DraftSettings, best_passes, draft_molecule
from tests.align_inputs import noisy, random_sequence, records_of, reverse_complement, write_as_sequenced

edlib = pytest.importorskip("edlib")
pytest.importorskip("mappy")
pytest.importorskip("pyabpoa")

CCS_ERRORS = {4194375: 58, 4194381: 13, 4194382: 56, 4194383: 3, 4194384: 9, 4194388: 45}  # 184 in all


def raw(sequence, is_full=True):
    nothing = np.zeros(len(sequence), np.uint8)
    return RawSubread(sequence.encode(), nothing, nothing, np.zeros(4, np.float32), is_full)


def simulated(seed, length, num_passes):
    rng = random.Random(seed)
    truth = random_sequence(rng, length)
    passes = [noisy(rng, truth) for _ in range(num_passes)]
    return truth, [raw(reverse_complement(one) if number % 2 else one) for number, one in enumerate(passes)]


def num_errors(draft, truth):
    """Edit distance to the truth on its better strand; bases of the draft beyond its ends are free."""
    strands = (draft.decode(), reverse_complement(draft.decode()))
    return min(edlib.align(truth, strand, mode="HW")["editDistance"] for strand in strands)


def test_the_draft_is_nearer_to_the_truth_than_any_pass():
    truth, subreads = simulated(1, 2000, 8)
    draft = draft_molecule(subreads)
    assert num_errors(draft.sequence, truth) <= 2
    assert num_errors(subreads[0].sequence, truth) > 150
    assert draft.num_passes == 8
    assert draft.effective_coverage == pytest.approx(8, abs=0.05)
    assert len(draft.quals) == len(draft.sequence)


def test_the_same_passes_give_the_same_draft():
    _, subreads = simulated(2, 1500, 6)
    first, second = draft_molecule(subreads), draft_molecule(subreads)
    assert first.sequence == second.sequence
    assert (first.quals == second.quals).all()


def test_more_passes_make_better_drafts_and_qualities():
    truth, subreads = simulated(3, 3000, 12)
    drafts = [draft_molecule(subreads[:count]) for count in (3, 6, 12)]
    errors = [num_errors(draft.sequence, truth) for draft in drafts]
    expected = [error_prob(draft.quals).sum() for draft in drafts]
    assert errors[0] > errors[1] >= errors[2]
    assert expected[0] > expected[1] > expected[2]


def test_partial_passes_count_where_they_are():
    truth, subreads = simulated(4, 2000, 3)
    rng = random.Random(5)
    halves = [raw(noisy(rng, truth[:1000]), is_full=False) for _ in range(6)]
    draft = draft_molecule(subreads + halves)
    assert draft.num_passes == 3
    assert draft.effective_coverage == pytest.approx(6, abs=0.2)
    turned = edlib.align(truth, draft.sequence.decode(), mode="NW")["editDistance"] > 500
    quals = draft.quals[::-1] if turned else draft.quals
    assert error_prob(quals[:900]).sum() < error_prob(quals[1100:]).sum() / 2


def test_too_few_full_passes():
    _, subreads = simulated(6, 500, 2)
    assert draft_molecule(subreads) is None
    assert draft_molecule(subreads, DraftSettings(min_passes=2)) is not None
    assert draft_molecule([]) is None
    assert draft_molecule([], DraftSettings(min_passes=0)) is None
    assert draft_molecule([raw("ACGTACGTAC")] * 3) is None  # too short to align


def test_one_pass_is_its_own_draft_with_low_qualities():
    _, subreads = simulated(7, 600, 1)
    for one in (subreads, [raw(subreads[0].sequence.decode(), is_full=False)]):
        draft = draft_molecule(one, DraftSettings(min_passes=0))
        assert draft.sequence == one[0].sequence
        assert draft.quals.max() < 20


def test_passes_that_do_not_belong_are_left_alone():
    truth, subreads = simulated(8, 1500, 6)
    rng = random.Random(9)
    strangers = [raw(random_sequence(rng, 1490)), raw(truth[:300]), raw(truth + reverse_complement(truth))]
    for order in (subreads + strangers, strangers + subreads):
        draft = draft_molecule(order)
        assert num_errors(draft.sequence, truth) <= 5


def test_letters_that_are_no_bases():
    truth, subreads = simulated(10, 800, 5)
    odd = [raw(one.sequence.decode()[:400] + "NNNNN" + one.sequence.decode()[400:]) for one in subreads[:1]]
    draft = draft_molecule(odd + subreads[1:])
    assert not set(draft.sequence) - set(b"ACGT")
    assert num_errors(draft.sequence, truth) <= 8


def test_the_best_passes_are_full_and_of_median_length():
    passes = [raw("A" * n, is_full) for n, is_full in ((90, True), (300, False), (100, True), (60, False), (130, True))]
    lengths = [
        len(one.sequence)
        for one in best_passes([*passes, raw("A" * 20), raw("A" * 400)], DraftSettings(max_length=399))
    ]
    assert lengths == [100, 90, 130, 300, 60]
    assert [len(one.sequence) for one in best_passes(passes, DraftSettings(max_passes=2))] == [100, 90]


def test_a_thousand_passes_cost_no_more_than_the_limit(monkeypatch):
    _, subreads = simulated(11, 300, 40)
    seen = []
    monkeypatch.setattr(
        "genoformer.workflows.draft_zmw.partial_order_consensus", lambda passes: seen.append(len(passes)) or passes[0]
    )
    draft = draft_molecule(subreads * 25, DraftSettings(max_passes=10))
    assert seen == [MAX_PARTIAL_ORDER_PASSES]
    assert draft.num_passes == 10
    assert draft.effective_coverage == pytest.approx(10, abs=0.2)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """Raw subreads and truth by ZMW."""
    folder = shared_data / "consensus" / "human_1m"
    path = write_as_sequenced(folder / "subreads_to_ccs.bam", tmp_path_factory.mktemp("real") / "subreads.bam")
    with BamReader(path) as reader:
        subreads = {
            group.zmw: [decode_raw_subread(record, path) for record in group.records]
            for group in iterate_raw_zmws(reader)
        }
    truth = {
        int(record.query_name.split("/")[1]): record.query_sequence
        for record in records_of(folder / "truth_to_ccs.fixed.bam")
    }
    return subreads, truth


def test_real_molecules(real):
    subreads, truth = real
    drafts = {zmw: draft_molecule(subreads[zmw]) for zmw in CCS_ERRORS}
    errors = {zmw: num_errors(drafts[zmw].sequence, truth[zmw]) for zmw in CCS_ERRORS}
    assert sum(errors.values()) <= 163  # as the README says
    assert all(errors[zmw] <= 1.1 * CCS_ERRORS[zmw] for zmw in CCS_ERRORS), errors
    expected = sum(error_prob(draft.quals).sum() for draft in drafts.values())
    assert 0.5 * sum(errors.values()) < expected < 2 * sum(errors.values())
