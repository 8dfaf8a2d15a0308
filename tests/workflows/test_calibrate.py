import json
import logging

import numpy as np
import pytest

from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.genome.calibration import CalibrationTables
from genoformer.workflows.assess import AssessOptions, assess
from genoformer.workflows.calibrate import CalibrateOptions, calibrate
from genoformer.workflows.simulate import SimulateOptions, simulate
from tests.assess_inputs import miscalibrated_reads, random_letters, write_truth
from tests.bam_builder import Read, ccs_read, write_bam
from tests.correct_inputs import Inputs, bam_records, run_correct

pytest.importorskip("mappy")
pytest.importorskip("edlib")


def run(tmp_path, reads, truth, **options):
    return calibrate(CalibrateOptions(str(reads), str(truth), str(tmp_path / "c.json"), threads=1, **options))


def table(content, source):
    return np.array(content[source]["calibrated"])


def test_both_kinds_of_bases_get_what_they_are_worth(tmp_path):
    content = run(tmp_path, *miscalibrated_reads(tmp_path, "reads", range(40), seed=1))
    assert table(content, "predicted")[[18, 22, 25, 30]] == pytest.approx([10, 14, 17, 22], abs=0.6)
    assert table(content, "copied")[93] == pytest.approx(25, abs=1)
    assert sum(content["predicted"]["bases"]) == 40 * 4000
    assert json.loads((tmp_path / "c.json").read_text()) == content


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two halves of simulated molecules, corrected by vote with windows skipped."""
    folder = tmp_path_factory.mktemp("simulated")
    for half, seed in (("fit", 11), ("held_out", 12)):
        simulate(SimulateOptions(folder / half, seed=seed, num_zmws=160, max_passes=9, max_length_bp=900))
        inputs = Inputs(str(folder / half / "subreads_to_ccs.bam"), str(folder / half / "ccs.bam"))
        run_correct(inputs, folder / half / "corrected.bam", skip_windows_above=18)
    calibrate(
        CalibrateOptions(
            str(folder / "fit/corrected.bam"), str(folder / "fit/truth.fasta"), str(folder / "c.json"), threads=1
        )
    )
    return folder


def test_held_out_reads_are_calibrated_within_two_phreds(simulated, tmp_path):
    half = simulated / "held_out"
    inputs = Inputs(str(half / "subreads_to_ccs.bam"), str(half / "ccs.bam"))
    run_correct(inputs, tmp_path / "calibrated.bam", skip_windows_above=18, calibration=str(simulated / "c.json"))
    found = {}
    for name, path in (("before", half / "corrected.bam"), ("after", tmp_path / "calibrated.bam")):
        output = str(tmp_path / f"{name}.json")
        options = AssessOptions(str(path), str(half / "ccs.bam"), str(half / "truth.fasta"), (output,), threads=1)
        found[name] = assess(options)["calibration"]["corrected"]["largest_deviation"]
    assert found["after"]["predicted"] < 2
    assert found["after"]["predicted"] < found["before"]["predicted"]


def test_correct_applies_to_each_base_what_the_file_says(simulated, tmp_path):
    half = simulated / "held_out"
    inputs = Inputs(str(half / "subreads_to_ccs.bam"), str(half / "ccs.bam"))
    summary = run_correct(
        inputs, tmp_path / "out.bam", skip_windows_above=18, calibration=str(simulated / "c.json"), max_base_quality=25
    )
    assert summary["identity"]["calibration_table"].startswith("sha256:")
    content = json.loads((simulated / "c.json").read_text())
    tables = CalibrationTables(np.stack([table(content, "predicted"), table(content, "copied")]))
    before, after = bam_records(half / "corrected.bam"), bam_records(tmp_path / "out.bam")
    kinds = set()
    for one, other in zip(before, after, strict=True):
        [runs] = [tag.split(",")[1:] for tag in one["tags"] if tag.startswith("cp:")]
        is_copied = np.repeat(np.arange(len(runs)) % 2 == 1, [int(run) for run in runs])
        quals = np.frombuffer(one["qual"].encode(), np.uint8) - 33
        expected = np.minimum(tables.apply(quals, is_copied), 25)
        assert (np.frombuffer(other["qual"].encode(), np.uint8) - 33).tolist() == expected.tolist()
        assert one["seq"] == other["seq"]
        kinds |= set(is_copied.tolist())
    assert kinds == {True, False}


def test_the_file_says_what_it_was_fitted_on(simulated):
    origin = json.loads((simulated / "c.json").read_text())["fitted_on"]
    assert (origin["reads"], origin["truth_kind"], origin["num_reads"], origin["aligned"]) == (
        "corrected.bam", "read", 160, 160,
    )  # fmt: skip
    assert (origin["calibration"], origin["ccs_calibration"]) == ("skip", "skip")
    assert origin["model"].startswith("vote-")


def test_calibrated_reads_are_refused(simulated, tmp_path):
    half = simulated / "held_out"
    inputs = Inputs(str(half / "subreads_to_ccs.bam"), str(half / "ccs.bam"))
    run_correct(inputs, tmp_path / "again.bam", calibration=str(simulated / "c.json"))
    with pytest.raises(DataError, match=r"again\.bam: its qualities are calibrated by a table already"):
        run(tmp_path, tmp_path / "again.bam", half / "truth.fasta")


def test_what_is_not_known_is_told(tmp_path, caplog):
    truth = random_letters(np.random.default_rng(1), 300)
    reads = write_bam(tmp_path / "reads.bam", [ccs_read(1, truth.decode(), movie="m")])
    with caplog.at_level(logging.WARNING):
        content = run(tmp_path, reads, write_truth(tmp_path / "t.fa", [("m/1/truth", truth)]))
    assert "reads.bam.summary.json is not there" in caplog.text
    assert "1 reads do not say which bases are copied" in caplog.text
    assert "has 0 wrong bases; with fewer than 1000 a table is rough" in caplog.text
    assert (content["fitted_on"]["model"], content["fitted_on"]["calibration"]) == (None, None)


def test_reads_without_qualities(tmp_path):
    truth = random_letters(np.random.default_rng(1), 300)
    reads = write_bam(tmp_path / "reads.bam", [Read("m/1/ccs", truth.decode(), flag=4)])
    with pytest.raises(DataError, match=r"reads\.bam: 1 of its reads have no qualities"):
        run(tmp_path, reads, write_truth(tmp_path / "t.fa", [("m/1/truth", truth)]))


def test_a_read_that_is_there_twice(tmp_path):
    truth = random_letters(np.random.default_rng(1), 300)
    read = ccs_read(1, truth.decode(), movie="m")
    reads = write_bam(tmp_path / "reads.bam", [read, ccs_read(2, truth.decode(), movie="m"), read])
    truths = write_truth(tmp_path / "t.fa", [("m/1/truth", truth), ("m/2/truth", truth)])
    with pytest.raises(DataError, match=r"reads\.bam: read 'm/1/ccs' is there twice; expected each read once"):
        run(tmp_path, reads, truths)
    assert not (tmp_path / "c.json").exists()


def test_an_empty_file(tmp_path):
    truth = write_truth(tmp_path / "t.fa", [("m/1/truth", b"ACGT")])
    with pytest.raises(AlignmentError, match=r"empty\.bam: holds no reads"):
        run(tmp_path, write_bam(tmp_path / "empty.bam", []), truth)
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "c.txt"}, r"output 'c\.txt': expected a name ending in \.json"),
        ({"threads": 0}, "--threads is 0"),
        ({"output": "r.bam.summary.json"}, "must be different files"),
    ],
)
def test_options_that_cannot_work(change, message):
    options = {"reads": "r.bam", "truth": "t.fa", "output": "c.json", **change}
    with pytest.raises(UsageError, match=message):
        CalibrateOptions(**options).check()
