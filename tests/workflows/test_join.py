import json
import logging
import os
import shutil
from pathlib import Path

import pysam
import pytest

from genoformer.errors import AlignmentError, OutputError, UsageError
from genoformer.io.reads import partial_path
from genoformer.workflows import join as join_module
from genoformer.workflows.join import join_shards
from genoformer.workflows.output import journal_path, summary_path
from tests.bam_builder import EOF_BLOCK
from tests.correct_inputs import records, run_correct, save_tiny_model, simulate_molecules, write_inputs

FORMATS = ["fastq", "fastq.gz", "bam"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"), simulate_molecules(12), block_bytes=700)


def run(inputs, output, **options):
    return run_correct(inputs, output, **{"min_quality": 15, **options})


def run_shards(inputs, folder, kind, count, **options):
    """Outputs of all shards."""
    paths = [str(folder / f"{index}_of_{count}.{kind}") for index in range(1, count + 1)]
    for index, path in enumerate(paths, start=1):
        run(inputs, path, shard=(index, count), **options)
    return paths


@pytest.fixture(scope="module")
def three_shards(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return [Path(path) for path in run_shards(inputs, folder, "fastq.gz", 3)]


@pytest.fixture
def shards(three_shards, tmp_path):
    """Copies of three shards and their summaries, to be damaged."""
    for path in three_shards:
        shutil.copy(path, tmp_path)
        shutil.copy(summary_path(path), tmp_path)
    return [str(tmp_path / path.name) for path in three_shards]


# The same records as of one run


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 20, 50])
def test_joined_shards_are_the_whole_run(inputs, tmp_path, kind, count):
    whole = run(inputs, tmp_path / f"whole.{kind}")
    shards = run_shards(inputs, tmp_path, kind, count)
    summary = join_shards(shards, str(tmp_path / f"joined.{kind}"))
    expected = records(tmp_path / f"whole.{kind}")
    assert 0 < len(expected) < 12  # some reads fail the filter
    assert records(tmp_path / f"joined.{kind}") == expected
    assert summary["counts"] == whole["counts"]
    assert summary["identity"] == whole["identity"]
    assert json.loads(summary_path(tmp_path / f"joined.{kind}").read_text()) == summary
    assert summary["output_bytes"] == os.stat(tmp_path / f"joined.{kind}").st_size


def test_some_of_many_shards_are_empty(inputs, tmp_path):
    shards = run_shards(inputs, tmp_path, "bam", 20)
    num_records = [len(records(path)) for path in shards]
    assert 0 in num_records
    for path in shards:
        pysam.quickcheck("-u", path)


@pytest.mark.parametrize("kind", ["fastq.gz", "bam"])
def test_one_header_and_one_end_of_file_block(inputs, tmp_path, kind):
    run(inputs, tmp_path / f"whole.{kind}")
    shards = run_shards(inputs, tmp_path, kind, 3)
    join_shards(shards, str(tmp_path / f"joined.{kind}"))
    content = (tmp_path / f"joined.{kind}").read_bytes()
    assert content.endswith(EOF_BLOCK)
    assert not content.removesuffix(EOF_BLOCK).endswith(EOF_BLOCK)
    if kind == "bam":
        pysam.quickcheck("-u", str(tmp_path / "joined.bam"))
        headers = []
        for name in ("joined.bam", "whole.bam"):
            with pysam.AlignmentFile(str(tmp_path / name), check_sq=False) as file:
                headers.append(str(file.header))
        assert headers[0] == headers[1]


def test_the_order_of_the_names_does_not_matter(shards, tmp_path):
    join_shards(shards, str(tmp_path / "a.fastq.gz"))
    join_shards([shards[2], shards[0], shards[1]], str(tmp_path / "b.fastq.gz"))
    assert (tmp_path / "a.fastq.gz").read_bytes() == (tmp_path / "b.fastq.gz").read_bytes()


def test_a_trained_model_in_five_shards(inputs, tmp_path):
    model = save_tiny_model(tmp_path)
    run(inputs, tmp_path / "whole.bam", model=model, min_quality=0)
    shards = run_shards(inputs, tmp_path, "bam", 5, model=model, min_quality=0)
    join_shards(shards, str(tmp_path / "joined.bam"))
    assert records(tmp_path / "joined.bam") == records(tmp_path / "whole.bam")
    assert len(records(tmp_path / "joined.bam")) == 12


def test_reports_are_joined_in_the_order_of_the_zmws(inputs, tmp_path):
    run(inputs, tmp_path / "whole.fastq", report=str(tmp_path / "whole.tsv"))
    shards = [str(tmp_path / f"{index}.fastq") for index in (1, 2, 3)]
    reports = [str(tmp_path / f"{index}.tsv") for index in (1, 2, 3)]
    for index, (shard, report) in enumerate(zip(shards, reports, strict=True), start=1):
        run(inputs, shard, shard=(index, 3), report=report)
    joined = str(tmp_path / "joined.tsv")
    join_shards(shards[::-1], str(tmp_path / "joined.fastq"), report=joined, shard_reports=reports[::-1])
    assert Path(joined).read_text() == (tmp_path / "whole.tsv").read_text()
    assert len(Path(joined).read_text().splitlines()) == 13


def test_a_joined_output_needs_no_resuming(inputs, shards, tmp_path):
    join_shards(shards, str(tmp_path / "joined.fastq.gz"))
    before = os.stat(tmp_path / "joined.fastq.gz")
    run(inputs, tmp_path / "joined.fastq.gz", resume=True)
    assert os.stat(tmp_path / "joined.fastq.gz").st_mtime_ns == before.st_mtime_ns


# What is refused, and that nothing is written then


def refusal(shards, tmp_path, error_type=OutputError, output="joined.fastq.gz", **reports):
    """Text of the error; the folder is as before."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error_type) as error:
        join_shards(shards, str(tmp_path / output), **reports)
    assert sorted(tmp_path.iterdir()) == before
    return str(error.value)


def edit_summary(shard, **changes):
    path = summary_path(shard)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_missing_shard(shards, tmp_path):
    assert refusal(shards[:2], tmp_path) == "shard 3 of 3 is missing (1 in all)"


def test_a_shard_that_is_not_there(shards, tmp_path):
    os.remove(shards[1])
    text = f"{shards[1]}: is not there; finish the shard first ('correct --shard ... --resume')"
    assert refusal(shards, tmp_path) == text


def test_a_shard_without_its_summary(shards, tmp_path):
    summary_path(shards[1]).unlink()
    text = f"{shards[1]}.summary.json: is not there; finish the shard first ('correct --shard ... --resume')"
    assert refusal(shards, tmp_path) == text


def test_a_shard_named_twice(shards, tmp_path):
    assert refusal([*shards, shards[0]], tmp_path) == f"{shards[0]}: is there twice; name each shard once"


def test_a_shard_and_its_copy(shards, tmp_path):
    copy = str(tmp_path / "copy.fastq.gz")
    shutil.copy(shards[0], copy)
    shutil.copy(summary_path(shards[0]), summary_path(copy))
    assert refusal([*shards, copy], tmp_path) == f"{copy}: is shard 1/3, as {shards[0]} is; name each shard once"


def test_a_truncated_shard(shards, tmp_path):
    size = os.stat(shards[2]).st_size
    os.truncate(shards[2], size - 1)
    text = f"{shards[2]}: has {size - 1} bytes, its summary says {size}; run the shard again"
    assert refusal(shards, tmp_path) == text


def test_a_shard_whose_later_run_is_not_finished(shards, tmp_path):
    partial_path(shards[2]).write_bytes(b"")
    text = f"{shards[2]}.partial: a later run of this shard is not finished; finish it with --resume"
    assert refusal(shards, tmp_path) == text


def test_an_unfinished_shard(inputs, shards, tmp_path):
    for path in (shards[2], summary_path(shards[2])):
        os.remove(path)
    partial_path(shards[2]).write_bytes(b"")
    journal_path(shards[2]).write_text("{}")
    text = f"{shards[2]}: is not there; finish the shard first ('correct --shard ... --resume')"
    assert refusal(shards, tmp_path) == text


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"min_quality": 16}, "min_quality: 16 there, 15 here"),
        ({"max_base_quality": 40}, "max_base_quality: 40 there, 93 here"),
        ({"on_fail": "ccs"}, "on_fail: 'ccs' there, 'drop' here"),
        ({"shard": (3, 4)}, "shard [3, 4] there, of 3 here"),
    ],
)
def test_a_shard_made_with_other_flags(inputs, shards, tmp_path, options, difference):
    run(inputs, shards[2], **{"shard": (3, 3), **options})
    assert refusal(shards, tmp_path) == f"{shards[2]}: is not of the same run as {shards[0]}: {difference}"


def test_a_shard_of_another_model(inputs, shards, tmp_path):
    run(inputs, shards[2], shard=(3, 3), model=save_tiny_model(tmp_path))
    text = refusal(shards, tmp_path)
    assert text.startswith(f"{shards[2]}: is not of the same run as {shards[0]}: model: 'sha256:")
    assert "model: 'sha256:" in text


def test_a_shard_of_other_input(shards, tmp_path):
    other = write_inputs(tmp_path / "other", simulate_molecules(5))
    run(other, shards[2], shard=(3, 3))
    text = refusal(shards, tmp_path)
    assert text.startswith(f"{shards[2]}: is not of the same run as {shards[0]}: ccs: 'ccs.bam, ")


def test_shards_made_with_a_limit(inputs, tmp_path):
    shards = run_shards(inputs, tmp_path, "fastq.gz", 2, limit=3)
    text = f"{shards[0]}: was made with --limit 3, which each shard counts anew; leave it out"
    assert refusal(shards, tmp_path) == text


def test_a_summary_of_a_later_version(shards, tmp_path):
    edit_summary(shards[1], format_version=99)
    assert refusal(shards, tmp_path) == (
        f"{shards[1]}.summary.json: has format version 99, this genoformer reads 1; run the shard again"
    )


def test_a_damaged_summary(shards, tmp_path):
    summary_path(shards[1]).write_text("{")
    assert refusal(shards, tmp_path).startswith(f"{shards[1]}.summary.json: cannot be read as JSON: ")


# Wrong usage


def test_another_format(shards, tmp_path):
    text = f"'{shards[0]}' is fastq.gz, the output '{tmp_path / 'joined.bam'}' is bam; use one format"
    assert refusal(shards, tmp_path, UsageError, "joined.bam") == text


def test_a_shard_as_output(shards, tmp_path):
    text = refusal(shards, tmp_path, UsageError, Path(shards[1]).name)
    assert text == f"output '{shards[1]}' is one of the shards or of their reports"


def test_a_shard_report_as_report(shards, tmp_path):
    reports = {"report": str(tmp_path / "b.tsv"), "shard_reports": [str(tmp_path / f"{name}.tsv") for name in "abc"]}
    text = refusal(shards, tmp_path, UsageError, **reports)
    assert text == f"report '{tmp_path / 'b.tsv'}' is one of the shards or of their reports"


def test_stdout_as_output(tmp_path):
    with pytest.raises(UsageError, match="joined shards need an output file"):
        join_shards(["a.fastq"], "-")


@pytest.mark.parametrize(
    "reports", [{"report": "r.tsv"}, {"shard_reports": ["a", "b", "c"]}, {"report": "r", "shard_reports": ["a"]}]
)
def test_reports_that_do_not_match(shards, tmp_path, reports):
    text = refusal(shards, tmp_path, UsageError, **reports)
    number = len(reports.get("shard_reports", []))
    assert text == f"{number} shard reports for 3 shards; give --report and one for each, or none"


def test_reports_of_shards_that_have_none(shards, tmp_path):
    reports = {"report": str(tmp_path / "r.tsv"), "shard_reports": [str(tmp_path / "none.tsv")] * 3}
    assert refusal(shards, tmp_path, **reports) == (
        f"{shards[0]}: was made without --report, so '{tmp_path / 'none.tsv'}' cannot be its report; leave reports out"
    )


@pytest.fixture
def reported(inputs, tmp_path):
    """Two shards and their reports."""
    shards, reports = ([str(tmp_path / f"{index}.{kind}") for index in (1, 2)] for kind in ("fastq", "tsv"))
    for index, (shard, report) in enumerate(zip(shards, reports, strict=True), start=1):
        run(inputs, shard, shard=(index, 2), report=report)
    return shards, reports


def test_reports_in_another_order_than_the_shards(reported, tmp_path):
    shards, reports = reported
    text = refusal(shards, tmp_path, output="a.fastq", report=str(tmp_path / "r.tsv"), shard_reports=reports[::-1])
    assert text == (
        f"{reports[1]}: is not the report of {shards[0]}, or was changed; name reports in the order of shards"
    )


def test_a_report_that_is_not_there(reported, tmp_path):
    shards, reports = reported
    os.remove(reports[1])
    text = refusal(shards, tmp_path, output="a.fastq", report=str(tmp_path / "r.tsv"), shard_reports=reports)
    assert text == f"{reports[1]}: is not there; it was named as the report of {shards[1]}"


def test_a_joined_output_without_its_report_is_not_that_of_a_run_with_one(inputs, reported, tmp_path):
    shards, _ = reported
    assert join_shards(shards, str(tmp_path / "a.fastq"))["identity"]["report"] is False
    with pytest.raises(OutputError, match="report: False there, True here"):
        run(inputs, tmp_path / "a.fastq", report=str(tmp_path / "r.tsv"), resume=True)


def test_a_shard_with_a_damaged_block(shards, tmp_path):
    path = Path(shards[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(AlignmentError, match="damaged"):
        join_shards([str(shard) for shard in shards], str(tmp_path / "joined.fastq.gz"))
    assert not (tmp_path / "joined.fastq.gz").exists()


# Going on


@pytest.mark.parametrize("kind", FORMATS)
def test_a_join_that_ended_early_goes_on(inputs, tmp_path, monkeypatch, kind, caplog):
    shards, joined = run_shards(inputs, tmp_path, kind, 3), tmp_path / f"joined.{kind}"
    whole = join_shards(shards, str(tmp_path / f"whole.{kind}"))
    append, appended = join_module._append, []

    def append_or_stop(target, shard, *arguments, **options):
        if len(appended) == 2:
            target.write(b"half a shard")
            raise KeyboardInterrupt
        append(target, shard, *arguments, **options)
        appended.append(shard)

    with monkeypatch.context() as patch:
        patch.setattr(join_module, "_append", append_or_stop)
        with pytest.raises(KeyboardInterrupt):
            join_shards(shards, str(joined))
    assert not joined.exists()
    with caplog.at_level(logging.INFO):
        summary = join_shards(shards, str(joined), resume=True)
    assert "resuming after 2 of 3 shards" in caplog.text
    assert joined.read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()
    assert summary == whole
    assert not journal_path(joined).exists()


def test_a_whole_join_is_left_alone_and_one_of_other_shards_is_not(inputs, tmp_path, caplog):
    shards, joined = run_shards(inputs, tmp_path, "fastq", 2), tmp_path / "joined.fastq"
    first = join_shards(shards, str(joined))
    written = joined.stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert join_shards(shards[::-1], str(joined), resume=True) == first
    assert "joined.fastq: is already whole; nothing to do" in caplog.text
    assert joined.stat().st_mtime_ns == written
    others = run_shards(inputs, tmp_path, "fastq", 2, max_base_quality=7)
    assert join_shards(others, str(joined), resume=True)["identity"]["max_base_quality"] == 7
    assert joined.stat().st_mtime_ns != written


def test_the_facts_of_all_shards_add_up(inputs, tmp_path):
    shards = run_shards(inputs, tmp_path, "fastq", 3)
    runs = [json.loads(summary_path(path).read_text())["run"] for path in shards]
    joined = join_shards(shards, str(tmp_path / "joined.fastq"))["run"]
    for stage in ("read", "pileup", "write", "total"):
        assert joined["seconds"][stage] == pytest.approx(sum(run["seconds"][stage] for run in runs), abs=0.002)
    assert (joined["num_shards"], joined["longest"]) == (3, max(run["seconds"]["total"] for run in runs))
    assert joined["bottleneck"] in {run["bottleneck"] for run in runs}
