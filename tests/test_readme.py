"""What the README says is there, is there."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def readme():
    return (CHECKOUT / "README.md").read_text()


def modules_listed(text):
    """Paths of the files in the README's tree, folders joined by indentation."""
    tree = text.split("## Tree")[1].split("```")[1]
    paths, folders = set(), []
    for line in tree.splitlines():
        match = re.match(r"( *)(\S+)", line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        folders = folders[:depth]
        if match[2].endswith("/"):
            folders.append(match[2])
        else:
            paths.add("".join(folders) + match[2])
    return paths


def modules_there():
    found = [
        *CHECKOUT.glob("genoformer/**/*.py"),
        *CHECKOUT.glob("kernels/**/*.py"),
        *CHECKOUT.glob("genoformer/**/*.js"),
        *CHECKOUT.glob("kernels/**/*.cpp"),
        *CHECKOUT.glob("genoformer/**/*.sbatch"),
    ]
    return {str(path.relative_to(CHECKOUT)) for path in found if path.name != "__init__.py"}


def test_the_tree_is_the_tree(readme):
    assert modules_listed(readme) == modules_there()


def test_a_missing_module_would_be_seen(readme):
    assert modules_listed(readme.replace("    stitch.py ", "    stitches.py ")) != modules_there()


def test_commands_exist(readme):
    import typer

    from genoformer.cli.main import app

    groups = typer.main.get_command(app).commands
    named = set(re.findall(r"genoformer (consensus|expression|model|variants) ([a-z-]+)", readme))
    assert len(named) >= 6
    for group, command in named:
        assert command in groups[group].commands


def test_the_first_command_stands_within_fifteen_lines(readme):
    assert "make demo" in "\n".join(readme.splitlines()[:15])


def test_quoted_result_files_exist(readme):
    quoted = re.findall(r"benchmarks/results/\w+\.csv", readme)
    assert quoted
    for name in quoted:
        assert (CHECKOUT / name).is_file()
