import json

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, UsageError
from genoformer.genome.quality import error_prob
from genoformer.io.read_groups import read_group_id
from genoformer.workflows.draft import DraftOptions, draft
from genoformer.workflows.draft_zmw import DraftSettings
from tests.align_inputs import raw_subread, records_of, reverse_complement, simulate_zmw, write_as_sequenced, write_raw
from tests.bam_builder import MOVIE, SN, bgzf, ccs_name, ccs_read, raw_header, write_bam

edlib = pytest.importorskip("edlib")
pytest.importorskip("mappy")
pytest.importorskip("pyabpoa")

NUM_PASSES = {zmw: 2 + zmw % 5 for zmw in range(1, 11)}  # 2, 7: 4; 5, 10: 2 and so on
DRAFTED = [zmw for zmw, count in NUM_PASSES.items() if count >= 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("draft")
    reads = [read for zmw, count in NUM_PASSES.items() for read in simulate_zmw(zmw, 300 + 40 * zmw, count)[1]]
    write_raw(folder / "raw.bam", reads)
    return folder


def run(folder, output, settings=None, **options):
    return draft(DraftOptions(str(folder / "raw.bam"), str(output), settings or DraftSettings(), **options))


@pytest.fixture(scope="module")
def drafted(folder):
    path = folder / "drafts.bam"
    return path, run(folder, path, threads=1)


def test_counts(drafted):
    counts = drafted[1]["counts"]
    assert counts == {
        "zmws": 10, "subreads": sum(NUM_PASSES.values()), "drafts": len(DRAFTED),
        "bases": sum(record.query_length for record in records_of(drafted[0])),
        "too_few_passes": 10 - len(DRAFTED), "not_alike": 0,
    }  # fmt: skip
    assert json.loads(drafted[0].with_name("drafts.bam.summary.json").read_text()) == drafted[1]


def test_records_are_those_of_ccs_reads(drafted):
    records = records_of(drafted[0])
    assert [record.query_name for record in records] == [ccs_name(zmw) for zmw in DRAFTED]
    for record, zmw in zip(records, DRAFTED, strict=True):
        truth = simulate_zmw(zmw, 300 + 40 * zmw, NUM_PASSES[zmw])[0].sequence
        strands = (truth, reverse_complement(truth))
        errors = min(edlib.align(strand, record.query_sequence, mode="HW")["editDistance"] for strand in strands)
        assert errors <= (0.05 if NUM_PASSES[zmw] < 5 else 0.025) * len(truth)
        tags = dict(record.get_tags())
        assert list(tags) == ["RG", "ec", "np", "rq", "sn", "zm"]
        assert (tags["RG"], tags["np"], tags["zm"]) == (read_group_id(MOVIE, "CCS"), NUM_PASSES[zmw], zmw)
        assert tags["ec"] == pytest.approx(NUM_PASSES[zmw], rel=0.02)
        assert tags["rq"] == pytest.approx(1 - error_prob(np.array(record.query_qualities)).mean(), rel=1e-6)
        assert list(tags["sn"]) == list(SN)
        assert record.is_unmapped


def test_header(drafted):
    with pysam.AlignmentFile(str(drafted[0]), check_sq=False) as file:
        header = file.header.to_dict()
    assert header["RG"] == [{"ID": read_group_id(MOVIE, "CCS"), "PL": "PACBIO", "DS": "READTYPE=CCS", "PU": MOVIE}]
    own = header["PG"][-1]
    assert (own["ID"], own["PP"]) == ("genoformer", "samtools")
    assert own["CL"] == "genoformer consensus draft raw.bam"
    assert own["DS"].startswith("mappy 2.")


def test_the_bytes_do_not_depend_on_the_number_of_processes(folder, drafted, tmp_path):
    assert run(folder, tmp_path / "two.bam", threads=2)["counts"] == drafted[1]["counts"]
    assert (tmp_path / "two.bam").read_bytes() == drafted[0].read_bytes()


@pytest.mark.parametrize("num_shards", [1, 3, 20])
def test_shards_put_together_are_the_file(folder, drafted, tmp_path, num_shards):
    records = []
    for index in range(1, num_shards + 1):
        run(folder, tmp_path / f"{index}.bam", threads=1, shard=(index, num_shards))
        records += [record.to_dict() for record in records_of(tmp_path / f"{index}.bam")]
    assert records == [record.to_dict() for record in records_of(drafted[0])]


def test_fewer_passes_on_request(folder, tmp_path):
    summary = run(folder, tmp_path / "all.bam", DraftSettings(min_passes=1, max_passes=4), threads=1)
    assert summary["counts"]["drafts"] == 10
    assert summary["command"] == "genoformer consensus draft raw.bam --min-passes 1 --max-passes 4"
    assert max(record.get_tag("np") for record in records_of(tmp_path / "all.bam")) == 4


def test_passes_that_have_nothing_in_common_and_subreads_without_bases(tmp_path):
    strangers = [raw_subread(1, 2000 * n, simulate_zmw(50 + n, 700, 1)[1][0].sequence) for n in range(3)]
    empty = [raw_subread(2, n, "") for n in range(3)]
    write_raw(tmp_path / "raw.bam", [*strangers, *empty, *simulate_zmw(3, 400, 3)[1]])
    counts = run(tmp_path, tmp_path / "out.bam", threads=1)["counts"]
    assert (counts["zmws"], counts["too_few_passes"]) == (3, 1)
    assert [record.get_tag("zm") for record in records_of(tmp_path / "out.bam")][-1] == 3


def test_long_subreads_do_not_count(folder, tmp_path):
    counts = run(folder, tmp_path / "out.bam", DraftSettings(max_length=450), threads=1)["counts"]
    assert 0 < counts["drafts"] < len(DRAFTED)


def test_without_kinetics_signal_or_read_groups(tmp_path):
    _, subreads = simulate_zmw(1, 400, 3)
    bare = [
        raw_subread(1, 1000 * n, read.sequence, pw=None, ip=None, sn=None, RG=None) for n, read in enumerate(subreads)
    ]
    write_bam(tmp_path / "raw.bam", bare)
    run(tmp_path, tmp_path / "out.bam", threads=1)
    assert list(dict(records_of(tmp_path / "out.bam")[0].get_tags())) == ["ec", "np", "rq", "zm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "out.fastq"}, "output 'out.fastq': expected a name ending in .bam"),
        ({"threads": 0}, "--threads is 0; expected at least 1"),
        ({"shard": (3, 2)}, "--shard is 3/2; expected i/N with 1 <= i <= N"),
        ({"settings": DraftSettings(min_passes=-1)}, "--min-passes is -1; expected at least 0"),
        ({"settings": DraftSettings(min_passes=4, max_passes=3)}, "--max-passes is 3; expected at least 4"),
        ({"settings": DraftSettings(max_length=49)}, "--max-length is 49; expected at least 50"),
        ({"output": "raw.bam"}, "subreads, output and its summary must be different files"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(UsageError) as refused:
        draft(DraftOptions(**{"subreads": "raw.bam", "output": "out.bam", **options}))
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ([], "raw.bam: holds no reads; expected raw subreads"),
        ([ccs_read(1, "ACGT")], f"read '{MOVIE}/1/ccs' is a CCS read; expected raw subreads"),
        ([raw_subread(1, 0, "ACGT", cx=None)], f"read {MOVIE}/1/0_4: has no tag cx"),
        ([raw_subread(zmw, at, "AC") for zmw, at in ((1, 0), (2, 0), (1, 9))], f"ZMW {MOVIE}/1 are in two places"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used_leaves_no_output(tmp_path, reads, message):
    write_bam(tmp_path / "raw.bam", reads)
    with pytest.raises(AlignmentError, match=message):
        run(tmp_path, tmp_path / "out.bam", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.bam"]


def test_a_truncated_file(folder, tmp_path):
    (tmp_path / "raw.bam").write_bytes((folder / "raw.bam").read_bytes()[:-100])
    with pytest.raises(AlignmentError, match="truncated"):
        run(tmp_path, tmp_path / "out.bam", threads=1)
    assert not (tmp_path / "out.bam").exists()


def test_a_shard_without_zmws_is_an_empty_file(tmp_path):
    (tmp_path / "raw.bam").write_bytes(bgzf(raw_header([])))
    counts = run(tmp_path, tmp_path / "out.bam", threads=1, shard=(2, 2))["counts"]
    assert counts["zmws"] == 0
    assert records_of(tmp_path / "out.bam") == []


def test_real_subreads(shared_data, tmp_path):
    write_as_sequenced(shared_data / "consensus" / "human_1m" / "subreads_to_ccs.bam", tmp_path / "raw.bam")
    counts = run(tmp_path, tmp_path / "out.bam", threads=1, shard=(1, 5))["counts"]
    assert counts["drafts"] > 0
    with pysam.AlignmentFile(str(shared_data / "consensus" / "human_1m" / "ccs.bam"), check_sq=False) as file:
        theirs = {record.query_name: record for record in file}
    for record in records_of(tmp_path / "out.bam"):
        assert record.get_tag("RG") == theirs[record.query_name].get_tag("RG")
        assert list(record.get_tag("sn")) == list(theirs[record.query_name].get_tag("sn"))
        if record.get_tag("zm") != 4194379:  # its "CCS" is one pass, copied
            assert abs(record.query_length - theirs[record.query_name].query_length) <= 15
