"""One simulated ZMW, looked at as letters: alignments, ends, names, and what the draft may know."""

import itertools

import numpy as np
import pytest
from Bio.Align import PairwiseAligner

from genoformer.genome.alphabet import pileup_letters
from genoformer.genome.random_molecule import random_molecule
from genoformer.workflows import simulate_zmw as module
from genoformer.workflows.simulate_zmw import simulate_zmw


def make(seed, num_passes=8, length_bp=600):
    rng = np.random.default_rng(seed)
    return simulate_zmw(random_molecule(length_bp, rng), num_passes, "m1", 4_194_304, 0, rng)


@pytest.fixture(scope="module")
def zmws():
    return [make(seed) for seed in range(20)]


def columns(read, draft):
    """(draft letter, read letter, operation) of each column; gaps are '-'."""
    ref_at, read_at, rows = read.start, 0, []
    ref, letters = draft.sequence.decode(), read.sequence.decode()
    for number, op in ((int(n) >> 4, "MIDNSHP=X"[int(n) & 15]) for n in read.cigar):
        for _ in range(number):
            rows.append((ref[ref_at] if op != "I" else "-", letters[read_at] if op != "D" else "-", op))
            ref_at += op != "I"
            read_at += op != "D"
    assert read_at == len(letters)
    assert ref_at <= len(ref)
    return rows


def tags(record):
    return {tag: value for tag, _, value in record.tags}


def test_cigars_say_what_the_letters_say(zmws):
    operations = set()
    for zmw in zmws:
        for read in zmw.subreads:
            rows = columns(read, zmw.draft)
            operations |= {op for _, _, op in rows}
            assert all((op == "=") == (a == b) for a, b, op in rows)
            assert rows[0][2] in "=X"
            assert rows[-1][2] in "=X"
    assert operations == set("=XID")


def test_gaps_are_left_aligned(zmws):
    """No gap can move one column left and still put equal letters together; none touches a gap of the other kind."""
    for zmw in zmws:
        for read in zmw.subreads:
            rows = columns(read, zmw.draft)
            for at in range(1, len(rows)):
                (ref_before, read_before, before), op = rows[at - 1], rows[at][2]
                assert {before, op} != {"I", "D"}
                if op in "ID" and before in "=X":
                    end = next(i for i in range(at, len(rows)) if rows[i][2] != op) - 1
                    jumped, landed = (read_before, rows[end][0]) if op == "D" else (ref_before, rows[end][1])
                    assert jumped != landed


def test_subreads_are_as_wrong_as_real_ones(zmws):
    """Real, from CIGARs to the draft: .0266 substitutions, .0640 inserted, .0319 deleted bases."""
    operations = [op for zmw in zmws for read in zmw.subreads for _, _, op in columns(read, zmw.draft)]
    num_ref = sum(op != "I" for op in operations)
    rates = {op: operations.count(op) / num_ref for op in "XID"}
    assert rates["X"] == pytest.approx(0.0266, rel=0.4)
    assert rates["I"] == pytest.approx(0.0640, rel=0.15)
    assert rates["D"] == pytest.approx(0.0319, rel=0.25)


def test_strands_alternate_from_either_side(zmws):
    for zmw in zmws:
        strands = [read.is_reverse for read in zmw.subreads]
        assert all(a != b for a, b in itertools.pairwise(strands))
    assert {zmw.subreads[0].is_reverse for zmw in zmws} == {False, True}


@pytest.mark.parametrize(
    ("is_reverse", "codes", "query_start"), [(False, [3, 4, 5, 6], 102), (True, [2, 3, 4, 5], 101)]
)
def test_trimmed_bases_take_their_kinetics_along(is_reverse, codes, query_start):
    """Two bases go on the left and one on the right; a reverse pass begins on the right."""
    pair, kinetics = module.GappedPair(b"--ACGT-", b"TTACGTA"), np.arange(1, 8, dtype=np.uint8)
    one = module._Pass(pair, 5, is_reverse, kinetics, kinetics + 10, 100, 3).normalise()
    assert one.read == b"ACGT"
    assert one.pw.tolist() == codes
    assert (one.ip - 10).tolist() == codes
    assert (one.start, one.query_start) == (5, query_start)


def test_a_trimmed_deletion_moves_the_start():
    nothing = np.zeros(4, np.uint8)
    one = module._Pass(module.GappedPair(b"GACGTC", b"-ACGT-"), 5, False, nothing, nothing, 0, 3).normalise()
    assert (one.start, one.read, len(one.pw)) == (6, b"ACGT", 4)


def test_names_and_places_in_the_polymerase_read(zmws):
    for zmw in zmws:
        before = -45
        for read in zmw.subreads:
            values = tags(read)
            assert read.name == f"m1/4194304/{values['qs']}_{values['qe']}"
            assert values["qe"] - values["qs"] == len(read.sequence) == len(values["pw"]) == len(values["ip"])
            assert values["qs"] - before >= 45  # an adapter in between, and what was trimmed
            assert (values["np"], values["rq"], values["zm"]) == (1, 0.8, 4_194_304)
            before = values["qe"]


def test_partial_passes_are_first_or_last_and_start_or_end_at_an_adapter(zmws):
    """`cx`: 1 has an adapter before it, 2 after it; a full pass has both."""
    contexts = [[tags(read)["cx"] for read in zmw.subreads] for zmw in zmws]
    assert {context[0] for context in contexts} == {2, 3}
    assert {context[-1] for context in contexts} == {1, 3}
    assert all(set(context[1:-1]) == {3} for context in contexts)
    for zmw, context in zip(zmws, contexts, strict=True):
        for read, cx in zip(zmw.subreads, context, strict=True):
            end = read.start + sum(op != "I" for _, _, op in columns(read, zmw.draft))
            at_left, at_right = read.start < 15, end > len(zmw.draft.sequence) - 15
            native = (at_right, at_left) if read.is_reverse else (at_left, at_right)
            assert native == (bool(cx & 1), bool(cx & 2))


@pytest.mark.parametrize("num_passes", [1, 2, 3])
def test_up_to_three_passes_are_full(num_passes):
    for seed in range(5):
        zmw = make(seed, num_passes, 300)
        assert [tags(read)["cx"] for read in zmw.subreads] == [3] * num_passes
        assert tags(zmw.draft)["np"] == num_passes


def test_the_draft_of_one_pass_is_that_pass():
    zmw = make(3, num_passes=1, length_bp=100)
    [read] = zmw.subreads
    assert zmw.draft.sequence == read.sequence
    assert {op for _, _, op in columns(read, zmw.draft)} == {"="}
    assert zmw.draft.sequence != zmw.truth


def test_draft_errors_are_not_fewer_than_the_edit_distance(zmws):
    aligner = PairwiseAligner(mode="global", match_score=0, mismatch_score=-1, gap_score=-1)
    distances = [-aligner.score(zmw.truth, zmw.draft.sequence) for zmw in zmws]
    counted = [zmw.num_draft_errors for zmw in zmws]
    assert all(a >= b for a, b in zip(counted, distances, strict=True))
    assert sum(counted) <= 1.1 * sum(distances)
    identity = 1 - sum(distances) / sum(len(zmw.truth) for zmw in zmws)
    assert 0.97 < identity < 0.999


def test_the_draft_knows_nothing_but_its_passes(monkeypatch):
    """Where every pass misses a base, the draft does, although its columns were laid along the truth."""
    truth = random_molecule(300, np.random.default_rng(0))
    native = module.read_template

    def without_middle(template, conditions, rng):
        one = native(template, conditions, rng)
        at = [i for i, letter in enumerate(one.pair.ref) if letter != ord("-")][140:160]
        read = bytearray(one.pair.read)
        lost = {sum(letter != ord("-") for letter in read[:i]) for i in at if read[i] != ord("-")}
        kept = np.array([i not in lost for i in range(len(one.pw))])
        for i in at:
            read[i] = ord("-")
        return module.replace(one, pair=module.GappedPair(one.pair.ref, bytes(read)), pw=one.pw[kept], ip=one.ip[kept])

    monkeypatch.setattr(module, "read_template", without_middle)
    zmw = simulate_zmw(truth, 5, "m1", 1, 0, np.random.default_rng(1))
    assert len(zmw.draft.sequence) < 290
    assert zmw.num_draft_errors >= 15


def test_draft_qualities_tell_right_bases_from_wrong_ones(zmws):
    """Mean error that the qualities claim, against the errors that are there; and they vary."""
    claimed = np.mean([1 - tags(zmw.draft)["rq"] for zmw in zmws])
    found = sum(zmw.num_draft_errors for zmw in zmws) / sum(len(zmw.truth) for zmw in zmws)
    assert 0.3 < claimed / found < 3
    quals = np.concatenate([zmw.draft.quals for zmw in zmws])
    assert quals.dtype == np.uint8
    assert quals.std() > 3
    assert quals.max() <= 93
    assert quals.min() >= 1


def test_effective_coverage_counts_partial_passes_in_part(zmws):
    for zmw in zmws:
        spans = sum(sum(op != "I" for _, _, op in columns(read, zmw.draft)) for read in zmw.subreads)
        assert tags(zmw.draft)["ec"] == pytest.approx(spans / len(zmw.draft.sequence), rel=0.02)


def test_draft_passes_are_full_ones_and_odd_in_number():
    full, partial = (module._Pass(None, 0, False, None, None, 0, context) for context in (3, 1))
    rng = np.random.default_rng(0)
    for num_full, num_partial, wanted in [(1, 0, 1), (2, 0, 2), (3, 1, 3), (4, 2, 3), (6, 2, 5), (12, 0, 7)]:
        chosen = module._draft_passes([partial] * num_partial + [full] * num_full, rng)
        assert len(chosen) == len(set(chosen.tolist())) == wanted
        assert (chosen >= num_partial).all()


def test_draft_letters(zmws):
    assert pileup_letters(np.array([1, 2, 3, 4])) == b"ATCG"
    for zmw in zmws:
        assert set(zmw.draft.sequence) <= set(b"ACGT")
        assert zmw.draft.name == "m1/4194304/ccs"
