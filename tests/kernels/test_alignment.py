"""The Triton kernel of the alignment loss without a GPU: interpreted, and compiled for three chips, by two tritons."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
VERSIONS = ["3.6.0", "3.7.1"]  # that of the GPU machine, and a newer one in which the interpreter differs


def triton_folder(version: str) -> Path | None:
    """The folder to put first on Python's path for this triton; None for the one that is installed."""
    try:
        if importlib.metadata.version("triton") == version:
            return None
    except importlib.metadata.PackageNotFoundError:
        pass
    folder = CHECKOUT / "build" / f"triton-{version}"
    if (folder / "triton" / "__init__.py").is_file():
        return folder
    if os.environ.get("CI"):
        pytest.fail(f"triton {version} is neither installed nor in {folder}; CI needs it")
    pytest.skip(f"triton {version} is not there: run `make {folder.relative_to(CHECKOUT)}`")


def run_pytest(file: str, version: str, cache: Path, **variables: str) -> str:
    """What pytest prints for a file of this folder, run to its end without failure or skip in a fresh Python."""
    folder = triton_folder(version)
    roots = [*([] if folder is None else [folder]), CHECKOUT, CHECKOUT / "kernels"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "TRITON_"))}
    environment = {
        **kept,
        **variables,
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
        "TRITON_CACHE_DIR": str(cache),
        "GENOFORMER_EXPECTED_TRITON": version,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / file)]
    result = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def number(word: str, output: str) -> int:
    found = re.search(rf"(\d+) {word}", output)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("version", VERSIONS)
def test_in_the_interpreter(version, tmp_path):
    output = run_pytest("interpreted_alignment.py", version, tmp_path, TRITON_INTERPRET="1")
    assert number("passed", output) >= 40 - number("skipped", output)
    assert number("skipped", output) in (0, 6), "only the golden cases may be skipped, where their data is not there"


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_all_golden_examples_in_the_interpreter(version, tmp_path, shared_data):
    variables = {"TRITON_INTERPRET": "1", "GENOFORMER_ALL_GOLDEN": "1", "PYTEST_ADDOPTS": "-k golden"}
    assert number("passed", run_pytest("interpreted_alignment.py", version, tmp_path, **variables)) == 6


@pytest.mark.parametrize("version", VERSIONS)
def test_compiled_ahead_of_time(version, tmp_path):
    assert number("passed", run_pytest("compiled_alignment.py", version, tmp_path)) >= 20


def test_importing_the_package_loads_neither_triton_nor_genoformer():
    code = (
        "import sys, genoformer_kernels, genoformer_kernels.native\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'triton', 'genoformer'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "kernels")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
