"""Variants held against a genome: what is compared, what is left out, and every way to treat a REF that is not there.

The genome has chr1, ACGTACGTAC, and 2, GGGG.
"""

import random
import re
from collections import Counter

import pytest

from genoformer.errors import DataError
from genoformer.genome.variant import Variant
from genoformer.io.genome_fasta import Genome
from genoformer.io.vcf import VcfRecord, read_vcf
from genoformer.workflows.variant_source import PlacedVariant, VariantSource
from tests.variant_cases import damaged_copies

EVERYTHING = range(1, 1000)


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\nACGTACgtac\n>2\nGGGG\n")
    with Genome(path) as genome:
        yield genome


def source_of(genome, rows, ref_mismatch="error", max_allele_bp=4):
    records = [
        VcfRecord(i, i + 2, chrom, pos - 1, "", ref, tuple(alts.split(",")))
        for i, (chrom, pos, ref, alts) in enumerate(rows, 1)
    ]
    return VariantSource("calls.vcf", lambda: records, genome, ref_mismatch=ref_mismatch, max_allele_bp=max_allele_bp)


def placed(genome, rows, ref_mismatch, **options):
    counts = Counter()
    return list(source_of(genome, rows, ref_mismatch, **options).variants(EVERYTHING, counts)), dict(counts)


def test_what_matches_is_compared_with_the_genome(genome):
    rows = [("chr1", 1, "A", "C,AT"), ("chr1", 6, "CGT", "C"), ("chr1", 9, "AC", "TT")]
    found, counts = placed(genome, rows, "error")
    assert [each.alt for each in found] == [
        Variant("chr1", 0, "A", "C"), Variant("chr1", 0, "A", "AT"), Variant("chr1", 5, "CGT", "C"),
        Variant("chr1", 8, "AC", "TT"),
    ]  # fmt: skip
    assert all(each.ref is None and each.site == each.alt == each.variant for each in found)
    assert [each.record for each in found] == [1, 1, 2, 3]
    assert counts == {"SNV": 1, "insertion": 1, "deletion": 1, "MNV": 1}


def test_what_has_no_sequence_is_counted(genome):
    rows = [("chr1", 1, "A", ".,*,<DEL>,A,N,]2:2]A,C"), ("chr1", 1, "A", "ACGTA"), ("chr1", 1, "ACGTA", "A")]
    found, counts = placed(genome, rows, "error")
    assert [each.variant.alt for each in found] == ["C"]
    assert counts == {
        "missing": 1, "overlapped": 1, "symbolic": 1, "same as REF": 1, "ambiguous letters": 1, "breakend": 1, "SNV": 1,
        "too long": 2,
    }  # fmt: skip


def test_names_of_contigs_with_and_without_chr(genome, caplog):
    caplog.set_level("INFO")
    found, _ = placed(genome, [("1", 1, "A", "C"), ("chr2", 1, "G", "C"), ("1", 2, "C", "G")], "error")
    assert [(each.variant.chrom, each.alt.chrom) for each in found] == [("1", "chr1"), ("chr2", "2"), ("1", "chr1")]
    assert [record.getMessage() for record in caplog.records] == [
        f"calls.vcf: taking contig '1' for 'chr1' of {genome.path}",
        f"calls.vcf: taking contig 'chr2' for '2' of {genome.path}",
    ]


WRONG = [
    ("chr1", 2, "C", "T"), ("chr1", 2, "T", "C"), ("chr1", 2, "T", "G"), ("chr1", 1, "AG", "A"), ("chr9", 1, "A", "C"),
    ("chr1", 10, "CA", "C"), ("chr1", 11, "A", "C"),
]  # fmt: skip


def test_error_lists_all_and_ends(genome, caplog):
    source = source_of(genome, WRONG)
    message = f"calls.vcf: 6 of 7 ALTs with a REF that is not in {genome.path}; check the genome build, or say"
    with pytest.raises(DataError, match=re.escape(message)):
        source.check(range(1, 8))
    assert [record.getMessage().replace(str(genome.path), "FA") for record in caplog.records] == [
        "calls.vcf record 2 (line 4): REF is 'T' but FA has 'C' at chr1:2",
        "calls.vcf record 3 (line 5): REF is 'T' but FA has 'C' at chr1:2",
        "calls.vcf record 4 (line 6): REF is 'G' but FA has 'C' at chr1:2",
        "calls.vcf record 5 (line 7): FA has no contig 'chr9'; it has chr1, 2",
        "calls.vcf record 6 (line 8): REF reaches position 11; chr1 has 10 in FA",
        "calls.vcf record 7 (line 9): REF reaches position 11; chr1 has 10 in FA",
    ]


def test_every_alt_of_a_wrong_record_is_counted(genome):
    with pytest.raises(DataError, match="2 of 4 ALTs with a REF"):
        source_of(genome, [("chr1", 2, "T", "G,A"), ("chr1", 1, "A", "C,<DEL>")]).check(range(1, 3))


def test_at_most_ten_are_listed(genome, caplog):
    with pytest.raises(DataError, match="12 of 12 ALTs"):
        source_of(genome, [("chr1", 2, "T", "G")] * 12).check(range(1, 13))
    assert len(caplog.records) == 10


def test_skip(genome):
    found, counts = placed(genome, WRONG, "skip")
    assert [each.record for each in found] == [1]
    assert counts == {"SNV": 1, "REF not in the genome": 3, "not in the genome": 3}


def test_flip(genome):
    found, counts = placed(genome, WRONG, "flip")
    assert found == [
        PlacedVariant(1, Variant("chr1", 1, "C", "T"), None, Variant("chr1", 1, "C", "T")),
        PlacedVariant(2, Variant("chr1", 1, "T", "C"), Variant("chr1", 1, "C", "T"), None),
        PlacedVariant(4, Variant("chr1", 0, "AG", "A"), Variant("chr1", 0, "A", "AG"), None),
    ]
    assert counts == {"SNV": 2, "deletion": 1, "flipped": 2, "REF not in the genome": 1, "not in the genome": 3}


def test_trust(genome):
    found, counts = placed(genome, WRONG[:5], "trust")
    assert found[2] == PlacedVariant(
        3, Variant("chr1", 1, "T", "G"), Variant("chr1", 1, "C", "T"), Variant("chr1", 1, "C", "G")
    )
    assert found[3].ref == Variant("chr1", 0, "AC", "AG")
    assert found[3].alt == found[3].site == Variant("chr1", 0, "AC", "A")
    assert counts == {"SNV": 3, "deletion": 1, "trusted": 3, "not in the genome": 1}


def test_some_records_only(genome):
    source = source_of(genome, [("chr1", i + 1, "ACGT"[i % 4], "N,TT") for i in range(8)])
    counts = Counter()
    assert [each.record for each in source.variants(range(3, 6), counts)] == [3, 4, 5]
    assert counts == {"insertion": 3, "ambiguous letters": 3}
    assert source.count_records() == 8
    assert source.check(range(3, 6)) == counts


@pytest.mark.parametrize(("name", "mode", "expected"), [
    ("eqtl.vcf", "error", {"SNV": 8}),
    ("eqtl_flip.vcf", "skip", {"REF not in the genome": 8}),
    ("eqtl_flip.vcf", "flip", {"SNV": 8, "flipped": 8}),
    ("eqtl_flip.vcf", "trust", {"SNV": 8, "trusted": 8}),
])  # fmt: skip
def test_real_variants_in_the_real_genome(shared_data, tmp_path, name, mode, expected):
    folder = shared_data / "expression" / "baskerville_tests"
    for suffix in ("", ".fai", ".gzi"):
        (tmp_path / f"hg38_1m.fa.gz{suffix}").symlink_to(folder / f"hg38_1m.fa.gz{suffix}")
    with Genome(tmp_path / "hg38_1m.fa.gz") as genome:
        source = VariantSource(
            name, lambda: read_vcf(folder / "snp" / name), genome, ref_mismatch=mode, max_allele_bp=1000
        )
        assert source.check(EVERYTHING) == expected


@pytest.mark.parametrize("mode", ["error", "flip", "trust"])
def test_damaged_files_end_in_one_line_or_are_read(genome, tmp_path, mode):
    rows = "".join(f"chr1\t{i % 10 + 1}\t.\t{'ACGTACGTAC'[i % 10]}\tTT\t.\t.\tAF=0.{i}\n" for i in range(40))
    content = ("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + rows).encode()
    path, rng, complaints = tmp_path / "damaged.vcf", random.Random(1), []
    for data in damaged_copies(rng, content):
        path.write_bytes(data)
        source = VariantSource(path, lambda: read_vcf(path), genome, ref_mismatch=mode, max_allele_bp=4)
        try:
            source.check(range(1, source.count_records() + 1))
        except DataError as error:
            complaints.append(str(error))
    assert len(complaints) > 30
    assert all(str(path) in complaint and "\n" not in complaint for complaint in complaints)
