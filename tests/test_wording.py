import pytest

from genoformer.wording import counted, near_hint


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (1, "region", "1 region"),
        (0, "region", "0 regions"),
        (5313, "track", "5,313 tracks"),
        (2, "stretch", "2 stretches"),
        (2, "mismatch", "2 mismatches"),
        (1, "ZMW", "1 ZMW"),
        (2, "missing base", "2 missing bases"),
    ],
)
def test_one_thing_or_several(number, noun, expected):
    assert counted(number, noun) == expected


def test_a_name_like_the_wrong_one_is_offered():
    assert near_hint("sad_sun", ["js", "sad_sum", "sad_mean"]) == "; did you mean 'sad_sum'?"
    assert near_hint("foo", ["js", "sad_sum"]) == ""
    assert near_hint("foo", iter([])) == ""
