import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genoformer.errors import OutputError
from genoformer.io.reads import partial_path
from genoformer.workflows import output as output_module
from genoformer.workflows.output import (
    REPORT_COLUMNS,
    CorrectedOutput,
    Counts,
    differing_keys,
    journal_path,
    summary_path,
)
from genoformer.workflows.stitch import Outcome, Stitched, corrected_read
from tests.correct_inputs import as_molecule, fastq_records

IDENTITY = {"model": "vote", "min_quality": 20}


@pytest.fixture(autouse=True)
def _commit_after_every_zmw(monkeypatch):
    monkeypatch.setattr(output_module, "COMMIT_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "out.fastq")


@pytest.fixture
def report(tmp_path):
    return str(tmp_path / "report.tsv")


def start(path, report=None, *, resume=False, identity=IDENTITY):
    return CorrectedOutput(path, "@HD\tVN:1.6\n", identity, report, resume)


def molecule_of(number, *, next_offset=None, **changes):
    """Molecule `number`, whose read has as many bases."""
    molecule = as_molecule("A" * number, [30] * number, ccs_range=[(0, number)], is_called=[True])
    ccs = replace(molecule.ccs, name=f"m/{number}/ccs")
    return replace(molecule, ccs=ccs, zmw=number, next_offset=next_offset, **changes)


def add(output, number, outcome=Outcome.SUCCESS, **changes):
    molecule = molecule_of(number, **{"next_offset": 1000 * number, **changes})
    stitched = Stitched(b"A" * number, np.full(number, 30, np.uint8), np.zeros(number, bool), 30.0, outcome)
    output.add(molecule, stitched, corrected_read(molecule, stitched) if outcome is Outcome.SUCCESS else None)


def lengths_in(path):
    return [len(sequence) for _, sequence, _ in fastq_records(path)]


def rows_of(report):
    return [line.split("\t") for line in Path(report).read_text().splitlines()]


def close(output):
    """What the system does with the files of a killed process, after all that it had flushed."""
    output._reads.abandon()
    if output._report is not None:
        output._report.abandon()


def journal_of(path):
    return json.loads(journal_path(path).read_text())


# Files and their names


def test_while_it_runs_nothing_has_its_final_name(path, report, tmp_path):
    output = start(path, report)
    add(output, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "out.fastq.journal.json",
        "out.fastq.partial",
        "report.tsv.partial",
    ]
    output.finish({})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.fastq", "out.fastq.summary.json", "report.tsv"]


def test_the_journal_holds_what_resuming_needs(path, report):
    output = start(path, report)
    add(output, 3)
    add(output, 5)
    journal = journal_of(path)
    assert (journal["identity"], journal["next_offset"]) == (IDENTITY, 5000)
    assert journal["output_bytes"] == len("@m/3/ccs\nAAA\n+\n???\n@m/5/ccs\nAAAAA\n+\n?????\n")
    assert journal["report_bytes"] == os.stat(partial_path(report)).st_size
    assert journal["counts"]["zmws"] == 2
    output.abandon()


def test_a_zmw_with_two_molecules_is_committed_as_one(path):
    output = start(path)
    add(output, 3)
    add(output, 4, next_offset=None)
    assert journal_of(path)["next_offset"] == 3000
    output.abandon()  # between the two: what is there goes on from before the ZMW
    assert journal_of(path)["counts"]["molecules"] == 1
    output = start(path, resume=True)
    add(output, 4, next_offset=None)
    add(output, 5)
    assert output.finish({})["counts"]["zmws"] == 2
    assert lengths_in(path) == [3, 4, 5]


def test_a_new_run_without_resume_starts_anew(path):
    output = start(path)
    add(output, 3)
    output.abandon()
    output = start(path)
    assert not journal_path(path).exists()
    add(output, 4)
    output.finish({})
    assert lengths_in(path) == [4]


def test_an_older_output_stays_until_the_new_one_is_whole(path):
    output = start(path)
    add(output, 3)
    output.finish({})
    output = start(path)
    add(output, 4)
    output.abandon()
    assert lengths_in(path) == [3]


def test_a_run_that_ends_before_its_first_zmw_leaves_nothing(path, report, tmp_path):
    start(path, report).abandon()
    assert list(tmp_path.iterdir()) == []


def test_rows_and_reads_after_the_last_commit_are_written_once(path, report, monkeypatch):
    output = start(path, report)
    add(output, 3)
    monkeypatch.setattr(output_module, "COMMIT_SECONDS", 1e9)
    add(output, 4)
    close(output)
    output = start(path, report, resume=True)
    assert (output.next_offset, output.counts.molecules) == (3000, 1)
    add(output, 4)
    output.finish({})
    assert lengths_in(path) == [3, 4]
    assert [row[0] for row in rows_of(report)] == ["molecule", "m/3/ccs", "m/4/ccs"]


# Killed while the files get their names


class KilledError(BaseException):
    pass


def kill_at_replace(monkeypatch, number):
    """The process dies before its `number`-th renaming."""
    replace_file, calls = os.replace, []

    def replace_or_die(source, target):
        calls.append(target)
        if len(calls) == number:
            raise KilledError
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", replace_or_die)


@pytest.mark.parametrize("number", [1, 2, 3])  # the report, the summary, the reads
@pytest.mark.parametrize("with_older_output", [False, True])
def test_killed_between_two_names(path, report, monkeypatch, number, with_older_output):
    if with_older_output:
        output = start(path, report, identity={"model": "another"})
        add(output, 9)
        output.finish({})
    output = start(path, report)
    add(output, 3)
    add(output, 4)
    with monkeypatch.context() as patch:
        kill_at_replace(patch, number)
        with pytest.raises(KilledError):
            output.finish({})
        close(output)
    assert lengths_in(path) == [9] if with_older_output else not os.path.exists(path)
    output = start(path, report, resume=True)
    assert (output.next_offset, output.counts.molecules) == (4000, 2)
    add(output, 5)
    summary = output.finish({})
    assert summary["counts"]["molecules"] == 3
    assert lengths_in(path) == [3, 4, 5]
    assert [row[0] for row in rows_of(report)] == ["molecule", "m/3/ccs", "m/4/ccs", "m/5/ccs"]
    assert json.loads(summary_path(path).read_text())["output_bytes"] == os.stat(path).st_size
    assert not journal_path(path).exists()


# Resuming


def test_another_run_is_not_resumed(path):
    output = start(path)
    add(output, 3)
    output.abandon()
    with pytest.raises(OutputError) as error:
        start(path, resume=True, identity={**IDENTITY, "min_quality": 30})
    assert str(error.value) == (
        f"{path}.journal.json: is of another run (min_quality: 20 there, 30 here); "
        "repeat its flags, or start without --resume"
    )
    assert journal_of(path)["identity"] == IDENTITY  # still there for the right flags


@pytest.mark.parametrize("missing", [journal_path, partial_path])
def test_without_journal_or_partial_file_it_starts_anew(path, missing):
    output = start(path)
    add(output, 3)
    output.abandon()
    missing(path).unlink()
    output = start(path, resume=True)
    assert (output.next_offset, output.counts.molecules) == (None, 0)
    add(output, 4)
    output.finish({})
    assert lengths_in(path) == [4]


def test_a_partial_file_that_lost_bytes_is_refused(path):
    output = start(path)
    add(output, 3)
    output.abandon()
    partial_path(path).write_bytes(b"@m")
    with pytest.raises(OutputError, match=r"out.fastq.partial: has 2 bytes, the journal says 19; start without"):
        start(path, resume=True)


def test_a_damaged_journal_is_refused(path):
    output = start(path)
    add(output, 3)
    output.abandon()
    journal_path(path).write_text("{")
    with pytest.raises(OutputError, match=r"out.fastq.journal.json: cannot be read as JSON"):
        start(path, resume=True)


# What is counted and reported


def test_counts_add_up(path):
    output = start(path)
    add(output, 3, num_unusable=2, num_trimmed_bases=7)
    add(output, 4, Outcome.FAILED_QUALITY)
    add(output, 5, Outcome.ONLY_GAPS, next_offset=None)
    counts = output.finish({})["counts"]
    assert counts == {
        "zmws": 2,
        "molecules": 3,
        "written": 1,
        "written_ccs": 0,
        "bases_written": 3,
        "subreads": 9,
        "unusable_subreads": 2,
        "trimmed_bases": 7,
        "windows": 3,
        "windows_called": 3,
        "windows_skipped": 0,
        "windows_overflowing": 0,
        "windows_empty": 0,
        "outcomes": {
            "success": 1,
            "no_draft": 0,
            "no_subreads": 0,
            "only_gaps": 1,
            "failed_quality_filter": 1,
            "failed_length_filter": 0,
        },
        "yield_reads": {"q20": 1, "q30": 1, "q40": 0},
        "yield_bases": {"q20": 3, "q30": 3, "q40": 0},
    }


def test_counts_of_shards_add_up():
    one = Counts(zmws=1, bases_written=10, yield_reads={"q20": 1, "q30": 0, "q40": 0})
    two = Counts(zmws=2, bases_written=20, yield_reads={"q20": 2, "q30": 1, "q40": 0})
    total = one.plus(two)
    assert (total.zmws, total.bases_written, total.yield_reads) == (3, 30, {"q20": 3, "q30": 1, "q40": 0})
    assert one.zmws == 1


def test_rows_of_the_report(path, report):
    output = start(path, report)
    windows = {"ccs_range": np.array([(0, 1), (1, 2), (2, 3), (3, 3)]), "is_called": np.array([1, 0, 0, 0], bool)}
    add(output, 3, num_unusable=2, num_trimmed_bases=7, num_overflowing=1, **windows)
    add(output, 4, Outcome.FAILED_LENGTH)
    output.finish({})
    columns, *rows = rows_of(report)
    assert columns == list(REPORT_COLUMNS)
    assert [dict(zip(columns, row, strict=True)) for row in rows] == [
        {
            "molecule": "m/3/ccs", "subreads": "3", "unusable_subreads": "2", "trimmed_bases": "7", "ccs_length": "3",
            "windows": "4", "windows_skipped": "2", "windows_overflowing": "1", "length": "3",
            "predicted_q": "30.000", "outcome": "success", "written": "corrected",
        },
        {
            "molecule": "m/4/ccs", "subreads": "3", "unusable_subreads": "0", "trimmed_bases": "0", "ccs_length": "4",
            "windows": "1", "windows_skipped": "0", "windows_overflowing": "0", "length": "4",
            "predicted_q": "30.000", "outcome": "failed_length_filter", "written": "none",
        },
    ]  # fmt: skip


def test_differences_name_what_is_there_and_here():
    assert differing_keys({"a": 1, "b": 2}, {"a": 1, "b": "x", "c": 3}) == [
        "b: 2 there, 'x' here",
        "c: None there, 3 here",
    ]


def test_stdout_leaves_no_files(tmp_path, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = start("-")
    add(output, 3)
    output.finish({})
    assert capfdbinary.readouterr().out == b"@m/3/ccs\nAAA\n+\n???\n"
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_an_error(path, tmp_path):
    with pytest.raises(OutputError, match=r"none/report.tsv.partial: cannot be written: No such file or directory"):
        start(path, str(tmp_path / "none" / "report.tsv"))
