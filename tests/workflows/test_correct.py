import gzip
import json
import random
from dataclasses import replace

import numpy as np
import pysam
import pytest

from genoformer import __version__
from genoformer.errors import AlignmentError, UsageError
from genoformer.genome.quality import error_prob
from genoformer.models.checkpoint import model_hash
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.output import summary_path
from tests.bam_builder import REVERSE, UNMAPPED, bgzf, ccs_read, raw_header, subread
from tests.correct_inputs import (
    READ_GROUP,
    TINY,
    Inputs,
    Molecule,
    convert_golden,
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


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def human(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    return Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))


def by_name(path):
    return {name: (sequence, quality) for name, sequence, quality in fastq_records(path)}


# The same records, however they are computed


@pytest.mark.parametrize("batch_zmws", [1, 2, 7, 100])
def test_every_number_of_molecules_in_flight(inputs, tiny_model, tmp_path, batch_zmws):
    run_correct(inputs, tmp_path / "a.bam", model=tiny_model)
    run_correct(inputs, tmp_path / "b.bam", model=tiny_model, batch_zmws=batch_zmws)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")
    assert len(records(tmp_path / "a.bam")) == 12


@pytest.mark.parametrize("model", ["vote", "tiny"])
def test_worker_processes(inputs, tiny_model, tmp_path, model):
    model = tiny_model if model == "tiny" else model
    one = run_correct(inputs, tmp_path / "a.bam", model=model, threads=1)
    two = run_correct(inputs, tmp_path / "b.bam", model=model, threads=2)
    assert (one["run"]["pileup_processes"], two["run"]["pileup_processes"]) == (0, 1)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")


def content(path):
    """What a compressed file holds; its blocks end where a commit was due, which is a matter of time."""
    return gzip.decompress(path.read_bytes())


def test_devices_share_the_work_and_change_no_bit(inputs, tiny_model, tmp_path):
    run_correct(inputs, tmp_path / "one.bam", model=tiny_model, device="cpu", batch_size=4)
    two = run_correct(inputs, tmp_path / "two.bam", model=tiny_model, device="cpu,cpu", batch_size=4)
    assert content(tmp_path / "one.bam") == content(tmp_path / "two.bam")
    facts = two["run"]
    assert [device["device"] for device in facts["devices"]] == ["cpu", "cpu"]
    assert all(device["batches"] and 0 < device["busy"] <= 1 for device in facts["devices"])
    assert sum(device["batches"] for device in facts["devices"]) == -(-two["counts"]["windows_called"] // 4)
    assert facts["seconds"]["model"] == pytest.approx(
        sum(device["busy_seconds"] for device in facts["devices"]), abs=0.01
    )


@pytest.mark.parametrize("batch_size", [7, 16, 100])
def test_on_a_cpu_the_batch_size_changes_no_bit(shared_data, inputs, tmp_path, batch_size):
    model = convert_golden(shared_data / "consensus" / "golden" / "ckpt_preln_2L_full", tmp_path)
    run_correct(inputs, tmp_path / "a.bam", model=model)
    run_correct(inputs, tmp_path / "b.bam", model=model, batch_size=batch_size)
    assert content(tmp_path / "a.bam") == content(tmp_path / "b.bam")


@pytest.mark.parametrize("ccs_order", ["reversed", "shuffled"])
def test_any_order_of_the_ccs_file(inputs, tiny_model, tmp_path, ccs_order):
    molecules = simulate_molecules(12)
    shuffled = random.Random(1).sample(molecules, 12)
    order = molecules[::-1] if ccs_order == "reversed" else shuffled
    other = write_inputs(tmp_path / "other", molecules, ccs_order=order)
    run_correct(inputs, tmp_path / "a.bam", model=tiny_model)
    run_correct(other, tmp_path / "b.bam", model=tiny_model)
    assert records(tmp_path / "a.bam") == records(tmp_path / "b.bam")


def test_any_order_of_the_subreads_file(inputs, tiny_model, tmp_path):
    molecules = random.Random(2).sample(simulate_molecules(12), 12)
    run_correct(inputs, tmp_path / "a.bam", model=tiny_model)
    run_correct(write_inputs(tmp_path / "other", molecules), tmp_path / "b.bam", model=tiny_model)
    found = records(tmp_path / "b.bam")
    assert [record["name"] for record in found] == [molecule.ccs.name for molecule in molecules]
    assert sorted(found, key=lambda record: record["name"]) == sorted(
        records(tmp_path / "a.bam"), key=lambda record: record["name"]
    )


def test_real_reads_in_five_blocks_of_memory_or_one(human, tmp_path):
    run_correct(human, tmp_path / "a.fastq", batch_zmws=1)
    run_correct(human, tmp_path / "b.fastq", batch_zmws=100, threads=2)
    assert fastq_records(tmp_path / "a.fastq") == fastq_records(tmp_path / "b.fastq")


@pytest.mark.parametrize("kind", ["fastq", "fq.gz", "bam"])
def test_every_format_holds_the_same_reads(inputs, tmp_path, kind):
    run_correct(inputs, tmp_path / "a.fastq")
    run_correct(inputs, tmp_path / f"b.{kind}")
    found = records(tmp_path / f"b.{kind}")
    if kind == "bam":
        found = [(record["name"], record["seq"], record["qual"]) for record in found]
    assert found == fastq_records(tmp_path / "a.fastq")
    assert len(found) == 12


# BAM


def test_bam_header_and_tags(inputs, tiny_model, tmp_path):
    run_correct(
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
        assert sum(tags.pop("cp")) == len(read.query_sequence)
        assert tags.pop("rq") == pytest.approx(expected_rq, abs=1e-6)  # of what is written; the CCS read has 0.5
        assert tags == {"zm": molecule.ccs.tags["zm"], "np": num_passes, "ec": num_passes + 0.5, "RG": READ_GROUP}


def test_real_programs_are_chained(human, tmp_path):
    run_correct(human, tmp_path / "a.bam", limit=1)
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
        run_correct(inputs, tmp_path / name, **options)
        with pysam.AlignmentFile(str(tmp_path / name), check_sq=False) as file:
            headers.append(str(file.header))
    assert headers[0] == headers[1]


# Options


def test_on_fail(inputs, tmp_path):
    """Of the reads that fail, `ccs` writes the CCS read in its place, `drop` nothing."""
    dropped = run_correct(inputs, tmp_path / "a.fastq", min_quality=18, report=str(tmp_path / "r.tsv"))["counts"]
    kept = run_correct(inputs, tmp_path / "b.fastq", min_quality=18, on_fail="ccs")["counts"]
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
    counts = run_correct(inputs, tmp_path / "a.fastq")["counts"]
    assert (counts["outcomes"]["no_subreads"], counts["written"], counts["unusable_subreads"]) == (1, 2, 1)
    run_correct(inputs, tmp_path / "b.fastq", on_fail="ccs")
    assert by_name(tmp_path / "b.fastq")[molecules[1].ccs.name][0] == molecules[1].ccs.sequence


@pytest.mark.parametrize(("shard", "part"), [(None, ""), ((2, 3), " in shard 2/3")])
def test_raw_subreads_without_a_read_are_said_to_have_none(tmp_path, caplog, shard, part):
    pytest.importorskip("mappy")
    (tmp_path / "raw.bam").write_bytes(bgzf(raw_header([])))
    options = CorrectOptions(str(tmp_path / "raw.bam"), None, str(tmp_path / "a.fastq"), model="vote", shard=shard)
    assert correct(options)["counts"]["zmws"] == 0
    assert (tmp_path / "a.fastq").read_bytes() == b""
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == f"{tmp_path / 'raw.bam'}: has no ZMWs{part}, so the output has no reads"


def test_min_length(inputs, tmp_path):
    counts = run_correct(inputs, tmp_path / "a.fastq", min_length=200)["counts"]
    assert (counts["outcomes"]["success"], counts["outcomes"]["failed_length_filter"]) == (6, 6)
    assert all(len(sequence) >= 200 for _, sequence, _ in fastq_records(tmp_path / "a.fastq"))


def test_limit_counts_zmws(inputs, tmp_path):
    run_correct(inputs, tmp_path / "all.fastq")
    for limit in (1, 5, 12, 99):
        counts = run_correct(inputs, tmp_path / "some.fastq", limit=limit)["counts"]
        assert fastq_records(tmp_path / "some.fastq") == fastq_records(tmp_path / "all.fastq")[:limit]
        assert counts["zmws"] == min(limit, 12)


def test_skipped_windows_are_the_ccs(inputs, tmp_path):
    some = run_correct(inputs, tmp_path / "some.fastq", report=str(tmp_path / "r.tsv"))["counts"]
    none = run_correct(inputs, tmp_path / "none.fastq", skip_windows_above=0)["counts"]
    everything = run_correct(inputs, tmp_path / "ccs.fastq", skip_windows_above=0.001)["counts"]
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
        run_correct(inputs, tmp_path / "free.fastq", model=model)
        run_correct(inputs, tmp_path / "capped.fastq", model=model, max_base_quality=11)
        free = qualities(tmp_path / "free.fastq")
        assert free.max() > 11
        np.testing.assert_array_equal(qualities(tmp_path / "capped.fastq"), np.minimum(free, 11))


def test_calibrations_of_called_and_copied_bases(tmp_path):
    # Three passes that agree on four bases: the vote's error is 1 / (1 + e^(1 + 1.5 * 3)) + 0.02 / 4 = 0.00907, Q20.42.
    molecule = Molecule(ccs_read(1, "ACGT", [40] * 4), tuple(subread(1, "ACGT", "4=") for _ in range(3)))
    inputs = write_inputs(tmp_path, [molecule])

    def quality(**options):
        run_correct(inputs, tmp_path / "out.fastq", **options)
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
    run_correct(inputs, tmp_path / "own.fastq", model=model, skip_windows_above=0)
    run_correct(inputs, tmp_path / "none.fastq", model=model, skip_windows_above=0, calibration="skip")
    run_correct(inputs, tmp_path / "other.fastq", model=model, skip_windows_above=0, calibration="0,0,5")
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
    counts = run_correct(inputs, tmp_path / "a.fastq", model=model, smart_windows=True, report=report)["counts"]
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
        run_correct(inputs, tmp_path / "a.fastq", smart_windows=True)


def test_insertions_are_trimmed(tmp_path):
    inserted = "AC" + "G" * 8 + "GT"
    molecule = Molecule(ccs_read(1, "ACGT", [20] * 4), tuple(subread(1, inserted, "2=8I2=") for _ in range(3)))
    inputs = write_inputs(tmp_path, [molecule])
    for ins_trim, expected, num_trimmed in ((5, "ACGT", 24), (8, inserted, 0), (0, inserted, 0)):
        counts = run_correct(inputs, tmp_path / "a.fastq", ins_trim=ins_trim)["counts"]
        assert fastq_records(tmp_path / "a.fastq")[0][1] == expected
        assert counts["trimmed_bases"] == num_trimmed


def test_stdout_holds_only_the_reads(inputs, tmp_path, capfdbinary, monkeypatch):
    run_correct(inputs, tmp_path / "a.fastq")
    monkeypatch.chdir(tmp_path)
    capfdbinary.readouterr()
    run_correct(inputs, "-")
    assert capfdbinary.readouterr().out == (tmp_path / "a.fastq").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fastq", "a.fastq.summary.json"]


def test_progress_ends_with_the_whole_file(inputs, tmp_path):
    seen = []
    options = CorrectOptions(inputs.subreads, inputs.ccs, str(tmp_path / "a.fastq"), model="vote", threads=1)
    correct(options, lambda num_molecules, part: seen.append((num_molecules, part)))
    assert [num_molecules for num_molecules, _ in seen] == list(range(1, 13))
    parts = [part for _, part in seen]
    assert parts == sorted(parts)
    assert 0.9 < parts[-1] <= 1


# Summary


def test_the_summary_adds_up(human, tmp_path):
    summary = run_correct(human, tmp_path / "a.fastq.gz", min_quality=20, report=str(tmp_path / "r.tsv"))
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


@pytest.mark.parametrize("option", [{"calibration": "1,2"}, {"ccs_calibration": "x"}])
def test_a_calibration_that_is_none(inputs, tmp_path, option):
    with pytest.raises(UsageError) as error:
        run_correct(inputs, tmp_path / "a.fastq", **option)
    (text,) = option.values()
    assert str(error.value) == f"calibration is '{text}'; expected three numbers 'threshold,w,b', or 'skip'"
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_the_writer_ends_the_run(inputs, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genoformer.workflows.output.Counts.add", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        run_correct(inputs, tmp_path / "a.fastq", threads=2)
    assert not (tmp_path / "a.fastq").exists()


def test_compressed_output_is_bgzf(inputs, tmp_path):
    run_correct(inputs, tmp_path / "a.fastq")
    run_correct(inputs, tmp_path / "a.fq.gz")
    content = (tmp_path / "a.fq.gz").read_bytes()
    assert gzip.decompress(content) == (tmp_path / "a.fastq").read_bytes()
    with pysam.BGZFile(str(tmp_path / "a.fq.gz")) as file:
        assert file.read() == (tmp_path / "a.fastq").read_bytes()


def test_reverse_subreads_take_part(tmp_path):
    """A BAM record of a reverse subread is written along its CCS read: it votes as it stands."""
    passes = tuple(subread(1, "ACGT", "4=", flag=REVERSE) for _ in range(3))
    inputs = write_inputs(tmp_path, [Molecule(ccs_read(1, "AGGT", [5] * 4), passes)])
    run_correct(inputs, tmp_path / "a.fastq")
    assert fastq_records(tmp_path / "a.fastq")[0][1] == "ACGT"
