"""Scores in INFO, read back by htslib, which also takes the records of the file that was scored as they were."""

import dataclasses
import json
import random

import numpy as np
import pysam
import pytest

from genoformer.errors import DataError, OutputError
from genoformer.genome.variant import Variant
from genoformer.io.score_rows import ScoredVariant, VariantHead
from genoformer.io.score_vcf import write_score_vcf
from genoformer.io.vcf import VcfPart
from tests.score_rows import TABLE, VARIANTS, Rows
from tests.variant_cases import damaged_copies, write_vcf


def never(warning):
    raise AssertionError(warning)


def part_of(path, variants=VARIANTS):
    """A file of variants, one a record, in which rows of scores are numbered."""
    write_vcf(path, variants)
    return VcfPart(path, path.name)


class Scored(Rows):
    """Rows of given records: (number, variant, note), all scores of track t of row r being r + t / 10."""

    def __init__(self, heads, table=TABLE):
        super().__init__(table=dataclasses.replace(table, num_bins=0, gene_score=""))
        self._heads = [VariantHead(*head) for head in heads]

    def heads(self):
        return iter(self._heads)

    def rows(self):
        tracks = np.arange(len(self.table.tracks)) / 10
        for place, head in enumerate(self._heads):
            yield ScoredVariant(head, np.tile(np.float32(place + tracks), (len(self.table.scores), 1)))


def test_scores_are_read_by_htslib(tmp_path):
    path = tmp_path / "scores.vcf.gz"
    write_score_vcf(path, Rows(), part_of(tmp_path / "calls.vcf"), never)
    expected = [row.values for row in Rows().rows()]
    with pysam.VariantFile(str(path)) as file:
        records = list(file)
        assert {name: contig.length for name, contig in file.header.contigs.items()} == {"chr1": 1000, "chr2": 500}
        assert [record.pos for record in file.fetch("chr1", 50, 200)] == [100]
        lines = str(file.header).splitlines()
    for record, variant, values in zip(records, VARIANTS, expected, strict=True):
        assert (record.chrom, record.pos - 1, record.ref) == (variant.chrom, variant.start, variant.ref)
        assert (record.alts, record.id) == ((variant.alt,), variant.name or None)
        for place, key in enumerate(("SAD_SUM", "JS", "SAD_SUM_Z")):
            np.testing.assert_array_equal(np.float32(record.info[key]), values[place])
    assert records[2].info["REF_NOTE"] == ("flipped",)
    assert "REF_NOTE" not in records[1].info
    assert "##genoformer_version=0.1.0" in lines
    assert '##genoformer_track=<ID=5,Identifier="ENC5",Description="DNASE:a \\"b\\" c">' in lines
    assert (
        '##INFO=<ID=JS,Number=.,Type=Float,Description="js of each ALT against REF, a number for each of the 2 lines '
        'genoformer_track, in their order; . where an ALT is not scored",Source="genoformer",Version="0.1.0">'
    ) in lines
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.vcf", "scores.vcf.gz", "scores.vcf.gz.tbi"]


MANY = """\
##fileformat=VCFv4.2
##FILTER=<ID=q10,Description="Quality below 10">
##contig=<ID=1,length=777>
##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depths">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	mum	dad
1	10	rs1	A	c,<DEL>,T	50	PASS	AF=0.1,0.2,0.3	GT:AD	0/1:9,5,0,1	2|3:0,0,4,4
1	20	.	G	.	.	q10	.	GT:AD	0/0:9	0/0:8
2	30	rs3	C	*	9	.	DB	GT:AD	0/0:9,1	0/0:8,1
2	40	.	CA	C	9	.	DB	GT:AD	0/1:9,1	0/0:8,1
"""


def many(tmp_path, numbers=None):
    (tmp_path / "many.vcf").write_text(MANY)
    return VcfPart(tmp_path / "many.vcf", "many.vcf", numbers)


HEADS = [
    (1, Variant("1", 9, "A", "C", "rs1"), ""),
    (1, Variant("1", 9, "A", "T", "rs1"), "flipped"),
    (4, Variant("2", 39, "CA", "C"), ""),
]


def test_every_record_stays_whole(tmp_path):
    """Worked by hand: two tracks, three ALTs of which the second is not scored; two records without scores."""
    write_score_vcf(tmp_path / "s.vcf", Scored(HEADS), many(tmp_path), never)
    lines = (tmp_path / "s.vcf").read_text().splitlines()
    assert lines[:6] == MANY.splitlines()[:6]
    assert lines[6] == '##contig=<ID=2,length=500,assembly="hg38.fa">'
    assert lines[-5:] == [
        MANY.splitlines()[6],
        "1\t10\trs1\tA\tc,<DEL>,T\t50\tPASS\tAF=0.1,0.2,0.3;SAD_SUM=0,0.100000001,.,.,1,1.10000002;"
        "JS=0,0.100000001,.,.,1,1.10000002;SAD_SUM_Z=0,0.100000001,.,.,1,1.10000002;REF_NOTE=.,.,flipped"
        "\tGT:AD\t0/1:9,5,0,1\t2|3:0,0,4,4",
        "1\t20\t.\tG\t.\t.\tq10\t.\tGT:AD\t0/0:9\t0/0:8",
        "2\t30\trs3\tC\t*\t9\t.\tDB\tGT:AD\t0/0:9,1\t0/0:8,1",
        "2\t40\t.\tCA\tC\t9\t.\tDB;SAD_SUM=2,2.0999999;JS=2,2.0999999;SAD_SUM_Z=2,2.0999999\tGT:AD\t0/1:9,1\t0/0:8,1",
    ]
    with pysam.VariantFile(str(tmp_path / "s.vcf")) as file:
        first, second, *_ = file
        assert first.info["AF"] == tuple(map(pytest.approx, (0.1, 0.2, 0.3)))
        assert first.samples["dad"]["GT"] == (2, 3)
        assert first.samples["mum"]["AD"] == (9, 5, 0, 1)
        assert first.info["REF_NOTE"] == (".", ".", "flipped")
        assert list(second.filter) == ["q10"]


def test_one_track_has_a_number_for_each_alt(tmp_path):
    table = dataclasses.replace(TABLE, tracks={2: TABLE.tracks[2]}, scores=("js",))
    write_score_vcf(tmp_path / "s.vcf", Scored(HEADS, table), many(tmp_path), never)
    with pysam.VariantFile(str(tmp_path / "s.vcf")) as file:
        assert file.header.info["JS"].number == "A"
        assert [record.info.get("JS") for record in file] == [(0, None, 1), None, None, (2,)]


def test_some_records_only(tmp_path):
    write_score_vcf(tmp_path / "s.vcf", Scored(HEADS[:2]), many(tmp_path, range(1, 3)), never)
    write_score_vcf(tmp_path / "t.vcf", Scored(HEADS[2:]), many(tmp_path, range(4, 5)), never)
    write_score_vcf(tmp_path / "u.vcf", Scored([]), many(tmp_path, range(5, 5)), never)
    for name, positions in (("s.vcf", [10, 20]), ("t.vcf", [40]), ("u.vcf", [])):
        with pysam.VariantFile(str(tmp_path / name)) as file:
            assert [record.pos for record in file] == positions


def test_a_scored_file_scored_again(tmp_path):
    """Another score on one track takes the place of the first ones; all else is as in the first file."""
    write_score_vcf(tmp_path / "s.vcf", Scored(HEADS), many(tmp_path), never)
    table = dataclasses.replace(
        TABLE, tracks={2: TABLE.tracks[2]}, scores=("max",), attributes={"version": "0.2.0", "genome": "hg38.fa"}
    )
    said = []
    write_score_vcf(tmp_path / "t.vcf", Scored(HEADS, table), VcfPart(tmp_path / "s.vcf", "s.vcf"), said.append)
    write_score_vcf(tmp_path / "u.vcf", Scored(HEADS, table), many(tmp_path), never)
    again, once = ((tmp_path / name).read_text().splitlines() for name in ("t.vcf", "u.vcf"))
    assert again == once
    assert len(said) == 1
    assert "it has scores of an earlier run" in said[0]


@pytest.mark.parametrize(
    "heads",
    [
        [(1, Variant("1", 9, "A", "G"), "")],
        [(2, Variant("1", 9, "A", "C"), "")],
        [(1, Variant("1", 10, "A", "C"), "")],
        [HEADS[1], HEADS[0]],
        [*HEADS, (5, Variant("2", 39, "CA", "C"), "")],
    ],
)
def test_other_records_than_those_that_were_scored(tmp_path, heads):
    with pytest.raises(DataError, match=r"many\.vcf: does not have the records that were scored, from record \d on"):
        write_score_vcf(tmp_path / "s.vcf", Scored(heads), many(tmp_path), never)
    assert [path.name for path in tmp_path.iterdir()] == ["many.vcf"]


def test_an_alt_that_is_there_twice(tmp_path):
    (tmp_path / "c.vcf").write_text("chr1\t5\t.\tA\tC,c,N\n")
    heads = [(1, Variant("chr1", 4, "A", "C"), ""), (1, Variant("chr1", 4, "A", "C"), "")]
    table = dataclasses.replace(TABLE, tracks={2: TABLE.tracks[2]}, scores=("js",))
    write_score_vcf(tmp_path / "s.vcf", Scored(heads, table), VcfPart(tmp_path / "c.vcf", "c.vcf"), never)
    assert (tmp_path / "s.vcf").read_text().endswith("chr1\t5\t.\tA\tC,c,N\t.\t.\tJS=0,1,.\n")


def test_plain_vcf_has_no_index(tmp_path):
    write_score_vcf(tmp_path / "scores.vcf", Rows(), part_of(tmp_path / "calls.vcf"), never)
    with pysam.VariantFile(str(tmp_path / "scores.vcf")) as file:
        assert len(list(file)) == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.vcf", "scores.vcf"]


@pytest.mark.parametrize("order", [[2, 0, 3], [3, 2, 0, 1], [0, 3, 1]])
def test_unsorted_records_keep_their_order_without_an_index(tmp_path, order):
    path, warnings = tmp_path / "scores.vcf.gz", []
    write_score_vcf(path, Rows(), part_of(tmp_path / "calls.vcf"), never)
    variants = [VARIANTS[place] for place in order]
    write_score_vcf(path, Rows(variants), part_of(tmp_path / "calls.vcf", variants), warnings.append)
    with pysam.VariantFile(str(path)) as file:
        assert [record.pos - 1 for record in file] == [VARIANTS[place].start for place in order]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.vcf", "scores.vcf.gz"]
    assert warnings == [
        f"{path}: has no index, since its records are in the order of the input, which is not sorted; 'bcftools sort' "
        "sorts either"
    ]


@pytest.mark.parametrize(
    ("position", "info", "suffix"),
    [
        (1 << 30, ".", ".csi"),
        (10, "END=600000000", ".csi"),
        (10, "SVTYPE=DEL;SVLEN=-900000000", ".csi"),
        (10, "END=99999999999999999999999", None),
    ],
)
def test_long_contigs_have_another_index(tmp_path, capfd, position, info, suffix):
    path, warnings = tmp_path / "scores.vcf.gz", []
    (tmp_path / "c.vcf").write_text(f"chr1\t{position}\t.\tA\t<DEL>\t.\t.\t{info}\n")
    write_score_vcf(path, Scored([]), VcfPart(tmp_path / "c.vcf", "c.vcf"), warnings.append)
    found = {file.name for file in tmp_path.iterdir()} - {"c.vcf", "scores.vcf.gz"}
    assert found == ({f"scores.vcf.gz{suffix}"} if suffix else set())
    assert len(warnings) == (suffix is None)
    assert all("has no index: htslib makes none, which an END or SVLEN" in warning for warning in warnings)
    assert capfd.readouterr().err == ""


def test_a_failed_file_leaves_nothing(tmp_path):
    class Failing(Rows):
        def rows(self):
            yield from list(super().rows())[:2]
            raise KeyboardInterrupt

    part = part_of(tmp_path / "calls.vcf")
    with pytest.raises(KeyboardInterrupt):
        write_score_vcf(tmp_path / "scores.vcf.gz", Failing(), part, never)
    with pytest.raises(OutputError, match="cannot be written"):
        write_score_vcf(tmp_path / "absent" / "scores.vcf.gz", Rows(), part, never)
    assert [path.name for path in tmp_path.iterdir()] == ["calls.vcf"]


def test_attributes_that_are_json(tmp_path):
    """The identity of a run, full of quotes and braces, is a header line that htslib takes."""
    table = dataclasses.replace(TABLE, attributes={"version": "0", "identity": json.dumps({"a": ["<b>", 'c "d"']})})
    write_score_vcf(tmp_path / "s.vcf", Rows(table=table), part_of(tmp_path / "calls.vcf"), never)
    with pysam.VariantFile(str(tmp_path / "s.vcf")) as file:
        assert len(list(file)) == 4


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_damaged_files_are_one_line_or_come_back_scored(tmp_path, line_end):
    """Whatever bit flips in a header or a field: htslib reads each record that was read, with its score."""
    path, num_written = tmp_path / "calls.vcf", 0
    table = dataclasses.replace(TABLE, tracks={2: TABLE.tracks[2]}, scores=("js",))
    lines = ["\t".join(line.split("\t")[:8]) for line in MANY.splitlines()]  # samples are carried as they are
    for data in damaged_copies(random.Random(9), "\n".join([*lines, ""]).encode().replace(b"\n", line_end)):
        path.write_bytes(data)
        part = VcfPart(path, "calls.vcf")
        try:
            heads = [
                (record.number, variant, "")
                for record in part.records()
                for variant in record.variants()
                if isinstance(variant, Variant)
            ]
        except DataError:
            continue
        write_score_vcf(tmp_path / "s.vcf.gz", Scored(heads, table), part, [].append)
        with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as file:
            found = [(record.chrom, record.pos - 1, record.info.get("JS")) for record in file]
        expected = [(record.chrom, record.start) for record in part.records()]
        assert [place[:2] for place in found] == expected
        scores = [score for _, _, values in found for score in values or () if score is not None]
        assert scores == list(range(len(heads)))
        num_written += 1
    assert num_written > 50
