"""Tracks chosen by number, name or pattern, and file names for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from genoformer.errors import UsageError
from genoformer.genome.track import Track

_INDICES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_UNSAFE = re.compile(r"[^A-Za-z0-9+-]+")
_MAX_STEM = 100


def choose_tracks(tracks: Sequence[Track], patterns: Sequence[str]) -> list[int]:
    """Indices of the tracks that any of the patterns chooses, in order; without patterns, of all.

    Args:
        patterns: an index (`7`), indices from first to last (`10-19`), or an identifier or description, whole, with
            `*` and `?` for what does not matter (`CAGE:*`); letter case does not matter.
    Raises:
        UsageError: a pattern that no track fits.
    """
    if not patterns:
        return list(range(len(tracks)))
    return sorted(set().union(*(_chosen(tracks, pattern) for pattern in patterns)))


def _chosen(tracks: Sequence[Track], pattern: str) -> list[int]:
    if match := _INDICES.fullmatch(pattern):
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < len(tracks):
            raise UsageError(f"tracks '{pattern}': expected numbers from 0 to {len(tracks) - 1}")
        return list(range(first, last + 1))
    wanted = pattern.lower()
    found = [index for index, track in enumerate(tracks) if any(_fits(name, wanted) for name in _names(track))]
    if not found:
        known = {name.lower(): name for track in tracks for name in _names(track)}
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"; did you mean '{known[near[0]]}'?" if near else f"; the first is '{tracks[0].identifier}'"
        raise UsageError(f"tracks '{pattern}': none has such an identifier or description{hint}")
    return found


def _names(track: Track) -> tuple[str, str]:
    return track.identifier, track.description


def _fits(name: str, wanted: str) -> bool:
    return name.lower() == wanted or fnmatchcase(name.lower(), wanted)


def track_stem(track: Track, index: int, num_tracks: int) -> str:
    """A file name, without its ending, that tells a track among `num_tracks`: index, identifier, description.

    Whatever the track is called, the name is one of letters, digits and `_+-`, starts with a digit, and is its own.
    """
    number = f"{index:0{len(str(num_tracks - 1))}d}"
    words = [number, *(name for name in _names(track) if name and name != str(index))]
    return safe_stem(words)


def safe_stem(words: Sequence[str]) -> str:
    """Words joined into a file name, without its ending, of letters, digits and `_+-`."""
    return "_".join(_UNSAFE.sub("_", word).strip("_") for word in words)[:_MAX_STEM].rstrip("_")
