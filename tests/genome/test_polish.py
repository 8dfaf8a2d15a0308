import random

import numpy as np
import pytest

from genoformer.genome.alphabet import pileup_codes, pileup_letters
from genoformer.genome.polish import PlacedPass, polish
from genoformer.genome.read_odds import read_odds

NO_SN = np.zeros(4, np.float32)


def placed(read, length, start=0, end=None):
    """A pass along a template of `length` bases, of about as many bases."""
    codes = pileup_codes(read)
    nothing = np.zeros(len(codes), np.uint8)
    places = np.minimum(np.arange(length + 1), len(codes))
    places[-1] = len(codes)
    return PlacedPass(
        codes, read_odds(codes, nothing, nothing, NO_SN, False), places, start, length if end is None else end
    )


def polished(template, reads):
    found = polish(pileup_codes(template), [placed(read, len(template)) for read in reads])
    return pileup_letters(found.codes), found


def random_letters(seed, length):
    return "".join(random.Random(seed).choices("ACGT", k=length)).encode()


@pytest.mark.parametrize(
    ("template", "truth"),
    [
        (b"ACGTTGCAAC", b"ACGTTGCAAC"),
        (b"ACGTTGCAAC", b"ACGTCGCAAC"),
        (b"ACGTTGCAAC", b"ACGTTTGCAAC"),
        (b"ACGTTGCAAC", b"ACGTGCAAC"),
        (b"ACGTTTTTTTTTTGCAAC", b"ACGTTTTTTTTTGCAAC"),
        (b"GACGTTGCAAC", b"ACGTTGCAAC"),
        (b"ACGTTGCAACA", b"ACGTTGCAAC"),
        (b"CGTTGCAAC", b"ACGTTGCAAC"),
    ],
    ids=["right", "substitution", "run too short", "run too long", "long run", "base too many at the start",
         "at the end", "base missing at the start"],
)  # fmt: skip
def test_passes_that_agree_are_followed(template, truth):
    letters, found = polished(template, [truth] * 3)
    assert letters == truth
    assert found.num_edits == (template != truth)


def test_one_pass_does_not_outvote_two():
    assert polished(b"ACGTTGCAAC", [b"ACGTTGCAAC", b"ACGTTGCAAC", b"ACGTTCAAC"])[0] == b"ACGTTGCAAC"


def test_many_edits_far_apart_and_close_by():
    truth = random_letters(1, 700)
    letters = bytearray(truth)
    for at in (690, 400, 395, 390, 100, 41, 39, 3):  # from the end: places before stay right
        if at % 2:
            del letters[at]
        else:
            letters[at:at] = b"A" if truth[at : at + 1] != b"A" else b"C"
    found, details = polished(bytes(letters), [truth] * 4)
    assert found == truth
    assert details.num_edits <= 9


def test_a_pass_that_covers_a_part_counts_there():
    truth = random_letters(2, 400)
    template = truth[:100] + truth[101:300] + truth[301:]
    part = placed(truth, len(template), start=0, end=200)
    found = polish(pileup_codes(template), [part] * 3)
    assert pileup_letters(found.codes) == truth[:300] + truth[301:]


def test_error_prob_is_high_where_passes_disagree_and_at_the_first_base_of_a_run():
    _, found = polished(b"ACGTTTTGCAACGATCC", [b"ACGTTTTGCAACGATCC"] * 3 + [b"ACGTTTGCAACGATCC"] * 3)
    assert int(found.error_prob.argmax()) == 3
    assert found.error_prob[3] > 0.05
    assert found.error_prob[4:7].max() < 0.02
    assert found.error_prob[10:].max() < 0.02


def test_more_passes_make_surer():
    few, many = (polished(b"ACGTTTTGCAACGATCC", [b"ACGTTTTGCAACGATCC"] * count)[1].error_prob for count in (2, 8))
    assert (many <= few).all()
    assert many.min() == pytest.approx(1e-4)


def test_it_ends_where_edits_could_go_on_for_ever():
    template = b"ATATATATATATATATATATATATATATAT"
    letters, _ = polished(template, [b"AT" * 13, b"TA" * 17, b"AAT" * 10])
    assert letters
