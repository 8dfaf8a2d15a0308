import re

import pytest

from genoformer.errors import UsageError
from genoformer.genome.track import Track
from genoformer.genome.track_choice import choose_tracks, track_stem


def track(identifier, description=""):
    return Track(identifier, description, "", "sum", 1.0, None, None, 0)


TRACKS = [
    track("ENCFF833POA", "DNASE:cerebellum male adult (27 years)"),
    track("CNhs1", "CAGE:brain, adult"),
    track("CNhs2", "CAGE:brain, fetal"),
    track("ENCFF1", "CHIP:H3K27ac:[K562]"),
    track("ENCFF2", "CAGE:brain, adult"),
]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["3"], [3]),
        (["1-3"], [1, 2, 3]),
        (["4", "0-1", "1"], [0, 1, 4]),
        (["CAGE:*"], [1, 2, 4]),
        (["cage:brain, ?dult"], [1, 4]),
        (["CNhs2"], [2]),
        (["encff*"], [0, 3, 4]),
        (["CHIP:H3K27ac:[K562]"], [3]),  # brackets are also letters
        (["*(27 years)", "CNhs1"], [0, 1]),
    ],
)
def test_by_number_name_and_pattern(patterns, expected):
    assert choose_tracks(TRACKS, patterns) == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("5", "tracks '5': expected numbers from 0 to 4"),
        ("3-2", "tracks '3-2': expected numbers from 0 to 4"),
        ("3-5", "tracks '3-5': expected numbers from 0 to 4"),
        ("CNhs22", "tracks 'CNhs22': none has such an identifier or description; did you mean 'CNhs2'?"),
        ("CAGE", "tracks 'CAGE': none has such an identifier or description; the first is 'ENCFF833POA'"),
    ],
)
def test_what_no_track_fits(pattern, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        choose_tracks(TRACKS, ["0", pattern])


@pytest.mark.parametrize(
    ("identifier", "description", "index", "count", "expected"),
    [
        ("CNhs1", "CAGE:brain, adult", 7, 5313, "0007_CNhs1_CAGE_brain_adult"),
        ("7", "", 7, 10, "7"),
        ("../../etc/passwd", "", 0, 1, "0_etc_passwd"),
        ("..", "\\..\\", 12, 100, "12"),
        ("a\nb", "\0", 3, 4, "3_a_b"),
        ("x" * 300, "", 1, 2, "1_" + "x" * 98),
        ("Größe", "", 1, 2, "1_Gr_e"),
    ],
)
def test_file_names_are_safe_and_tell_tracks_apart(identifier, description, index, count, expected):
    stem = track_stem(track(identifier, description), index, count)
    assert stem.replace("__", "_").rstrip("_") == expected
    assert re.fullmatch(r"[0-9][A-Za-z0-9_+-]*", stem)
