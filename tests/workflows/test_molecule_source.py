import json

import pysam
import pytest

from genoformer.errors import AlignmentError, UsageError
from genoformer.io.read_groups import read_group_id
from genoformer.workflows import correct as correct_module
from genoformer.workflows.align import AlignOptions, align
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.draft import DraftOptions, draft
from genoformer.workflows.draft_zmw import DraftSettings
from genoformer.workflows.join import join_shards
from tests.align_inputs import raw_subread, records_of, simulate_zmw, write_as_sequenced, write_raw
from tests.bam_builder import MOVIE, write_bam
from tests.correct_inputs import records, save_tiny_model

for package in ("mappy", "edlib", "pyabpoa"):
    pytest.importorskip(package)

NUM_PASSES = {zmw: 2 + zmw % 4 for zmw in range(1, 9)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Raw subreads of eight ZMWs, of which two have too few passes for a draft."""
    folder = tmp_path_factory.mktemp("raw")
    reads = [read for zmw, count in NUM_PASSES.items() for read in simulate_zmw(zmw, 300 + 30 * zmw, count)[1]]
    return write_raw(folder / "raw.bam", reads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def run(raw, output, **options):
    usual = {"model": "vote", "min_quality": 0, "threads": 1}
    return correct(CorrectOptions(str(raw), None, str(output), **{**usual, **options}))


def run_one_by_one(raw, folder, output, settings=None, **options):
    """The three commands one after the other."""
    ccs, aligned = folder / "drafts.bam", folder / "aligned.bam"
    draft(DraftOptions(str(raw), str(ccs), settings or DraftSettings(), threads=1))
    align(AlignOptions(str(raw), str(ccs), str(aligned), threads=1))
    options = {"min_quality": 0, "threads": 1, **options}
    return correct(CorrectOptions(str(aligned), str(ccs), str(output), **{"model": "vote", **options}))


@pytest.mark.parametrize("kind", ["fastq", "bam"])
@pytest.mark.parametrize("with_model", [False, True])
def test_the_same_records_as_the_three_commands_one_after_the_other(raw, model, tmp_path, kind, with_model):
    options = {"model": model} if with_model else {}
    found = run(raw, tmp_path / f"a.{kind}", **options)
    expected = run_one_by_one(raw, tmp_path, tmp_path / f"b.{kind}", **options)
    assert records(tmp_path / f"a.{kind}") == records(tmp_path / f"b.{kind}")
    assert len(records(tmp_path / f"a.{kind}")) == 6
    assert found["counts"]["outcomes"] == {**expected["counts"]["outcomes"], "no_draft": 2}
    for count in ("written", "subreads", "windows", "windows_called", "bases_written"):
        assert found["counts"][count] == expected["counts"][count]


def test_settings_of_drafts_count(raw, tmp_path):
    settings = DraftSettings(min_passes=2, max_passes=4)
    run(raw, tmp_path / "a.fastq", draft=settings)
    run_one_by_one(raw, tmp_path, tmp_path / "b.fastq", settings)
    assert records(tmp_path / "a.fastq") == records(tmp_path / "b.fastq")
    assert len(records(tmp_path / "a.fastq")) == 8


def test_no_file_is_left_between(raw, tmp_path):
    run(raw, tmp_path / "a.bam", report=str(tmp_path / "a.tsv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bam", "a.bam.summary.json", "a.tsv"]


def test_the_bytes_do_not_depend_on_the_number_of_processes(raw, tmp_path):
    run(raw, tmp_path / "a.bam")
    run(raw, tmp_path / "b.bam", threads=3, batch_zmws=2)
    assert (tmp_path / "a.bam").read_bytes() == (tmp_path / "b.bam").read_bytes()


def test_shards_joined_are_the_file(raw, tmp_path):
    run(raw, tmp_path / "whole.fastq")
    shards = [tmp_path / f"{index}.fastq" for index in (1, 2, 3)]
    for index, shard in enumerate(shards, start=1):
        run(raw, shard, shard=(index, 3))
    join_shards([str(shard) for shard in shards], str(tmp_path / "joined.fastq"))
    assert records(tmp_path / "joined.fastq") == records(tmp_path / "whole.fastq")


def test_a_run_that_was_stopped_goes_on(raw, tmp_path, monkeypatch):
    expected = run(raw, tmp_path / "whole.fastq", report=str(tmp_path / "whole.tsv"))
    stitch, stitched = correct_module.stitch, []

    def stitch_or_stop(*arguments):
        stitched.append(1)
        if len(stitched) == 5:
            raise KeyboardInterrupt
        return stitch(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(correct_module, "stitch", stitch_or_stop)
        with pytest.raises(KeyboardInterrupt):
            run(raw, tmp_path / "a.fastq", report=str(tmp_path / "a.tsv"))
    found = run(raw, tmp_path / "a.fastq", report=str(tmp_path / "a.tsv"), resume=True)
    assert found["counts"] == expected["counts"]
    assert (tmp_path / "a.fastq").read_bytes() == (tmp_path / "whole.fastq").read_bytes()
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_a_zmw_without_a_draft_has_its_row_and_is_never_written(raw, tmp_path):
    run(raw, tmp_path / "a.fastq", report=str(tmp_path / "a.tsv"), on_fail="ccs")
    rows = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines()]
    of_zmw_4 = dict(zip(rows[0], rows[4], strict=True))
    assert (of_zmw_4["molecule"], of_zmw_4["outcome"], of_zmw_4["written"]) == (f"{MOVIE}/4/ccs", "no_draft", "none")
    assert (of_zmw_4["subreads"], of_zmw_4["unusable_subreads"], of_zmw_4["ccs_length"]) == ("0", "2", "0")
    assert len(records(tmp_path / "a.fastq")) == 6


def test_limit_counts_zmws(raw, tmp_path):
    assert run(raw, tmp_path / "a.fastq", limit=4)["counts"]["zmws"] == 4


def test_header_and_tags(raw, tmp_path):

    summary = run(raw, tmp_path / "a.bam", draft=DraftSettings(max_passes=9))
    with pysam.AlignmentFile(str(tmp_path / "a.bam"), check_sq=False) as file:
        header = file.header.to_dict()
    assert header["RG"][0]["ID"] == read_group_id(MOVIE, "CCS")
    own = header["PG"][-1]
    assert own["CL"] == "genoformer consensus run raw.bam --max-passes 9 --model vote --min-quality 0"
    assert ", drafts by mappy 2." in own["DS"]
    assert summary["identity"]["ccs"].startswith("drafts --max-passes 9 by mappy 2.")
    tags = dict(records_of(tmp_path / "a.bam")[0].get_tags())
    assert (tags["RG"], tags["zm"], tags["np"]) == (read_group_id(MOVIE, "CCS"), 1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draft": DraftSettings(min_passes=-1)}, "--min-passes is -1; expected at least 0"),
        ({"output": "raw.bam"}, "inputs, report and what is written for 'raw.bam' must be different files"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(UsageError) as refused:
        correct(CorrectOptions(**{"subreads": "raw.bam", "ccs": None, "output": "a.bam", **options}))
    assert str(refused.value) == message


def test_a_trained_model_needs_kinetics(model, tmp_path):
    bare = [raw_subread(1, 900 * n, read.sequence, pw=None) for n, read in enumerate(simulate_zmw(1, 400, 3)[1])]
    write_bam(tmp_path / "raw.bam", bare)
    with pytest.raises(AlignmentError, match=r"raw.bam: read .*: tag pw is missing"):
        run(tmp_path / "raw.bam", tmp_path / "a.fastq", model=model)
    assert run(tmp_path / "raw.bam", tmp_path / "b.fastq")["counts"]["written"] == 1


def test_real_subreads(shared_data, tmp_path):
    folder = shared_data / "consensus" / "human_1m"
    raw = write_as_sequenced(folder / "subreads_to_ccs.bam", tmp_path / "raw.bam")
    found = run(raw, tmp_path / "a.fastq", shard=(2, 5))
    assert found["counts"]["molecules"] >= 1
    assert json.loads((tmp_path / "a.fastq.summary.json").read_text())["counts"] == found["counts"]
