import re

import pytest

from genoformer import errors
from genoformer.errors import GenoformerError

LINE_OF_TREE = re.compile(r"^    (?P<stem>[│├└─ ]*)(?P<name>\w+Error)\b(?:\s+exit (?P<code>\d))?", re.MULTILINE)


def classes_of_module() -> set[type[GenoformerError]]:
    return {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GenoformerError)}


def drawn_tree() -> dict[str, tuple[str | None, int | None]]:
    """Name -> (parent, exit code where one is drawn) as the module's docstring draws it."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    ancestors: list[str] = []
    for line in LINE_OF_TREE.finditer(errors.__doc__ or ""):
        depth = len(line["stem"]) // 4
        ancestors[depth:] = [line["name"]]
        tree[line["name"]] = (ancestors[depth - 1] if depth else None, int(line["code"]) if line["code"] else None)
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    actual = {cls.__name__: cls.__base__.__name__ for cls in classes_of_module()}
    drawn = {name: parent or "Exception" for name, (parent, _) in drawn_tree().items()}
    assert drawn == actual


def test_the_drawn_exit_codes_are_those_of_the_classes():
    drawn = {name: code for name, (_, code) in drawn_tree().items() if code is not None}
    assert drawn == {"UsageError": 2, "DataError": 1}
    assert {name: getattr(errors, name).exit_code for name in drawn} == drawn


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [("ConfigError", 2), ("AlignmentError", 1), ("CheckpointError", 1), ("OutputError", 1), ("GenoformerError", 1)],
)
def test_exit_codes_are_inherited(name, exit_code):
    assert getattr(errors, name).exit_code == exit_code


def test_a_message_is_kept_as_it_is():
    message = "calls.vcf line 118: REF is 'A' but hg38.fa has 'T' at chr7:55191822; check the genome build"
    assert str(errors.DataError(message)) == message
