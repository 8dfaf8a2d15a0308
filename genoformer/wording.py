"""Words that messages share: things that are counted, and names near one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_HISSING = ("ch", "s", "x")


def counted(number: int, noun: str) -> str:
    """A number of things: '1 region', '5,313 tracks', '2 stretches'."""
    plural = noun + ("es" if noun.endswith(_HISSING) else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def near_hint(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean 'sad_sum'?", or nothing where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
