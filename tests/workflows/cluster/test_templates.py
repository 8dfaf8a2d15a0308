"""Commands and options that the templates use exist, also those of engines that are not installed here."""

import re

import pytest
import typer

from genoformer.cli.main import app
from tests.cluster_inputs import TEMPLATES as FOLDER

NAMES = ("Snakefile", "*.smk", "main.nf", "array.sbatch")
TEMPLATES = sorted(path for name in NAMES for path in FOLDER.rglob(name))
# What stands for a command or a group in a template.
PLACEHOLDERS = {"{COMMAND}": "correct", "{GROUP}": "variants", '"$1"': "consensus"}
COMMAND = re.compile(r'genoformer (?:(consensus|expression|variants) )?([a-z][a-z-]*)((?:[^"\n]|\\\n)*)')


def commands(text):
    """Groups, commands and options of the calls in a template, shell's line continuations included."""
    joined = re.sub(r'"\$\{[^}]*\}"', "", re.sub(r"\\+\n\s*", " ", text))
    for placeholder, word in PLACEHOLDERS.items():
        joined = joined.replace(placeholder, word)
    for match in COMMAND.finditer(joined):
        yield match[1], match[2], re.findall(r" (--?[a-z][a-z-]*)", match[3])


def known_options(group, name):
    found = typer.main.get_command(app)
    for part in filter(None, (group, name)):
        found = found.commands[part]
    return {option for parameter in found.params for option in parameter.opts}


def test_the_templates_are_there():
    names = [str(path.relative_to(FOLDER)) for path in TEMPLATES]
    assert names == [
        "array.sbatch",
        "nextflow/main.nf",
        "nextflow/modules/genoformer/correct/main.nf",
        "nextflow/modules/genoformer/join/main.nf",
        "snakemake/Snakefile",
        "snakemake/rules/consensus.smk",
        "snakemake/rules/expression.smk",
        "snakemake/rules/variants.smk",
    ]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_commands_and_options_exist(path):
    lines = [line for line in path.read_text().splitlines() if not re.match(r"\s*(#|//)", line)]
    for group, name, options in commands("\n".join(lines)):
        assert set(options) <= known_options(group, name), (group, name)


def test_every_command_is_looked_at():
    seen = {(group, name) for path in TEMPLATES for group, name, _ in commands(path.read_text())}
    assert seen >= {
        ("consensus", "align"), ("consensus", "correct"), ("consensus", "assess"), ("consensus", "join"),
        ("expression", "predict"), ("variants", "score"), ("variants", "join"), (None, "report"),
    }  # fmt: skip


def test_a_wrong_option_would_be_seen():
    [(group, name, options)] = commands("genoformer consensus join \\\n  a.bam --resumes -o b.bam")
    assert options == ["--resumes", "-o"]
    assert not set(options) <= known_options(group, name)


def test_the_example_config_has_keys_that_its_schema_knows():
    schema = (FOLDER / "snakemake" / "config.schema.yaml").read_text()
    keys = re.findall(r"^(?:# )?(\w+):", (FOLDER / "snakemake" / "config.yaml").read_text(), re.MULTILINE)
    assert {"output", "subreads", "shards"} <= set(keys) <= set(re.findall(r"^  (\w+):$", schema, re.MULTILINE))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("meta.yml")), ids=lambda path: path.parent.name)
def test_the_description_of_a_module_has_its_outputs(path):
    emitted = re.findall(r"emit: (\w+)$", path.with_name("main.nf").read_text(), re.MULTILINE)
    outputs = path.read_text().partition("\noutput:\n")[2].partition("\ntopics:\n")[0]
    assert emitted == re.findall(r"^  (\w+):$", outputs, re.MULTILINE)
    assert "versions_genoformer" in emitted
