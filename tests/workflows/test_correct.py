import gzip
import json
import logging
import random
import re
from dataclasses import replace

import numpy as np
import pysam
import pytest
import torch

import genoformer.models.consensus as consensus_module
from genoformer import __version__
from genoformer.errors import AlignmentError, OutputError, UsageError
from genoformer.genome.quality import error_prob
from genoformer.io.reads import partial_path
from genoformer.models.checkpoint import load_checkpoint, model_hash, save_checkpoint
from genoformer.workflows import correct as correct_module
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.output import summary_path
from tests.bam_builder import REVERSE, UNMAPPED, ccs_read, subread
from tests.correct_inputs import (
    READ_GROUP,
    TINY,
    Inputs,
    Molecule,
    convert_golden,
    fastq_records,
    records,
    save_tiny_model,
    simulate_molecules,
    write_inputs,
)

NEAR_TIE = 1e-5
CALLED = ["", "A", "T", "C", "G"]  # what a pileup code emits


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"), simulate_molecules(12), block_bytes=700)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def human(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    return Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))


@pytest.fixture(scope="module")
def golden_models(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    golden = shared_data / "consensus" / "golden"
    return {name: convert_golden(golden / name, folder) for name in ("ckpt_preln_2L_full", "ckpt_rezero_6L")}


def run(inputs, output, **options):
    options = {"min_quality": 0, "threads": 1, **options}
    return correct(CorrectOptions(inputs.subreads, inputs.ccs, str(output), **options))


def by_name(path):
    return {name: (sequence, quality) for name, sequence, quality in fastq_records(path)}


# Reads equal the original's


class Spy:
    """Notes what the model and the stitching see: both best symbols of each column, and each molecule's windows."""

    def __init__(self, monkeypatch):
        self.best, self.second, self.gap, self.molecules = [], [], [], []
        call_bases, stitch = consensus_module.call_bases, correct_module.stitch

        def spy_on_calls(logits):
            prob, code = torch.softmax(logits.double(), -1).topk(2, dim=-1)
            self.best.append(code[..., 0].numpy())
            self.second.append(code[..., 1].numpy())
            self.gap.append((prob[..., 0] - prob[..., 1]).numpy())
            return call_bases(logits)

        def spy_on_molecules(molecule, calls, settings):
            self.molecules.append(molecule)
            return stitch(molecule, calls, settings)

        monkeypatch.setattr(consensus_module, "call_bases", spy_on_calls)
        monkeypatch.setattr(correct_module, "stitch", spy_on_molecules)

    def allowed_sequences(self):
        """By read: a pattern of what may be called, with either symbol where the two best are nearly tied."""
        best, second, gap = (np.concatenate(parts) for parts in (self.best, self.second, self.gap))
        patterns, first = {}, 0
        for molecule in self.molecules:
            parts, row = [], first
            ccs = molecule.ccs.sequence.decode()
            for is_called, (start, end) in zip(molecule.is_called, molecule.ccs_range, strict=True):
                if not is_called:
                    parts.append(ccs[start:end])
                    continue
                for one, other, distance in zip(best[row], second[row], gap[row], strict=True):
                    tied = distance < NEAR_TIE
                    parts.append(f"(?:{CALLED[one]}|{CALLED[other]})" if tied else CALLED[one])
                row += 1
            patterns[molecule.ccs.name], first = "".join(parts), row
        return patterns


def assert_equals_original(path, golden, patterns):
    found, expected = by_name(path), by_name(golden)
    assert list(found) == list(expected)[: len(found)]
    num_bases = num_different = 0
    for name, (sequence, quality) in found.items():
        golden_sequence, golden_quality = expected[name]
        assert re.fullmatch(patterns[name], golden_sequence), f"{name}: sequences differ beyond near-ties"
        if sequence == golden_sequence:
            difference = np.abs(np.frombuffer(quality.encode(), "i1") - np.frombuffer(golden_quality.encode(), "i1"))
            assert difference.max() <= 1
            num_bases += len(sequence)
            num_different += int((difference > 0).sum())
    assert num_bases > 0.5 * sum(len(sequence) for sequence, _ in expected.values()) * len(found) / len(expected)
    assert num_different <= 0.001 * num_bases


@pytest.mark.parametrize(
    ("name", "skip"),
    [
        ("ckpt_preln_2L_full", 0),
        ("ckpt_preln_2L_full", 45),
        ("ckpt_rezero_6L", 45),
        pytest.param("ckpt_rezero_6L", 0, marks=pytest.mark.slow),
    ],
)
def test_reads_equal_the_original(shared_data, human, golden_models, tmp_path, monkeypatch, name, skip):
    spy = Spy(monkeypatch)
    summary = run(human, tmp_path / "out.fastq", model=golden_models[name], skip_windows_above=skip)
    golden = shared_data / "consensus" / "golden" / name / f"run.skip{skip}.fastq"
    assert_equals_original(tmp_path / "out.fastq", golden, spy.allowed_sequences())
    assert summary["counts"]["windows"] == 1593
    assert summary["counts"]["windows_called"] == (1593 if skip == 0 else 1593 - 538)
    assert summary["counts"]["written"] == 10


def test_a_disturbed_weight_does_not_equal_the_original(shared_data, human, golden_models, tmp_path, monkeypatch):
    checkpoint = load_checkpoint(golden_models["ckpt_preln_2L_full"])
    state = dict(checkpoint.state_dict)
    state["head.bias"] = state["head.bias"] + torch.tensor([0, 0.03, 0, 0, 0])
    disturbed = tmp_path / "disturbed.safetensors"
    save_checkpoint(disturbed, state, checkpoint.config)
    spy = Spy(monkeypatch)
    run(human, tmp_path / "out.fastq", model=str(disturbed), limit=1)
    golden = shared_data / "consensus" / "golden" / "ckpt_preln_2L_full" / "run.skip45.fastq"
    with pytest.raises(AssertionError):
        assert_equals_original(tmp_path / "out.fastq", golden, spy.allowed_sequences())


# The same records, however they are computed


@pytest.mark.parametrize("batch_zmws", [1, 2, 7, 100])
def test_every_number_of_molecules_in_flight(inputs, tiny_model, tmp_path, batch_zmws):
    run(inputs, tmp_path / "a.bam", model=tiny_model)
    run(inputs, tmp_path / "b.bam", model=tiny_model, batch_zmws=batch_zmws)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")
    assert len(records(tmp_path / "a.bam")) == 12


@pytest.mark.parametrize("model", ["vote", "tiny"])
def test_worker_processes(inputs, tiny_model, tmp_path, model):
    model = tiny_model if model == "tiny" else model
    one = run(inputs, tmp_path / "a.bam", model=model, threads=1)
    two = run(inputs, tmp_path / "b.bam", model=model, threads=2)
    assert (one["run"]["pileup_processes"], two["run"]["pileup_processes"]) == (0, 1)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")


@pytest.mark.parametrize("batch_size", [16, 100])
def test_other_batch_sizes(shared_data, inputs, golden_models, tmp_path, batch_size):
    model = golden_models["ckpt_preln_2L_full"]
    run(inputs, tmp_path / "a.fastq", model=model)
    run(inputs, tmp_path / "b.fastq", model=model, batch_size=batch_size)
    one, other = by_name(tmp_path / "a.fastq"), by_name(tmp_path / "b.fastq")
    assert {name: sequence for name, (sequence, _) in one.items()} == {
        name: sequence for name, (sequence, _) in other.items()
    }
    qualities = [
        np.frombuffer("".join(quality for _, quality in read.values()).encode(), "i1") for read in (one, other)
    ]
    assert (np.abs(qualities[0] - qualities[1]) <= 1).all()
    assert (qualities[0] != qualities[1]).sum() <= 1


@pytest.mark.parametrize("ccs_order", ["reversed", "shuffled"])
def test_any_order_of_the_ccs_file(inputs, tiny_model, tmp_path, ccs_order):
    molecules = simulate_molecules(12)
    shuffled = random.Random(1).sample(molecules, 12)
    order = molecules[::-1] if ccs_order == "reversed" else shuffled
    other = write_inputs(tmp_path / "other", molecules, ccs_order=order)
    run(inputs, tmp_path / "a.bam", model=tiny_model)
    run(other, tmp_path / "b.bam", model=tiny_model)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")


def test_any_order_of_the_subreads_file(inputs, tiny_model, tmp_path):
    molecules = random.Random(2).sample(simulate_molecules(12), 12)
    run(inputs, tmp_path / "a.bam", model=tiny_model)
    run(write_inputs(tmp_path / "other", molecules), tmp_path / "b.bam", model=tiny_model)
    found = records(tmp_path / "b.bam")
    assert [record["name"] for record in found] == [molecule.ccs.name for molecule in molecules]
    assert sorted(found, key=lambda record: record["name"]) == sorted(
        records(tmp_path / "a.bam"), key=lambda record: record["name"]
    )


def test_real_reads_in_five_blocks_of_memory_or_one(human, tmp_path):
    run(human, tmp_path / "a.fastq", batch_zmws=1)
    run(human, tmp_path / "b.fastq", batch_zmws=100, threads=2)
    assert fastq_records(tmp_path / "a.fastq") == fastq_records(tmp_path / "b.fastq")


@pytest.mark.parametrize("kind", ["fastq", "fq.gz", "bam"])
def test_every_format_holds_the_same_reads(inputs, tmp_path, kind):
    run(inputs, tmp_path / "a.fastq")
    run(inputs, tmp_path / f"b.{kind}")
    found = records(tmp_path / f"b.{kind}")
    if kind == "bam":
        found = [(record["name"], record["seq"], record["qual"]) for record in found]
    assert found == fastq_records(tmp_path / "a.fastq")
    assert len(found) == 12


# BAM


def test_bam_header_and_tags(inputs, tiny_model, tmp_path):
    run(
        inputs, tmp_path / "a.bam", model=tiny_model, shard=(1, 1), threads=2, batch_zmws=3, skip_windows_above=30,
        report=str(tmp_path / "r.tsv"),
    )  # fmt: skip
    path = tmp_path / "a.bam"
    pysam.quickcheck("-u", str(path))
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        (program,) = file.header.to_dict()["PG"]
        reads = list(file.fetch(until_eof=True))
    assert program == {
        "ID": "genoformer",
        "PN": "genoformer",
        "VN": __version__,
        "CL": "genoformer consensus correct subreads_to_ccs.bam ccs.bam --model tiny_1.safetensors "
        "--skip-windows-above 30 --min-quality 0",
        "DS": f"model sha256:{model_hash(tiny_model)}",
    }
    for read, molecule in zip(reads, simulate_molecules(12), strict=True):
        assert (read.query_name, read.flag, read.reference_id) == (molecule.ccs.name, UNMAPPED, -1)
        tags = dict(read.get_tags())
        num_passes = molecule.ccs.tags["np"]
        expected_rq = 1 - np.mean([10 ** (-qual / 10) for qual in read.query_qualities])
        assert tags.pop("rq") == pytest.approx(expected_rq, abs=1e-6)  # of what is written; the CCS read has 0.5
        assert tags == {"zm": molecule.ccs.tags["zm"], "np": num_passes, "ec": num_passes + 0.5, "RG": READ_GROUP}


def test_real_programs_are_chained(human, tmp_path):
    run(human, tmp_path / "a.bam", limit=1)
    with pysam.AlignmentFile(str(tmp_path / "a.bam"), check_sq=False) as file:
        programs = {program["ID"]: program for program in file.header.to_dict()["PG"]}
    with pysam.AlignmentFile(human.ccs, check_sq=False) as file:
        before = {program["ID"]: program for program in file.header.to_dict()["PG"]}
    ours = programs.pop("genoformer")
    assert programs == before
    assert ours["PP"] in before
    assert ours["PP"] not in {program.get("PP") for program in before.values()}
    assert ours["DS"] == f"model vote-{__version__}"


@pytest.mark.parametrize("option", [{"shard": (1, 1)}, {"threads": 2}, {"batch_zmws": 3}, {"resume": True}])
def test_the_command_in_the_header_leaves_out_what_changes_no_record(inputs, tmp_path, option):
    headers = []
    for name, options in (("a.bam", {}), ("b.bam", option)):
        run(inputs, tmp_path / name, **options)
        with pysam.AlignmentFile(str(tmp_path / name), check_sq=False) as file:
            headers.append(str(file.header))
    assert headers[0] == headers[1]


# Options


def test_on_fail(inputs, tmp_path):
    """Of the reads that fail, `ccs` writes the CCS read in its place, `drop` nothing."""
    dropped = run(inputs, tmp_path / "a.fastq", min_quality=18, report=str(tmp_path / "r.tsv"))["counts"]
    kept = run(inputs, tmp_path / "b.fastq", min_quality=18, on_fail="ccs")["counts"]
    assert dropped["outcomes"] == kept["outcomes"]
    num_failed = dropped["outcomes"]["failed_quality_filter"]
    assert 0 < num_failed < 12
    assert (dropped["written"], dropped["written_ccs"]) == (12 - num_failed, 0)
    assert (kept["written"], kept["written_ccs"]) == (12, num_failed)
    corrected, found = by_name(tmp_path / "a.fastq"), by_name(tmp_path / "b.fastq")
    for molecule in simulate_molecules(12):
        ccs = molecule.ccs.sequence, "".join(chr(qual + 33) for qual in molecule.ccs.quals)
        assert found[molecule.ccs.name] == corrected.get(molecule.ccs.name, ccs)
    outcomes = [line.split("\t")[-2:] for line in (tmp_path / "r.tsv").read_text().splitlines()[1:]]
    assert [outcome for outcome, _ in outcomes].count("failed_quality_filter") == num_failed
    assert {tuple(row) for row in outcomes} == {("success", "corrected"), ("failed_quality_filter", "none")}


def test_a_molecule_without_subreads(tmp_path):
    molecules = simulate_molecules(3)
    alone = replace(molecules[1].subreads[0], flag=UNMAPPED, reference=None, cigar=None, start=-1)
    molecules[1] = Molecule(molecules[1].ccs, (alone,))
    inputs = write_inputs(tmp_path, molecules)
    counts = run(inputs, tmp_path / "a.fastq")["counts"]
    assert (counts["outcomes"]["no_subreads"], counts["written"], counts["unusable_subreads"]) == (1, 2, 1)
    run(inputs, tmp_path / "b.fastq", on_fail="ccs")
    assert by_name(tmp_path / "b.fastq")[molecules[1].ccs.name][0] == molecules[1].ccs.sequence


def test_min_length(inputs, tmp_path):
    counts = run(inputs, tmp_path / "a.fastq", min_length=200)["counts"]
    assert (counts["outcomes"]["success"], counts["outcomes"]["failed_length_filter"]) == (6, 6)
    assert all(len(sequence) >= 200 for _, sequence, _ in fastq_records(tmp_path / "a.fastq"))


def test_limit_counts_zmws(inputs, tmp_path):
    run(inputs, tmp_path / "all.fastq")
    for limit in (1, 5, 12, 99):
        counts = run(inputs, tmp_path / "some.fastq", limit=limit)["counts"]
        assert fastq_records(tmp_path / "some.fastq") == fastq_records(tmp_path / "all.fastq")[:limit]
        assert counts["zmws"] == min(limit, 12)


def test_skipped_windows_are_the_ccs(inputs, tmp_path):
    some = run(inputs, tmp_path / "some.fastq", report=str(tmp_path / "r.tsv"))["counts"]
    none = run(inputs, tmp_path / "none.fastq", skip_windows_above=0)["counts"]
    everything = run(inputs, tmp_path / "ccs.fastq", skip_windows_above=0.001)["counts"]
    assert 0 < some["windows_skipped"] < some["windows"]
    assert some["windows_called"] == some["windows"] - some["windows_skipped"]
    assert (none["windows_skipped"], everything["windows_skipped"]) == (0, everything["windows"])
    for molecule in simulate_molecules(12):
        sequence, quality = by_name(tmp_path / "ccs.fastq")[molecule.ccs.name]
        assert (sequence, [ord(letter) - 33 for letter in quality]) == (molecule.ccs.sequence, molecule.ccs.quals)
    rows = [line.split("\t") for line in (tmp_path / "r.tsv").read_text().splitlines()]
    skipped = rows[0].index("windows_skipped")
    assert sum(int(row[skipped]) for row in rows[1:]) == some["windows_skipped"]


def qualities(path):
    return np.array([ord(letter) - 33 for _, _, quality in fastq_records(path) for letter in quality])


def test_qualities_are_capped(inputs, tiny_model, tmp_path):
    for model in ("vote", tiny_model):
        run(inputs, tmp_path / "free.fastq", model=model)
        run(inputs, tmp_path / "capped.fastq", model=model, max_base_quality=11)
        free = qualities(tmp_path / "free.fastq")
        assert free.max() > 11
        np.testing.assert_array_equal(qualities(tmp_path / "capped.fastq"), np.minimum(free, 11))


def test_calibrations_of_called_and_copied_bases(tmp_path):
    # Three passes that agree on four bases: the vote's error is 1 / (1 + e^(1 + 1.5 * 3)) + 0.02 / 4 = 0.00907, Q20.42.
    molecule = Molecule(ccs_read(1, "ACGT", [40] * 4), tuple(subread(1, "ACGT", "4=") for _ in range(3)))
    inputs = write_inputs(tmp_path, [molecule])

    def quality(**options):
        run(inputs, tmp_path / "out.fastq", **options)
        return qualities(tmp_path / "out.fastq").tolist()

    assert quality(skip_windows_above=0) == [20] * 4
    assert quality(skip_windows_above=0, calibration="0,2,1") == [42] * 4  # 2 * 20.42 + 1 = 41.85
    assert quality(skip_windows_above=0, calibration="30,2,1") == [20] * 4  # not above the threshold
    assert quality(skip_windows_above=0, ccs_calibration="0,2,1") == [20] * 4
    assert quality(skip_windows_above=30) == [40] * 4
    assert quality(skip_windows_above=30, ccs_calibration="0,0.9,1.9") == [37] * 4  # 37.9, cut
    assert quality(skip_windows_above=30, calibration="0,2,1") == [40] * 4


def test_the_models_own_calibration(inputs, tmp_path):
    model = save_tiny_model(tmp_path, TINY.model_copy(update={"calibration": "0,0,17"}))
    run(inputs, tmp_path / "own.fastq", model=model, skip_windows_above=0)
    run(inputs, tmp_path / "none.fastq", model=model, skip_windows_above=0, calibration="skip")
    run(inputs, tmp_path / "other.fastq", model=model, skip_windows_above=0, calibration="0,0,5")
    assert set(qualities(tmp_path / "own.fastq")) == {17}
    assert len(set(qualities(tmp_path / "none.fastq"))) > 5
    assert set(qualities(tmp_path / "other.fastq")) == {5}


def test_smart_windows_copy_the_ccs_where_a_window_is_too_wide(tmp_path):
    """`wl` of 10, 30 and 10 bases with a model of 20 columns: the middle one stays as it is."""
    sequence = "ACGTA" * 10
    ccs = ccs_read(1, sequence, [30] * 50, wl=np.array([10, 30, 10], np.uint16).tolist())
    other = "C" * 50  # what every subread says instead
    cigar = "".join("1=" if base == "C" else "1X" for base in sequence)
    inputs = write_inputs(tmp_path, [Molecule(ccs, tuple(subread(1, other, cigar) for _ in range(3)))])
    model = save_tiny_model(tmp_path)
    report = str(tmp_path / "r.tsv")
    counts = run(inputs, tmp_path / "a.fastq", model=model, smart_windows=True, report=report)["counts"]
    assert (counts["windows"], counts["windows_called"], counts["windows_overflowing"]) == (3, 2, 1)
    assert counts["windows_skipped"] == 0
    ((_, found, quality),) = fastq_records(tmp_path / "a.fastq")
    assert found.count(sequence[10:40]) == 1
    at = found.index(sequence[10:40])
    assert at <= 20
    assert quality[at : at + 30] == chr(30 + 33) * 30
    assert len(found) - at - 30 <= 20


def test_smart_windows_need_the_wl_tag(inputs, tmp_path):
    with pytest.raises(AlignmentError, match=r"has no wl tag; expected window lengths for 90 bases; leave out --smart"):
        run(inputs, tmp_path / "a.fastq", smart_windows=True)


def test_insertions_are_trimmed(tmp_path):
    inserted = "AC" + "G" * 8 + "GT"
    molecule = Molecule(ccs_read(1, "ACGT", [20] * 4), tuple(subread(1, inserted, "2=8I2=") for _ in range(3)))
    inputs = write_inputs(tmp_path, [molecule])
    for ins_trim, expected, num_trimmed in ((5, "ACGT", 24), (8, inserted, 0), (0, inserted, 0)):
        counts = run(inputs, tmp_path / "a.fastq", ins_trim=ins_trim)["counts"]
        assert fastq_records(tmp_path / "a.fastq")[0][1] == expected
        assert counts["trimmed_bases"] == num_trimmed


def test_stdout_holds_only_the_reads(inputs, tmp_path, capfdbinary, monkeypatch):
    run(inputs, tmp_path / "a.fastq")
    monkeypatch.chdir(tmp_path)
    capfdbinary.readouterr()
    run(inputs, "-")
    assert capfdbinary.readouterr().out == (tmp_path / "a.fastq").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fastq", "a.fastq.summary.json"]


def test_progress_ends_with_the_whole_file(inputs, tmp_path):
    seen = []
    options = CorrectOptions(inputs.subreads, inputs.ccs, str(tmp_path / "a.fastq"), threads=1)
    correct(options, lambda num_molecules, part: seen.append((num_molecules, part)))
    assert [num_molecules for num_molecules, _ in seen] == list(range(1, 13))
    parts = [part for _, part in seen]
    assert parts == sorted(parts)
    assert 0.9 < parts[-1] <= 1


# Summary


def test_the_summary_adds_up(human, tmp_path):
    summary = run(human, tmp_path / "a.fastq.gz", min_quality=20, report=str(tmp_path / "r.tsv"))
    counts = summary["counts"]
    reads = fastq_records(tmp_path / "a.fastq.gz")
    assert counts["zmws"] == counts["molecules"] == sum(counts["outcomes"].values()) == 10
    assert counts["written"] == counts["outcomes"]["success"] == len(reads)
    assert counts["bases_written"] == sum(len(sequence) for _, sequence, _ in reads)
    assert counts["windows"] == counts["windows_called"] + counts["windows_skipped"] == 1593
    assert counts["subreads"] == 93
    errors = [np.mean(error_prob(np.frombuffer(quality.encode(), "u1") - 33)) for _, _, quality in reads]
    for phred in (20, 30, 40):
        assert counts["yield_reads"][f"q{phred}"] == sum(error <= 10 ** (-phred / 10) for error in errors)
    assert json.loads(summary_path(tmp_path / "a.fastq.gz").read_text()) == summary
    columns, *rows = [line.split("\t") for line in (tmp_path / "r.tsv").read_text().splitlines()]
    total = {name: sum(int(row[columns.index(name)]) for row in rows) for name in ("subreads", "windows", "ccs_length")}
    assert total == {"subreads": 93, "windows": 1593, "ccs_length": 116_018}
    written = [row for row in rows if row[columns.index("written")] == "corrected"]
    assert [row[0] for row in written] == [name for name, _, _ in reads]
    assert [int(row[columns.index("length")]) for row in written] == [len(sequence) for _, sequence, _ in reads]


# Going on


def test_a_whole_output_of_the_same_run_is_left_alone(inputs, tmp_path, caplog):
    first = run(inputs, tmp_path / "a.fastq")
    written = (tmp_path / "a.fastq").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert run(inputs, tmp_path / "a.fastq", resume=True) == first
    assert (tmp_path / "a.fastq").stat().st_mtime_ns == written
    assert f"{tmp_path / 'a.fastq'}: is already whole; nothing to do" in caplog.text


def test_a_whole_output_of_another_run_is_replaced(inputs, tmp_path):
    run(inputs, tmp_path / "a.fastq")
    run(inputs, tmp_path / "a.fastq", resume=True, max_base_quality=7)
    assert qualities(tmp_path / "a.fastq").max() == 7


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
            run(inputs, output, **options)


@pytest.mark.parametrize("kind", ["fastq", "fastq.gz", "bam"])
@pytest.mark.parametrize("number", [1, 2, 7, 12])
def test_what_follows_a_molecule_that_failed_is_not_written(inputs, tmp_path, monkeypatch, kind, number):
    path = tmp_path / f"a.{kind}"
    expected = run(inputs, tmp_path / f"whole.{kind}", report=str(tmp_path / "whole.tsv"))
    run_until(number, monkeypatch, inputs, path, report=str(tmp_path / "a.tsv"))
    assert not path.exists()
    found = run(inputs, path, report=str(tmp_path / "a.tsv"), resume=True)
    assert records(path) == records(tmp_path / f"whole.{kind}")
    assert found["counts"] == expected["counts"]
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_resuming_a_shard_and_a_limit(inputs, tmp_path, monkeypatch):
    for options in ({"shard": (2, 2)}, {"limit": 7}):
        run(inputs, tmp_path / "whole.fastq", **options)
        assert len(records(tmp_path / "whole.fastq")) >= 4
        run_until(3, monkeypatch, inputs, tmp_path / "a.fastq", **options)
        run(inputs, tmp_path / "a.fastq", resume=True, **options)
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
        run(inputs, tmp_path / "a.fastq", resume=True, **option)
    assert partial_path(tmp_path / "a.fastq").read_bytes() == partial


def test_resuming_on_other_input_is_refused(inputs, tmp_path, monkeypatch):
    run_until(5, monkeypatch, inputs, tmp_path / "a.fastq")
    other = write_inputs(tmp_path / "other", simulate_molecules(11))
    with pytest.raises(OutputError, match=r"is of another run \(ccs: 'ccs.bam, \d+ bytes' there, 'ccs.bam, \d+ bytes'"):
        run(other, tmp_path / "a.fastq", resume=True)


def test_killed_before_its_reads_replaced_older_ones_it_is_not_whole(inputs, tmp_path, monkeypatch):
    """The summary is there already, and the older reads happen to be as long."""
    path = tmp_path / "a.fastq"
    run(inputs, path)
    older = path.read_bytes()
    run(inputs, tmp_path / "b.fastq", max_base_quality=7)
    expected = (tmp_path / "b.fastq").read_bytes()
    assert len(expected) == len(older)
    # The state after the second run on `a.fastq` wrote its summary and died.
    (tmp_path / "b.fastq").rename(partial_path(path))
    summary_path(tmp_path / "b.fastq").rename(summary_path(path))
    run(inputs, path, max_base_quality=7, resume=True)
    assert path.read_bytes() == expected


# What cannot work


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"batch_size": 0}, "--batch-size is 0; expected at least 1"),
        ({"batch_zmws": 0}, "--batch-zmws is 0; expected at least 1"),
        ({"threads": 0}, "--threads is 0; expected at least 1"),
        ({"limit": 0}, "--limit is 0; expected at least 1"),
        ({"min_length": -1}, "--min-length is -1; expected at least 0"),
        ({"ins_trim": -1}, "--ins-trim is -1; expected at least 0"),
        ({"skip_windows_above": -1}, "--skip-windows-above is -1; expected at least 0"),
        ({"max_base_quality": 0}, "--max-base-quality is 0; expected 1 to 93"),
        ({"max_base_quality": 94}, "--max-base-quality is 94; expected 1 to 93"),
        ({"on_fail": "keep"}, "--on-fail is 'keep'; expected one of drop, ccs"),
        ({"precision": "fp64"}, "--precision is 'fp64'; expected one of fp32, bf16"),
        ({"shard": (0, 3)}, "--shard is 0/3; expected i/N with 1 <= i <= N"),
        ({"shard": (4, 3)}, "--shard is 4/3; expected i/N with 1 <= i <= N"),
        ({"calibration": "1,2"}, "calibration is '1,2'; expected three numbers 'threshold,w,b', or 'skip'"),
        ({"ccs_calibration": "x"}, "calibration is 'x'; expected three numbers 'threshold,w,b', or 'skip'"),
    ],
)
def test_options_that_cannot_work(inputs, tmp_path, option, text):
    with pytest.raises(UsageError) as error:
        run(inputs, tmp_path / "a.fastq", **option)
    assert str(error.value) == text
    assert list(tmp_path.iterdir()) == []


def test_stdout_cannot_be_resumed(inputs):
    with pytest.raises(UsageError, match="--resume needs an output file; stdout cannot be continued"):
        run(inputs, "-", resume=True)


def test_files_must_differ(inputs, tmp_path):
    for output, report in ((inputs.ccs, None), (tmp_path / "a.fastq", str(tmp_path / "a.fastq"))):
        with pytest.raises(UsageError, match="inputs, output and report must be different files"):
            run(inputs, output, report=report)


def test_a_failure_of_the_writer_ends_the_run(inputs, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genoformer.workflows.output.Counts.add", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        run(inputs, tmp_path / "a.fastq", threads=2)
    assert not (tmp_path / "a.fastq").exists()


def test_compressed_output_is_bgzf(inputs, tmp_path):
    run(inputs, tmp_path / "a.fastq")
    run(inputs, tmp_path / "a.fq.gz")
    content = (tmp_path / "a.fq.gz").read_bytes()
    assert gzip.decompress(content) == (tmp_path / "a.fastq").read_bytes()
    with pysam.BGZFile(str(tmp_path / "a.fq.gz")) as file:
        assert file.read() == (tmp_path / "a.fastq").read_bytes()


def test_reverse_subreads_take_part(tmp_path):
    """A BAM record of a reverse subread is written along its CCS read: it votes as it stands."""
    passes = tuple(subread(1, "ACGT", "4=", flag=REVERSE) for _ in range(3))
    inputs = write_inputs(tmp_path, [Molecule(ccs_read(1, "AGGT", [5] * 4), passes)])
    run(inputs, tmp_path / "a.fastq")
    assert fastq_records(tmp_path / "a.fastq")[0][1] == "ACGT"
