"""Runs of `correct` that ended early, and what goes on from there."""

import logging
import shutil
from pathlib import Path

import pytest

from genoformer.errors import OutputError
from genoformer.io.reads import partial_path
from genoformer.workflows import correct as correct_module
from genoformer.workflows.output import summary_path
from tests.bam_builder import EOF_BLOCK
from tests.correct_inputs import (
    Inputs,
    fastq_records,
    records,
    run_correct,
    save_tiny_model,
    simulate_molecules,
    write_inputs,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"), simulate_molecules(12), block_bytes=700)


def test_a_whole_output_of_the_same_run_is_left_alone(inputs, tmp_path, caplog):
    first = run_correct(inputs, tmp_path / "a.fastq")
    written = (tmp_path / "a.fastq").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert run_correct(inputs, tmp_path / "a.fastq", resume=True) == first
    assert (tmp_path / "a.fastq").stat().st_mtime_ns == written
    assert f"{tmp_path / 'a.fastq'}: is already whole; nothing to do" in caplog.text


def test_a_whole_output_of_another_run_is_refused_by_the_flag_and_replaced_without_resume(inputs, tmp_path):
    run_correct(inputs, tmp_path / "a.fastq")
    text = r"a.fastq: is whole, but of another run \(max_base_quality: 93 there, 7 here\); repeat its flags, or start"
    with pytest.raises(OutputError, match=text):
        run_correct(inputs, tmp_path / "a.fastq", resume=True, max_base_quality=7)
    run_correct(inputs, tmp_path / "a.fastq", max_base_quality=7)
    assert max("".join(quality for _, _, quality in fastq_records(tmp_path / "a.fastq"))) == chr(7 + 33)


def test_a_whole_output_that_was_changed_is_made_anew(inputs, tmp_path):
    run_correct(inputs, tmp_path / "a.fastq")
    expected = (tmp_path / "a.fastq").read_bytes()
    (tmp_path / "a.fastq").write_bytes(expected[:-1])
    run_correct(inputs, tmp_path / "a.fastq", resume=True)
    assert (tmp_path / "a.fastq").read_bytes() == expected


class StoppedError(Exception):
    pass


def run_until(number, monkeypatch, inputs, output, **options):
    """`correct` fails while it stitches its `number`-th molecule."""
    stitch, stitched = correct_module.stitch, []

    def stitch_or_stop(*arguments):
        stitched.append(1)
        if len(stitched) == number:
            raise StoppedError
        return stitch(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(correct_module, "stitch", stitch_or_stop)
        with pytest.raises(StoppedError):
            run_correct(inputs, output, **options)


@pytest.mark.parametrize("kind", ["fastq", "fastq.gz", "bam"])
@pytest.mark.parametrize("number", [1, 2, 7, 12])
def test_what_follows_a_molecule_that_failed_is_not_written(inputs, tmp_path, monkeypatch, kind, number):
    path = tmp_path / f"a.{kind}"
    expected = run_correct(inputs, tmp_path / f"whole.{kind}", report=str(tmp_path / "whole.tsv"))
    run_until(number, monkeypatch, inputs, path, report=str(tmp_path / "a.tsv"))
    assert not path.exists()
    found = run_correct(inputs, path, report=str(tmp_path / "a.tsv"), resume=True)
    assert records(path) == records(tmp_path / f"whole.{kind}")
    assert found["counts"] == expected["counts"]
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_resuming_a_shard_and_a_limit(inputs, tmp_path, monkeypatch):
    for options in ({"shard": (2, 2)}, {"limit": 7}):
        run_correct(inputs, tmp_path / "whole.fastq", **options)
        assert len(records(tmp_path / "whole.fastq")) >= 4
        run_until(3, monkeypatch, inputs, tmp_path / "a.fastq", **options)
        run_correct(inputs, tmp_path / "a.fastq", resume=True, **options)
        assert records(tmp_path / "a.fastq") == records(tmp_path / "whole.fastq")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"min_quality": 3}, "min_quality: 0 there, 3 here"),
        ({"ins_trim": 9}, "ins_trim: 5 there, 9 here"),
        ({"shard": (1, 2)}, r"shard: \[1, 1\] there, \[1, 2\] here"),
        ({"limit": 3}, "limit: None there, 3 here"),
        ({"calibration": "0,1,1"}, "calibration: 'skip' there, '0,1,1' here"),
        ({"report": "r.tsv"}, "report: False there, True here"),
    ],
)
def test_resuming_with_another_flag_is_refused_by_its_name(inputs, tmp_path, monkeypatch, option, text):
    run_until(5, monkeypatch, inputs, tmp_path / "a.fastq")
    partial = partial_path(tmp_path / "a.fastq").read_bytes()
    with pytest.raises(OutputError, match=rf"a.fastq.journal.json: is of another run \({text}\); repeat its flags"):
        run_correct(inputs, tmp_path / "a.fastq", resume=True, **option)
    assert partial_path(tmp_path / "a.fastq").read_bytes() == partial


def test_resuming_on_other_input_is_refused(inputs, tmp_path, monkeypatch):
    run_until(5, monkeypatch, inputs, tmp_path / "a.fastq")
    other = write_inputs(tmp_path / "other", simulate_molecules(11))
    with pytest.raises(OutputError, match=r"of another run \(ccs: 'ccs.bam, \d+ bytes, ends \w+' there, 'ccs.bam,"):
        run_correct(other, tmp_path / "a.fastq", resume=True)


@pytest.mark.parametrize("is_first", [True, False])
def test_other_input_of_the_same_name_and_size_is_refused(inputs, tmp_path, monkeypatch, is_first):
    """One byte of the first or the last block differs: its modification time, which no reader looks at."""
    copies = Inputs(*(shutil.copy(path, tmp_path) for path in inputs))
    run_until(5, monkeypatch, copies, tmp_path / "a.fastq")
    content = bytearray(Path(copies.ccs).read_bytes())
    start = 0 if is_first else content.rfind(b"\x1f\x8b\x08\x04", 0, -len(EOF_BLOCK))
    content[start + 4] ^= 1
    Path(copies.ccs).write_bytes(content)
    with pytest.raises(OutputError, match=r"of another run \(ccs: 'ccs.bam, (\d+) bytes, .* there, 'ccs.bam, \1 bytes"):
        run_correct(copies, tmp_path / "a.fastq", resume=True)


def test_a_run_goes_on_with_another_batch_size(inputs, tmp_path, monkeypatch):
    model = save_tiny_model(tmp_path)
    run_correct(inputs, tmp_path / "whole.bam", model=model, batch_size=5)
    run_until(5, monkeypatch, inputs, tmp_path / "a.bam", model=model, batch_size=3)
    run_correct(inputs, tmp_path / "a.bam", model=model, resume=True)
    assert records(tmp_path / "a.bam") == records(tmp_path / "whole.bam")


def test_killed_before_its_reads_replaced_older_ones_it_is_not_whole(inputs, tmp_path, monkeypatch):
    """The summary is there already, and the older reads happen to be as long."""
    path = tmp_path / "a.fastq"
    run_correct(inputs, path)
    older = path.read_bytes()
    run_correct(inputs, tmp_path / "b.fastq", max_base_quality=7)
    expected = (tmp_path / "b.fastq").read_bytes()
    assert len(expected) == len(older)
    # The state after the second run on `a.fastq` wrote its summary and died.
    (tmp_path / "b.fastq").rename(partial_path(path))
    summary_path(tmp_path / "b.fastq").rename(summary_path(path))
    run_correct(inputs, path, max_base_quality=7, resume=True)
    assert path.read_bytes() == expected
