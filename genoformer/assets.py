"""Files that genoformer ships: configs, checkpoints and example data, from an installed wheel or from a checkout."""

from __future__ import annotations

from pathlib import Path

from genoformer.errors import UsageError
from genoformer.wording import near_hint

_PACKAGE = Path(__file__).resolve().parent

# A wheel holds each folder inside the package; a checkout holds it here, beside the package.
_IN_CHECKOUT = {
    "configs": Path("configs"),
    "checkpoints": Path("data", "checkpoints"),
    "examples": Path("data", "examples"),
}


def path(folder: str, name: str) -> Path:
    """The path of a file that ships with genoformer.

    Args:
        folder: "configs", "checkpoints" or "examples".
        name: of the file in it, such as "consensus_tiny.toml" or "expression/genome.fa".
    Raises:
        UsageError: on an unknown folder or file; the message names both places and the nearest file name.
    """
    places = _places(folder)
    is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    for place in places:
        if is_inside and (place / name).is_file():
            return place / name
    hint = near_hint(name, _shipped_names(places))
    raise UsageError(f"no file '{name}' in {places[0]} (wheel) or {places[1]} (checkout){hint}")


def _places(folder: str) -> tuple[Path, Path]:
    if folder not in _IN_CHECKOUT:
        raise UsageError(f"no folder '{folder}' of shipped files; expected one of: {', '.join(_IN_CHECKOUT)}")
    return _PACKAGE / folder, _PACKAGE.parent / _IN_CHECKOUT[folder]


def _shipped_names(places: tuple[Path, Path]) -> list[str]:
    return sorted(str(file.relative_to(place)) for place in places for file in place.rglob("*") if file.is_file())
