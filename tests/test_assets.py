from pathlib import Path

import pytest

from genoformer import assets
from genoformer.errors import UsageError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty `genoformer` package in a folder of its own."""
    package = tmp_path / "root" / "genoformer"
    package.mkdir(parents=True)
    monkeypatch.setattr(assets, "_PACKAGE", package)
    return package


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("folder", "in_wheel", "in_checkout"),
    [
        ("configs", "configs/a.toml", "../configs/a.toml"),
        ("checkpoints", "checkpoints/a.toml", "../data/checkpoints/a.toml"),
        ("examples", "examples/a.toml", "../data/examples/a.toml"),
    ],
)
def test_a_checkout_is_used_until_the_package_holds_the_file(package, folder, in_wheel, in_checkout):
    beside = write(package / in_checkout)
    assert assets.path(folder, "a.toml").samefile(beside)
    inside = write(package / in_wheel)
    assert assets.path(folder, "a.toml").samefile(inside)


def test_a_missing_file_names_both_places_and_the_nearest_name(package):
    write(package.parent / "configs" / "consensus_tiny.toml")
    with pytest.raises(UsageError) as caught:
        assets.path("configs", "consensus_tny.toml")
    assert str(caught.value) == (
        f"no file 'consensus_tny.toml' in {package / 'configs'} (wheel) or {package.parent / 'configs'} (checkout); "
        "did you mean 'consensus_tiny.toml'?"
    )


def test_a_missing_file_without_a_near_name_gets_no_hint(package):
    with pytest.raises(UsageError, match=r"no file 'a\.toml' in .*\(checkout\)$"):
        assets.path("examples", "a.toml")


def test_an_unknown_folder_names_the_known_ones(package):
    with pytest.raises(UsageError, match=r"no folder 'weights' .* expected one of: configs, checkpoints, examples$"):
        assets.path("weights", "a.safetensors")


@pytest.mark.parametrize("name", ["../secret.txt", "sub/../../secret.txt", "sub", "", ".", ".."])
def test_a_name_cannot_leave_its_folder(package, name):
    write(package.parent / "secret.txt")
    write(package.parent / "configs" / "sub" / "a.toml")
    with pytest.raises(UsageError, match="no file"):
        assets.path("configs", name)


def test_an_absolute_name_is_not_a_shipped_file(package, tmp_path):
    outside = write(tmp_path / "a.toml")
    with pytest.raises(UsageError, match="no file"):
        assets.path("configs", str(outside))


def test_the_shipped_files_of_this_checkout_are_found():
    checkout = Path(__file__).resolve().parent.parent
    for folder, place in [("configs", "configs"), ("checkpoints", "data/checkpoints"), ("examples", "data/examples")]:
        files = [file for file in (checkout / place).rglob("*") if file.is_file()]
        assert files, f"{place} is empty: nothing would ship"
        for file in files:
            assert assets.path(folder, str(file.relative_to(checkout / place))).samefile(file)
