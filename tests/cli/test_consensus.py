import dataclasses
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import genoformer.workflows.correct
from genoformer.cli.main import app
from genoformer.workflows.correct_options import CorrectOptions
from tests.correct_inputs import fastq_records, records, renumber, save_tiny_model, simulate_molecules, write_inputs

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"), simulate_molecules(6), block_bytes=700)


def invoke(*arguments):
    """The result of `genoformer consensus ...`; anything but an exit is raised."""
    return CliRunner().invoke(app, ["consensus", *map(str, arguments)], catch_exceptions=False)


def error_line(result):
    """Text of the one line of an error, once it is known to be bad data or usage that left stdout alone."""
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("genoformer: error: ")
    return line.removeprefix("genoformer: error: ")


# correct


def test_correct(inputs, tmp_path):
    result = invoke("correct", *inputs, "-o", tmp_path / "out.fastq", "--min-quality", "0", "--threads", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[-2] == "genoformer: 6 molecules (success 6); 6 reads written"
    assert lines[-1].startswith("genoformer: ")
    assert [name for name, _, _ in fastq_records(tmp_path / "out.fastq")] == [
        molecule.ccs.name for molecule in simulate_molecules(6)
    ]


def test_stdout_is_only_fastq(inputs, tmp_path):
    arguments = [*inputs, "--min-quality", "0", "-t", "1"]
    invoke("correct", *arguments, "-o", tmp_path / "out.fastq")
    result = invoke("correct", *arguments, "-o", "-")
    assert result.stdout == (tmp_path / "out.fastq").read_text()
    assert "6 reads written" in result.stderr


def test_quiet(inputs, tmp_path):
    result = invoke("correct", *inputs, "-o", tmp_path / "out.fastq", "-q", "-t", "1")
    assert (result.exit_code, result.output) == (0, "")
    result = invoke("correct", *inputs, "-o", tmp_path / "out.sam", "-q", "-t", "1")
    assert error_line(result).startswith("output '")


CORRECT, RUN = ("correct", "s.bam", "c.bam"), ("run", "s.bam")
FLAGS = {
    "--model": ("a.safetensors", "a.safetensors"),
    "--batch-size": ("3", 3),
    "--batch-zmws": ("4", 4),
    "--threads": ("5", 5),
    "--device": ("cpu", "cpu"),
    "--precision": ("bf16", "bf16"),
    "--skip-windows-above": ("6.5", 6.5),
    "--min-quality": ("7.5", 7.5),
    "--min-length": ("8", 8),
    "--max-base-quality": ("9", 9),
    "--calibration": ("0,1,2", "0,1,2"),
    "--ccs-calibration": ("1,2,3", "1,2,3"),
    "--ins-trim": ("10", 10),
    "--smart-windows": (None, True),
    "--limit": ("11", 11),
    "--shard": ("2/3", (2, 3)),
    "--resume": (None, True),
    "--on-fail": ("ccs", "ccs"),
    "--report": ("r.tsv", "r.tsv"),
}


@pytest.fixture
def options_of(monkeypatch):
    """Runs `correct`, or `run`, with flags up to the workflow; returns the options that arrive there."""

    def arrive(*flags, inputs=CORRECT):
        seen = []
        counts = {"molecules": 0, "outcomes": {}, "written": 0, "windows": 0, "windows_called": 0}
        with monkeypatch.context() as patch:
            patch.setattr(
                genoformer.workflows.correct,
                "correct",
                lambda options, progress: seen.append(options) or {"counts": counts},
            )
            assert invoke(*inputs, "-o", "o.bam", *flags).exit_code == 0
        return dataclasses.asdict(seen[0])

    return arrive


def test_defaults_are_those_of_the_workflow(options_of):
    assert options_of() == dataclasses.asdict(CorrectOptions("s.bam", "c.bam", "o.bam"))
    assert options_of(inputs=RUN) == dataclasses.asdict(CorrectOptions("s.bam", None, "o.bam"))


def test_every_flag_arrives(options_of):
    names = {flag.removeprefix("--").replace("-", "_") for flag in FLAGS}
    all_names = {field.name for field in dataclasses.fields(CorrectOptions)}
    assert names == all_names - {"subreads", "ccs", "output", "draft"}
    for inputs, flags in ((CORRECT, set(FLAGS)), (RUN, set(FLAGS) - {"--smart-windows"})):  # drafts have no tag wl
        defaults = options_of(inputs=inputs)
        for flag in flags:
            text, value = FLAGS[flag]
            name = flag.removeprefix("--").replace("-", "_")
            found = options_of(*[flag] + [text] * (text is not None), inputs=inputs)
            assert found == {**defaults, name: value}
            assert value != defaults[name]


def test_flags_of_drafts_arrive(options_of):
    found = options_of("--min-passes", "1", "--max-passes", "20", "--max-length", "9000", inputs=RUN)
    assert found["draft"] == {"min_passes": 1, "max_passes": 20, "max_length": 9000}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["s.bam", "c.bam"], "Missing option"),
        (["s.bam", "-o", "o.bam"], "Missing argument"),
        (["s.bam", "c.bam", "-o", "o.bam", "--shard", "3"], "'3'; expected i/N, for instance 3/100"),
        (["s.bam", "c.bam", "-o", "o.bam", "--shard", "a/b"], "'a/b'; expected i/N, for instance 3/100"),
        (["s.bam", "c.bam", "-o", "o.bam", "--on-fail", "keep"], "'keep' is not one of 'drop', 'ccs'"),
        (["s.bam", "c.bam", "-o", "o.bam", "--batch-size", "x"], "Invalid value for '--batch-size'"),
        (["s.bam", "c.bam", "-o", "o.bam", "--batch_size", "3"], "No such option"),
    ],
)
def test_arguments_that_do_not_parse(arguments, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    result = invoke("correct", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "example"), [("--passes", "3-12"), ("--length", "800-1500")])
def test_a_range_that_does_not_parse(tmp_path, monkeypatch, flag, example):
    monkeypatch.setenv("COLUMNS", "200")
    result = invoke("simulate", "--seed", "1", "-o", tmp_path / "out", flag, "1000")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"'1000'; expected least-most, for instance {example}" in result.stderr


def test_help_of_join_names_its_option(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "rows of every --shard-report" in invoke("join", "--help").stdout


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--shard", "4/3"], "--shard is 4/3; expected i/N with 1 <= i <= N"),
        (["--batch-size", "0"], "--batch-size is 0; expected at least 1"),
        (["--device", "tpu!"], "--device is 'tpu!'; expected cpu, cuda or cuda:N"),
        (["--calibration", "1"], "calibration is '1'; expected three numbers 'threshold,w,b', or 'skip'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(inputs, tmp_path, flags, text):
    model = save_tiny_model(tmp_path)
    result = invoke("correct", *inputs, "-o", tmp_path / "out.fastq", "-m", model, *flags)
    assert (result.exit_code, error_line(result)) == (2, text)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny_1.safetensors"]


def test_an_output_of_unknown_format(inputs, tmp_path):
    result = invoke("correct", *inputs, "-o", "out.sam")
    expected = ".fastq, .fq, .fastq.gz, .fq.gz, .bam, or - for stdout"
    assert (result.exit_code, error_line(result)) == (2, f"output 'out.sam': expected a name ending in {expected}")


def bad_data(inputs, tmp_path):
    """Arguments that end in exit 1, and the line that says why."""
    none, out = tmp_path / "none.bam", tmp_path / "out.fastq"
    cut = tmp_path / "cut.bam"
    cut.write_bytes(Path(inputs.subreads).read_bytes()[:-40])
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"no model")
    folder = tmp_path / "folder.bam"
    folder.mkdir(exist_ok=True)
    good = [inputs.subreads, inputs.ccs]
    return {
        "no subreads file": ([none, inputs.ccs, "-o", out], f"{none}: cannot be opened: No such file or directory"),
        "no CCS file": ([inputs.subreads, none, "-o", out], f"{none}: cannot be opened: No such file or directory"),
        "a folder": ([folder, inputs.ccs, "-o", out], f"{folder}: cannot be opened: Is a directory"),
        "a cut file": ([cut, inputs.ccs, "-o", out], f"{cut}: has no end-of-file block, so it is truncated; "),
        "exchanged files": ([inputs.ccs, inputs.subreads, "-o", out], f"{inputs.ccs}: its header has no @SQ line; "),
        "no model": ([*good, "-o", out, "-m", none], f"{none}: cannot be read: "),
        "a broken model": ([*good, "-o", out, "-m", model], f"{model}: no whole safetensors file ("),
        "no folder": ([*good, "-o", none / "o.bam"], f"{none / 'o.bam.partial'}: cannot be written: No such file"),
    }


KINDS_OF_BAD_DATA = [
    "no subreads file",
    "no CCS file",
    "a folder",
    "a cut file",
    "exchanged files",
    "no model",
    "a broken model",
    "no folder",
]


@pytest.mark.parametrize("kind", KINDS_OF_BAD_DATA)
def test_bad_data_is_one_line_and_exit_1(inputs, tmp_path, kind):
    arguments, text = bad_data(inputs, tmp_path)[kind]
    result = invoke("correct", *arguments, "-t", "1")
    assert error_line(result).startswith(text)
    assert result.exit_code == 1
    assert not list(tmp_path.glob("out.fastq*"))


# join, filter


def test_shards_are_joined(inputs, tmp_path):
    arguments = [*inputs, "--min-quality", "0", "-t", "1"]
    invoke("correct", *arguments, "-o", tmp_path / "whole.bam", "--report", tmp_path / "whole.tsv")
    shards, reports = [], []
    for index in (1, 2, 3):
        shards.append(tmp_path / f"{index}.bam")
        reports += ["--shard-report", tmp_path / f"{index}.tsv"]
        invoke("correct", *arguments, "-o", shards[-1], "--shard", f"{index}/3", "--report", reports[-1])
    result = invoke("join", *shards, "-o", tmp_path / "joined.bam", "--report", tmp_path / "joined.tsv", *reports)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[0] == "genoformer: 6 molecules (success 6); 6 reads written"
    assert records(tmp_path / "joined.bam") == records(tmp_path / "whole.bam")
    assert (tmp_path / "joined.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_a_missing_shard(inputs, tmp_path):
    invoke("correct", *inputs, "-o", tmp_path / "1.bam", "--shard", "1/2", "-t", "1")
    result = invoke("join", tmp_path / "1.bam", "-o", tmp_path / "joined.bam")
    assert (result.exit_code, error_line(result)) == (1, "shard 2 of 2 is missing (1 in all)")


def test_shards_of_two_formats(tmp_path):
    result = invoke("join", "1.bam", "-o", "joined.fastq")
    assert result.exit_code == 2
    assert error_line(result) == "'1.bam' is bam, the output 'joined.fastq' is fastq; use one format"


FASTQ = b"@q30\nACGT\n+\n????\n@q20\nAC\n+\n55\n"


def test_filter(tmp_path):
    (tmp_path / "reads.fq.gz").write_bytes(gzip.compress(FASTQ))
    result = invoke("filter", tmp_path / "reads.fq.gz", "-o", tmp_path / "kept.bam", "--min-quality", "25")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "kept 1 of 2 reads, 4 bases\n"
    assert [record["name"] for record in records(tmp_path / "kept.bam")] == ["q30"]
    result = invoke("filter", tmp_path / "reads.fq.gz", "-o", "-", "--min-quality", "0")
    assert result.stdout == FASTQ.decode()


def test_quiet_filter_and_join(inputs, tmp_path):
    (tmp_path / "reads.fq").write_bytes(FASTQ)
    done = invoke("filter", tmp_path / "reads.fq", "-o", tmp_path / "kept.fq", "--min-quality", "25", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    invoke("correct", *inputs, "-o", tmp_path / "1.fastq", "--shard", "1/1", "-t", "1")
    done = invoke("join", tmp_path / "1.fastq", "-o", tmp_path / "all.fastq", "-q")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "all.fastq").read_bytes() == (tmp_path / "1.fastq").read_bytes()


def test_quiet_examples(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "genoformer.workflows.examples.make_examples",
        lambda options: made.append(options) or {"n_zmw_processed": 1, "n_zmw_pass": 1, "n_examples_train": 3},
    )
    arguments = [
        "examples",
        "s.bam",
        "c.bam",
        "--truth-to-ccs",
        "t.bam",
        "--truth-bed",
        "t.bed",
        "--truth-split",
        "t.tsv",
    ]
    assert invoke(*arguments, "-o", tmp_path, "-q").output == ""
    assert invoke(*arguments, "-o", tmp_path).stderr == "1 of 1 molecule: 3 train, 0 eval, 0 test\n"
    assert len(made) == 2


def test_filter_of_a_cut_file(tmp_path):
    path = tmp_path / "reads.fq.gz"
    path.write_bytes(gzip.compress(FASTQ)[:-9])
    result = invoke("filter", path, "-o", tmp_path / "kept.fastq", "--min-quality", "25")
    expected = f"{path}: cannot be read as FASTQ after 1 read: Compressed file ended before"
    assert error_line(result).startswith(expected)
    assert [file.name for file in tmp_path.iterdir()] == ["reads.fq.gz"]


# As a process of its own


def run_process(*arguments, stdout=subprocess.PIPE, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "kernels")])
    return subprocess.Popen(
        [sys.executable, "-m", "genoformer.cli.main", "consensus", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
        **options,
    )


def test_talk_goes_to_stderr_and_reads_to_stdout(inputs, tmp_path):
    model = save_tiny_model(tmp_path)
    with run_process("correct", *inputs, "-m", model, "-o", "-", "--min-quality", "0", cwd=tmp_path) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stdout.startswith(b"@m64011_190228_190319/1000/ccs\n")
    assert stdout.count(b"\n") == 4 * 6
    lines = stderr.decode().splitlines()
    assert all(line.startswith("genoformer: ") for line in lines)
    assert any("fp32 on cpu" in line for line in lines)  # the path that was taken is logged
    assert [path.name for path in tmp_path.iterdir()] == ["tiny_1.safetensors"]


def test_an_error_of_a_worker_process_is_one_line(inputs, tmp_path):
    """The subreads of this pair reach beyond its CCS reads, which the pileup finds."""
    shorter = [
        dataclasses.replace(
            molecule,
            ccs=dataclasses.replace(molecule.ccs, sequence=molecule.ccs.sequence[:50], quals=molecule.ccs.quals[:50]),
        )
        for molecule in simulate_molecules(6)
    ]
    other = write_inputs(tmp_path / "other", shorter)
    with run_process(
        "correct", inputs.subreads, other.ccs, "-o", tmp_path / "out.bam", "-m", "vote", "-t", "2"
    ) as process:
        stdout, stderr = process.communicate()
    (line,) = stderr.decode().splitlines()
    assert (process.returncode, stdout) == (1, b"")
    assert line.startswith(f"genoformer: error: {inputs.subreads}")
    assert "aligned to m64011_190228_190319/1000/ccs:0-90" in line
    assert line.endswith("which has 50 bases; check that the subreads and CCS files belong together")
    assert not (tmp_path / "out.bam").exists()


def test_a_reader_that_goes_away(inputs, tmp_path):
    many = renumber(inputs, tmp_path, 60)
    with run_process("correct", *many, "-o", "-", "-m", "vote", "--min-quality", "0", "-t", "1") as process:
        assert process.stdout.readline() == b"@m64011_190228_190319/1000/ccs\n"
        process.stdout.close()
        stderr = process.stderr.read()
    assert (process.returncode, stderr) == (141, b"")


@pytest.mark.parametrize("num_copies", [1, 60])
def test_a_full_disk_behind_standard_output_is_named(inputs, tmp_path, num_copies):
    with open("/dev/full", "wb") as full:
        many = renumber(inputs, tmp_path, num_copies)
        arguments = ["correct", *many, "-o", "-", "-m", "vote", "--min-quality", "0", "-t", "1", "-q"]
        with run_process(*arguments, stdout=full) as process:
            stderr = process.stderr.read()
    assert (process.returncode, stderr) == (1, b"genoformer: error: standard output: No space left on device\n")
