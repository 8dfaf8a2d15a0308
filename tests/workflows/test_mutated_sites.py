"""Which bases are changed, in which window, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Variant
from genoformer.io.genome_fasta import Genome
from genoformer.workflows.ism_options import IsmOptions
from genoformer.workflows.mutated_sites import sites_of
from tests.variant_cases import SMALL, WINDOW_BP, write_vcf

CONTIG = "ACGTN" * 2000
REGION = IsmOptions(Path("genome.fa"), Path("a.h5"), "m", "chr1:5,001-5,007")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("sites") / "genome.fa"
    path.write_text(f">chr1\n{CONTIG}\n")
    with Genome(path) as genome:
        yield genome


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """Around three places: of the first two ALTs the place is the same."""
    path = tmp_path_factory.mktemp("sites") / "calls.vcf"
    write_vcf(
        path,
        [
            Variant("1", 5001, "C", "T"), Variant("1", 5001, "C", "A", "later"), Variant("1", 1, "C", "T", "first"),
            Variant("1", 9998, "T", "TA", "end"),
        ],
    )  # fmt: skip
    return replace(REGION, region=None, vcf=str(path), around_bp=3)


def test_a_region_lies_in_the_middle_of_its_window(genome):
    (site,) = sites_of(REGION, None, genome, SMALL)
    assert site.stretch.place == Interval("chr1", 5000, 5007)
    assert (site.stretch.name, site.stretch.letters) == ("chr1:5001-5007", b"ACGTNAC")
    assert site.window == Interval("chr1", 5000 - 2044, 5007 + 2045)


def test_shards_of_a_region_are_parts_in_one_window(genome):
    whole = sites_of(REGION, None, genome, SMALL)[0]
    sites = [site for index in (1, 2, 3) for site in sites_of(replace(REGION, shard=(index, 3)), None, genome, SMALL)]
    assert [(site.stretch.place.start, site.stretch.place.end) for site in sites] == [
        (5000, 5003), (5003, 5005), (5005, 5007),
    ]  # fmt: skip
    assert b"".join(site.stretch.letters for site in sites) == whole.stretch.letters
    assert {site.window for site in sites} == {whole.window}
    assert sites_of(replace(REGION, shard=(2, 9)), None, genome, SMALL) != []
    assert sum(not sites_of(replace(REGION, shard=(index, 9)), None, genome, SMALL) for index in range(1, 10)) == 2


def test_variants_of_one_place_are_one_site(genome, around):
    sites = sites_of(around, Path(around.vcf), genome, SMALL)
    assert [site.stretch.name for site in sites] == ["1:5002", "first", "end"]
    assert [site.stretch.place.start for site in sites] == [4998, -2, 9995]
    assert [site.stretch.letters for site in sites] == [b"TNACGTN", b"NNACGTN", b"ACGTNNN"]
    first = 5001 - (WINDOW_BP // 2 - 1)
    assert sites[0].window == Interval("chr1", first, first + WINDOW_BP)


def test_shards_of_variants_are_parts_of_the_sites(genome, around):
    whole = sites_of(around, Path(around.vcf), genome, SMALL)
    parts = [sites_of(replace(around, shard=(index, 2)), Path(around.vcf), genome, SMALL) for index in (1, 2)]
    assert [len(part) for part in parts] == [2, 1]
    assert parts[0] + parts[1] == whole


def test_a_file_without_variants(genome, around, tmp_path):
    write_vcf(tmp_path / "none.vcf", [])
    options = replace(around, vcf=str(tmp_path / "none.vcf"))
    with pytest.raises(DataError, match=r"none\.vcf: has no variant with a sequence; expected at least one"):
        sites_of(options, Path(options.vcf), genome, SMALL)
