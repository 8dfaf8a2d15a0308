"""The import rules of this project: ranks, confinement of third-party packages, no cycles, no catch-all modules.

    cli(5) -> training, workflows(4) -> datasets, models(3) -> io, nn(2) -> genome(1) -> errors, config, assets(0)

A module imports only strictly lower ranks and its own package; `genoformer_kernels` imports nothing of genoformer. The
package itself, which others import for its version alone, may name models and workflows inside its functions.
"""

import ast
import graphlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FRONT = "genoformer"
FRONT_NAMES = ("genome", "models", "workflows")  # packages that the front may name inside its functions
RANKS = {"genome": 1, "io": 2, "nn": 2, "datasets": 3, "models": 3, "training": 4, "workflows": 4, "cli": 5}
KERNELS = "genoformer_kernels"
NOWHERE: tuple[str, ...] = ()
REPORTS = "_expression", "_logos", "_reads", "_tracks"

# What may import a third-party package: modules, or packages with all in them.
CONFINED = {
    "Bio": ("genoformer.io",),
    "Bio.Align": ("genoformer.io", "genoformer.nn.metrics"),
    "edlib": ("genoformer.io.aligner", "genoformer.io.truth_aligner"),
    "h5py": ("genoformer.io",),
    "mappy": ("genoformer.io.aligner", "genoformer.io.truth_aligner"),
    "pyabpoa": ("genoformer.io.partial_order",),
    "pyBigWig": ("genoformer.io",),
    "pyfaidx": ("genoformer.io",),
    "pysam": ("genoformer.io",),
    "safetensors": ("genoformer.models.checkpoint",),
    "triton": (KERNELS,),
    "typer": ("genoformer.cli",),
    "logomaker": ("genoformer.workflows.report_logos",),
    "matplotlib": tuple(f"genoformer.workflows.report{what}" for what in ("", *REPORTS)),
    "pandas": ("genoformer.workflows.report_logos",),
    "torch": (KERNELS, *(f"genoformer.{package}" for package in RANKS if package != "genome")),
    "hydra": NOWHERE,
    "pickle": NOWHERE,
    "pickle.UnpicklingError": ("genoformer.models.convert_enformer",),  # what torch.load raises of a bad file
    "tensorflow": NOWHERE,
    "transformers": NOWHERE,
}
CATCH_ALL_NAMES = {"utils", "util", "helpers", "helper", "misc"}
MAX_LINES = 500


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imported_names(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[str]:
    """Dotted names that `nodes` import; `from a import b` gives a.b, which may be a module or a name in one."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def group_and_rank(name: str) -> tuple[str, int]:
    """The package of a genoformer name and its rank; modules at the top are one package of rank 0."""
    parts = name.split(".")
    return (parts[1], RANKS[parts[1]]) if len(parts) > 1 and parts[1] in RANKS else ("", 0)


def import_violation(module: str, name: str) -> str | None:
    """Why `module` must not import `name`, or None."""
    if name.startswith("."):
        return f"{module} imports {name}: write the name in full"
    rule = max((package for package in CONFINED if within(name, package)), key=len, default=None)
    if rule and not any(within(module, place) for place in CONFINED[rule]):
        return f"{module} imports {name}, which is confined to {', '.join(CONFINED[rule]) or 'no module'}"
    if not within(name, "genoformer"):
        return None
    (group, rank), (other_group, other_rank) = group_and_rank(module), group_and_rank(name)
    if within(module, KERNELS):
        return f"{module} imports {name}: {KERNELS} is a leaf"
    if group != other_group and other_rank >= rank and not (module == FRONT and other_group in FRONT_NAMES):
        return f"{module} (rank {rank}) imports {name} (rank {other_rank})"
    return None


def form_violations(module: str, source: str) -> Iterator[str]:
    if module.split(".")[-1] in CATCH_ALL_NAMES:
        yield f"{module}: a name that says nothing about what is in it"
    if (num_lines := len(source.splitlines())) > MAX_LINES:
        yield f"{module} has {num_lines} lines, more than {MAX_LINES}"


def import_violations(module: str, source: str) -> Iterator[str]:
    names = sorted(set(imported_names(ast.walk(ast.parse(source)))))
    yield from filter(None, (import_violation(module, name) for name in names))


def import_cycle(sources: dict[str, str]) -> list[str]:
    """Modules that import one another as they load, or an empty list."""
    graph = {}
    for module, source in sources.items():
        names = list(imported_names(ast.parse(source).body))
        known = {name if name in sources else name.rpartition(".")[0] for name in names} & sources.keys()
        graph[module] = {name for name in known if not within(module, name)}  # a package is loaded before its modules
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def violations(sources: dict[str, str]) -> list[str]:
    """Every breach of the rules in modules given as dotted name -> source."""
    found = []
    for module, source in sources.items():
        found += [*form_violations(module, source), *import_violations(module, source)]
    if cycle := import_cycle(sources):
        found.append(f"import cycle: {' -> '.join(cycle)}")
    return found


def read_sources(root: Path, package: str) -> dict[str, str]:
    """Dotted name -> source of every module in a package below a source root."""
    sources = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return sources


def test_the_packages_keep_the_rules():
    sources = read_sources(CHECKOUT, "genoformer") | read_sources(CHECKOUT / "kernels", KERNELS)
    assert {"genoformer", "genoformer.errors", "genoformer.cli.main", KERNELS} <= sources.keys()
    assert violations(sources) == []


def test_tests_and_benchmarks_keep_the_form():
    sources = read_sources(CHECKOUT, "tests") | read_sources(CHECKOUT, "benchmarks")
    assert __name__.split(".")[-1] in {module.split(".")[-1] for module in sources}
    assert [found for module, source in sources.items() for found in form_violations(module, source)] == []


def test_every_package_has_a_rank():
    packages = {file.parent.name for file in (CHECKOUT / "genoformer").glob("*/__init__.py")}
    assert packages <= RANKS.keys()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("genoformer.io.fasta", "from genoformer.nn import losses", "(rank 2) imports genoformer.nn.losses (rank 2)"),
        ("genoformer.genome.interval", "import genoformer.cli.main", "(rank 1) imports genoformer.cli.main (rank 5)"),
        ("genoformer.config", "from genoformer.genome import alphabet", "(rank 0) imports genoformer.genome.alphabet"),
        ("genoformer.models.vote", "def f():\n    from genoformer import datasets", "imports genoformer.datasets"),
        ("genoformer.models.vote", "from ..datasets import pileup", "..datasets.pileup: write the name in full"),
        ("genoformer.datasets.pileup", "import pysam", "imports pysam, which is confined to genoformer.io"),
        ("genoformer.nn.metrics", "from Bio import SeqIO", "imports Bio.SeqIO, which is confined to genoformer.io"),
        ("genoformer.models.convert", "import safetensors.torch", "which is confined to genoformer.models.checkpoint"),
        ("genoformer.genome.alphabet", "from torch import nn", "imports torch.nn, which is confined to"),
        ("genoformer.io.loader", "import pickle", "imports pickle, which is confined to no module"),
        ("genoformer_kernels.launch", "from genoformer import errors", "genoformer_kernels is a leaf"),
        ("genoformer", "from genoformer.cli import main", "genoformer (rank 0) imports genoformer.cli.main (rank 5)"),
        ("genoformer.io.utils", "", "genoformer.io.utils: a name that says nothing"),
        ("genoformer.io.bed", "x = 1\n" * 501, "genoformer.io.bed has 501 lines, more than 500"),
    ],
)
def test_a_breach_is_seen(module, source, complaint):
    [found] = violations({module: source})
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("genoformer.nn.metrics", "from Bio import Align\nfrom Bio.Align import PairwiseAligner"),
        ("genoformer.cli.model", "from genoformer.models import checkpoint\nimport typer"),
        ("genoformer.assets", "from genoformer.errors import UsageError"),
        ("genoformer", "def load():\n    from genoformer.models import checkpoint"),
        ("genoformer.nn.losses", "def loss():\n    from genoformer_kernels import alignment"),
        ("genoformer.io.vcf", "from genoformer.io.regions import read_bed\nimport pysam"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations({module: source}) == []


def test_a_cycle_is_seen_at_module_level_only():
    one = "from genoformer.io import two"
    assert violations({"genoformer.io.one": one, "genoformer.io.two": "def f():\n    import genoformer.io.one"}) == []
    [found] = violations({"genoformer.io.one": one, "genoformer.io.two": "from genoformer.io.one import name"})
    assert found.startswith("import cycle: ")


def files_naming(places: list[Path], texts: dict[str, str]) -> list[str]:
    return [name for name, text in texts.items() if any(f"{place}/" in text for place in places)]


def test_a_path_of_one_machine_is_seen():
    texts = {"good.py": "data/examples", "bad.py": "open('/home/ada/genoformer/data/reads.bam')"}
    assert files_naming([Path("/home/ada/shared"), Path("/home/ada/genoformer")], texts) == ["bad.py"]


def test_no_file_names_the_place_of_this_checkout():
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"not a git checkout: {result.stderr.strip()}")
    files = [CHECKOUT / name for name in result.stdout.split("\0") if name and (CHECKOUT / name).is_file()]
    texts = {str(file): file.read_bytes().decode(errors="replace") for file in files}
    assert files_naming([CHECKOUT, CHECKOUT.parent / "shared"], texts) == []
