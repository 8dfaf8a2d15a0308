"""Which outputs of a model are the tracks of some data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genoformer.errors import DataError, UsageError
from genoformer.genome.track import Track, Tracks, are_numbered

logger = logging.getLogger(__name__)

_TRANSFORM = ("sum_stat", "scale", "clip_soft", "clip")


@dataclass(frozen=True)
class Head:
    """The outputs of a model for some tracks of data.

    Attributes:
        species: of the head.
        tracks: of all outputs of the head.
        columns: outputs that are the tracks of the data, in these tracks' order.
    """

    species: str
    tracks: Sequence[Track]
    columns: slice | list[int]


def choose_head(tracks: Tracks, wanted: Sequence[Track], species: str | None, model: Path, data: Path) -> Head:
    """The head of a model that predicts the tracks of data, told apart by their identifiers.

    A head whose tracks have no names fits data with as many tracks.

    Args:
        tracks: of the model.
        wanted: of the data.
        species: the head to take; None: the only one that fits.
        model, data: where they come from, for messages.
    Raises:
        UsageError: a species that the model does not have, or several heads that fit.
        DataError: no head fits.
    """
    if species is not None and species not in tracks:
        raise UsageError(f"--species is '{species}'; {model} has {', '.join(tracks)}")
    heads, reasons = [], []
    for name in tracks if species is None else [species]:
        try:
            heads.append(_head(name, tracks[name], wanted))
        except DataError as reason:
            reasons.append(str(reason))
    if not heads:
        raise DataError(f"{model}: does not predict the {len(wanted):,} tracks of {data}: {'; '.join(reasons)}")
    if len(heads) > 1:
        raise UsageError(f"{model}: the data fit {' and '.join(head.species for head in heads)}; say which: --species")
    _warn_of_differences(heads[0], wanted)
    return heads[0]


def _head(species: str, found: Sequence[Track], wanted: Sequence[Track]) -> Head:
    """Raises DataError where the head does not fit; the text says why."""
    if are_numbered(found):
        if len(found) != len(wanted):
            raise DataError(f"its head '{species}' has {len(found):,}, without names")
        return Head(species, wanted, slice(None))
    names, wanted_names = ([track.identifier for track in given] for given in (found, wanted))
    if names == wanted_names:
        return Head(species, found, slice(None))
    place = {name: index for index, name in enumerate(names)}
    missing = [name for name in wanted_names if name not in place]
    if missing:
        raise DataError(f"its head '{species}' lacks {len(missing):,} of them, such as '{missing[0]}'")
    doubled = next((name for name in wanted_names if names.count(name) > 1), None)
    if doubled is not None:
        raise DataError(f"its head '{species}' has several '{doubled}'")
    return Head(species, found, [place[name] for name in wanted_names])


def _warn_of_differences(head: Head, wanted: Sequence[Track]) -> None:
    """Says what is taken on trust, or will differ whatever the model predicts."""
    if are_numbered(head.tracks) or head.tracks is wanted:
        logger.warning("the model's tracks have no names: they are taken for those of the data, in their order")
        return
    places = range(len(head.tracks))[head.columns] if isinstance(head.columns, slice) else head.columns
    for place, track in zip(places, wanted, strict=True):
        other = head.tracks[place]
        differing = [name for name in _TRANSFORM if getattr(other, name) != getattr(track, name)]
        if differing:
            name = differing[0]
            logger.warning(
                "track %s has %s %s in the data and %s in the model: their values are not on one scale",
                track.identifier, name, getattr(track, name), getattr(other, name),
            )  # fmt: skip
            return
