"""The wheel and the sdist, used away from the checkout: started inside it, Python finds the checkout first."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import genoformer

pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install 'genoformer[dev]'")
pytestmark = pytest.mark.xdist_group("wheel")

CHECKOUT = Path(__file__).resolve().parent.parent
SHIPPED = {"configs": "configs", "data/checkpoints": "checkpoints", "data/examples": "examples"}

IMPORT_EVERYTHING = """
import importlib, pathlib, pkgutil, sys
import genoformer, genoformer_kernels
for package in (genoformer, genoformer_kernels):
    assert pathlib.Path(package.__file__).is_relative_to(sys.prefix), package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""


def run(*command: object, cwd: Path) -> str:
    """Standard output of a command that must succeed, with nothing of this process on its import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = [str(word) for word in command]
    result = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def build(target: str, source: Path, into: Path) -> Path:
    """The sdist or wheel of a source tree."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    [archive] = into.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", CHECKOUT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment whose genoformer comes from the wheel and all else from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # A path in a .pth file is searched last, and the .pth files there (an editable genoformer) are not read.
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files_below(folder: Path) -> set[str]:
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix() for file in files}


def test_the_wheel_holds_both_packages_and_all_shipped_files(wheel):
    expected = {f"genoformer/{name}" for name in files_below(CHECKOUT / "genoformer")}
    expected |= {f"genoformer_kernels/{name}" for name in files_below(CHECKOUT / "kernels" / "genoformer_kernels")}
    for source, target in SHIPPED.items():
        expected |= {f"genoformer/{target}/{name}" for name in files_below(CHECKOUT / source)}
    assert {name for name in names_in_wheel(wheel) if ".dist-info/" not in name} == expected


def test_the_sdist_gives_the_same_wheel(wheel, tmp_path):
    sdist = build("sdist", CHECKOUT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)
    rebuilt = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert rebuilt.read_bytes() == wheel.read_bytes()


def test_every_module_of_the_wheel_imports_elsewhere(environment, wheel, tmp_path):
    imported = run(environment / "bin" / "python", "-W", "error", "-c", IMPORT_EVERYTHING, cwd=tmp_path).split()
    modules = {name for name in names_in_wheel(wheel) if name.endswith(".py") and not name.endswith("__init__.py")}
    assert {name.removesuffix(".py").replace("/", ".") for name in modules} <= set(imported)


def test_the_installed_command_runs_elsewhere(environment, tmp_path):
    command = environment / "bin" / "genoformer"
    assert run(command, "--version", cwd=tmp_path) == f"genoformer {genoformer.__version__}\n"
    assert "consensus" in run(command, "--help", cwd=tmp_path)


def test_the_installed_package_finds_its_shipped_files_elsewhere(environment, tmp_path):
    names = [(target, name) for source, target in SHIPPED.items() for name in files_below(CHECKOUT / source)]
    lines = "".join(f"print(path({folder!r}, {name!r}))\n" for folder, name in names)
    code = "from genoformer.assets import path\n" + lines
    found = run(environment / "bin" / "python", "-c", code, cwd=tmp_path).splitlines()
    assert found
    assert all(Path(line).is_relative_to(environment.resolve()) for line in found)
