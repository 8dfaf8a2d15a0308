"""Tracks of a model found for those of data, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from genoformer.errors import DataError, UsageError
from genoformer.genome.track import Track, numbered_tracks
from genoformer.workflows.head_choice import choose_head


def tracks(*names, **changes):
    return tuple(Track(name, "", "", "sum", 1.0, None, None, place) for place, name in enumerate(names))


def choose(found, wanted, species=None):
    return choose_head(found, wanted, species, Path("m.safetensors"), Path("data"))


def test_the_head_with_the_tracks_of_the_data():
    found = {"human": tracks("a", "b"), "mouse": tracks("c", "d")}
    head = choose(found, tracks("c", "d"))
    assert (head.species, head.tracks, head.columns) == ("mouse", found["mouse"], slice(None))
    assert choose(found, tracks("b", "a")).columns == [1, 0]
    assert choose(found, tracks("b")).columns == [1]


def test_names_that_are_there_several_times_count_by_their_order():
    assert choose({"human": tracks("a", "a")}, tracks("a", "a")).columns == slice(None)
    with pytest.raises(DataError, match="its head 'human' has several 'a'"):
        choose({"human": tracks("a", "a")}, tracks("a"))


def test_tracks_without_names_fit_as_many(caplog):
    heads = numbered_tracks({"human": 2, "mouse": 3})
    wanted = tracks("a", "b")
    head = choose(heads, wanted)
    assert (head.species, head.tracks, head.columns) == ("human", wanted, slice(None))
    assert "the model's tracks have no names: they are taken for those of the data, in their order" in caplog.text
    with pytest.raises(
        DataError, match="the 4 tracks of data: its head 'human' has 2, without names; its head 'mouse'"
    ):
        choose(heads, tracks("a", "b", "c", "d"))


def test_heads_that_fit_alike_must_be_named():
    heads = numbered_tracks({"human": 2, "mouse": 2})
    with pytest.raises(UsageError, match=r"m.safetensors: the data fit human and mouse; say which: --species"):
        choose(heads, tracks("a", "b"))
    assert choose(heads, tracks("a", "b"), "mouse").species == "mouse"


def test_a_head_that_is_named_must_fit():
    found = {"human": tracks("a", "b"), "mouse": tracks("c", "d")}
    message = "m.safetensors: does not predict the 2 tracks of data: its head 'human' lacks 1 of them, such as 'x'"
    with pytest.raises(DataError, match=message):
        choose(found, tracks("a", "x"), "human")
    with pytest.raises(UsageError, match=r"--species is 'fly'; m.safetensors has human, mouse"):
        choose(found, tracks("a"), "fly")


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"scale": 2.0}, "scale 2.0 in the data and 1.0"), ({"sum_stat": "mean"}, "sum_stat mean in the data and sum")],
)
def test_values_on_another_scale_are_said(changes, text, caplog):
    choose({"human": tracks("a", "b")}, [replace(tracks("a", "b")[1], **changes)])
    assert f"track b has {text} in the model: their values are not on one scale" in caplog.text


def test_equal_tracks_raise_no_warning(caplog):
    choose({"human": tracks("a", "b")}, tracks("a", "b"))
    assert caplog.text == ""
