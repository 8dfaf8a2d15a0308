import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from genoformer.errors import OutputError, UsageError
from genoformer.io.fasta import read_fasta
from genoformer.io.regions import read_bed
from genoformer.io.targets import read_targets
from genoformer.workflows.expression_examples import ExpressionExamplesOptions, make_expression_examples
from genoformer.workflows.simulate_expression import SimulateExpressionOptions, simulate_expression


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated")
    simulate_expression(SimulateExpressionOptions(out, 5, 90_000, 3, 2048))
    return out


def bed_rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_examples_are_made_of_it(folder, tmp_path):
    options = ExpressionExamplesOptions(
        folder / "genome.fa", folder / "targets.txt", folder / "sequences.bed", tmp_path, sequence_bp=4096, bin_bp=32
    )
    summary = make_expression_examples(options)
    assert [summary[f"n_examples_{split}"] for split in ("train", "valid", "test")] == [14, 14, 14]
    assert summary["num_tracks"] == 5


def test_coverage_is_high_where_elements_work(folder):
    plus, minus, dnase = (
        pyBigWig.open(str(folder / f"{name}.bw")) for name in ("cage_a_plus", "cage_a_minus", "dnase_a")
    )
    assert dict(plus.chroms()) == {f"chr{i}": 30_000 for i in (1, 2, 3)}
    rows = bed_rows(folder / "elements.bed")
    assert len(rows) > 20
    for chrom, start, _, name, score, strand in rows:
        around = chrom, int(start) - 15, int(start) + 15
        own, other = (plus, minus) if strand == "+" else (minus, plus)
        if name.startswith("promoter"):
            assert (own.stats(*around, exact=True)[0] > 0.6) == (score == "1000")
            assert other.stats(*around, exact=True)[0] < 0.3
        if name.startswith("enhancer_A"):
            assert (dnase.stats(*around, exact=True)[0] > 4) == (score == "1000")


def test_variants_fit_the_genome_and_break_what_they_say(folder):
    genome = read_fasta(folder / "genome.fa")
    sites = bed_rows(folder / "sites.bed")
    lines = [
        line.split("\t") for line in (folder / "variants.vcf").read_text().splitlines() if not line.startswith("#")
    ]
    assert len(lines) > 10
    positions = [int(line[1]) for line in lines]
    assert positions == sorted(positions)
    breaking = [line for line in lines if line[7] != "BREAKS=."]
    assert len(breaking) * 2 == len(lines)
    for chrom, position, _, ref, alt, _, _, info in lines:
        at = int(position) - 1
        assert chrom == "chr3"
        assert genome[chrom][at : at + 1].decode() == ref != alt
        holding = [name for other, start, end, name, *_ in sites if other == chrom and int(start) <= at < int(end)]
        assert holding == ([] if info == "BREAKS=." else [info.removeprefix("BREAKS=")])


def test_regions_and_table(folder):
    regions = read_bed(folder / "sequences.bed")
    assert {(region.interval.chrom, region.name) for region in regions} == {
        ("chr1", "train"), ("chr2", "valid"), ("chr3", "test")
    }  # fmt: skip
    tracks = read_targets(folder / "targets.txt")
    assert [track.strand_pair for track in tracks] == [0, 1, 2, 4, 3]
    assert json.loads((folder / "simulation.json").read_text())["seed"] == 5


def test_the_same_options_give_the_same_bytes(folder, tmp_path):
    options = SimulateExpressionOptions(tmp_path, 5, 90_000, 3, 2048)
    simulate_expression(options)
    for path in folder.iterdir():
        if not path.name.endswith(".fai"):
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    simulate_expression(replace(options, seed=6))
    assert (folder / "genome.fa").read_bytes() != (tmp_path / "genome.fa").read_bytes()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": -1}, "seed is -1; expected 0 to"),
        ({"num_contigs": 2}, "number of contigs is 2; expected 3 to 1000"),
        ({"genome_bp": 19_000}, "size of the genome in bp is 19000; expected 19200 to 100000000"),
        ({"region_bp": 4}, "length of the regions in bp is 4; expected 8 to 1000000"),
    ],
)
def test_options_out_of_range(tmp_path, changes, text):
    with pytest.raises(UsageError, match=text):
        simulate_expression(replace(SimulateExpressionOptions(tmp_path, 5, 90_000, 3, 2048), **changes))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        simulate_expression(SimulateExpressionOptions(tmp_path / "file" / "out", 5))


def test_contigs_do_not_depend_on_what_follows(folder, tmp_path):
    simulate_expression(SimulateExpressionOptions(tmp_path, 5, 120_000, 4, 2048))
    one, more = read_fasta(folder / "genome.fa"), read_fasta(tmp_path / "genome.fa")
    assert all(one[chrom] == more[chrom] for chrom in one)
    with pyBigWig.open(str(folder / "dnase_a.bw")) as few, pyBigWig.open(str(tmp_path / "dnase_a.bw")) as many:
        np.testing.assert_array_equal(few.values("chr3", 0, 30_000), many.values("chr3", 0, 30_000))


def test_the_example_tracks_are_made_by_the_command_that_their_page_names(tmp_path):
    """Coverage is drawn from means that may differ in the last bit from one kind of processor to the next."""
    shipped = Path(__file__).resolve().parents[2] / "data" / "examples"
    assert "genoformer expression simulate --seed 12 --size 96kb --contigs 3 -o" in (shipped / "README.md").read_text()
    simulate_expression(SimulateExpressionOptions(tmp_path, 12, 96_000, 3))
    for path in (shipped / "expression").iterdir():
        if path.suffix not in (".bw", ".fai"):
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        if path.suffix == ".bw":
            with pyBigWig.open(str(path)) as one, pyBigWig.open(str(tmp_path / path.name)) as other:
                values = [file.values("chr3", 0, 32_000, numpy=True) for file in (one, other)]
            assert (values[0] != values[1]).mean() < 0.001
