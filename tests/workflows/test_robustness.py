"""Broken input, and runs that are killed: a clear error or the right output, never a short one that looks whole."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genoformer.errors import GenoformerError
from genoformer.io.reads import partial_path, read_json
from genoformer.workflows.output import journal_path, summary_path
from tests.bam_builder import bgzf
from tests.correct_inputs import (
    Inputs,
    convert_golden,
    records,
    renumber,
    run_correct,
    save_tiny_model,
    simulate_molecules,
    write_inputs,
)

NUM_ZMWS = 1440
CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "kernels")])

# The command line, but what is written becomes durable often enough for a test.
COMMAND = """
import sys
import genoformer.workflows.output as output
output.COMMIT_SECONDS = float(sys.argv.pop(1))
from genoformer.cli.main import app
app()
"""


def error_of(inputs, output, **options):
    """Text of the clear error that a run ends with; None where it does not."""
    try:
        run_correct(inputs, output, **options)
    except GenoformerError as error:
        return str(error)
    return None


def outcome(inputs, output, **options):
    """The reads written, or None where the run ended in a clear error without output."""
    text = error_of(inputs, output, **options)
    if text is not None:
        assert text.isprintable()  # one line
        assert not output.exists()
        return None
    content = output.read_bytes()
    output.unlink()
    return content


# Files that are no input


def real_files():
    return [
        "23.ccs.bam",
        "ccs-kinetics-bystrandify-mock-input.2.bam",
        "empty.bam",
        "long-cigar-1.7.bam",
        "long_reads.bam",
        "m150404_101626_42267_c100807920800000001823174110291514_s1_p0.1.subreads.bam",
        "phi29.bam",
        "segfault.bam",
    ]


NO_PACBIO_NAME = {"long-cigar-1.7.bam", "segfault.bam"}


def test_the_list_of_real_files_is_complete(shared_data):
    assert sorted(path.name for path in (shared_data / "consensus" / "pbbam").glob("*.bam")) == real_files()


@pytest.mark.parametrize("name", real_files())
def test_files_of_other_programs_as_subreads(shared_data, tmp_path, name):
    path, human = shared_data / "consensus" / "pbbam" / name, shared_data / "consensus" / "human_1m"
    inputs, output = Inputs(str(path), str(human / "ccs.bam")), tmp_path / "out.fastq"
    if name == "empty.bam":
        assert run_correct(inputs, output)["counts"]["molecules"] == 0
        assert output.read_bytes() == b""
        return
    with pytest.raises(GenoformerError) as error:
        run_correct(inputs, output)
    expected = f"{path}: its header has no @SQ line; expected subreads aligned to their CCS reads (actc)"
    if name in NO_PACBIO_NAME:
        expected = f"{path}: read name "
    assert str(error.value).startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", real_files())
def test_files_of_other_programs_as_ccs(shared_data, tmp_path, name):
    path, human = shared_data / "consensus" / "pbbam" / name, shared_data / "consensus" / "human_1m"
    subreads = human / "subreads_to_ccs.bam"
    with pytest.raises(GenoformerError) as error:
        run_correct(Inputs(str(subreads), str(path)), tmp_path / "out.fastq")
    assert str(error.value) == (
        f"{subreads}: ZMW m54238_180901_011437/4194375: its CCS read 'm54238_180901_011437/4194375/ccs' is not in "
        f"{path}; check that the two files belong together"
    )
    assert list(tmp_path.iterdir()) == []


def test_alignments_of_something_else(shared_data, tmp_path):
    """Every read of this file is aligned to the CCS read of another ZMW: nothing could be corrected."""
    path, human = shared_data / "consensus" / "ecoli" / "ecoli.truthToCcs.bam", shared_data / "consensus" / "human_1m"
    with pytest.raises(GenoformerError, match=r"none of its 105 ZMWs has a CCS read in .*ccs.bam; check that the two"):
        run_correct(Inputs(str(path), str(human / "ccs.bam")), tmp_path / "out.fastq")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("swapped", ["subreads", "ccs"])
def test_text_is_no_bam(tmp_path, swapped):
    inputs = write_inputs(tmp_path / "in", simulate_molecules(2))
    (tmp_path / "reads.bam").write_text("@HD\tVN:1.6\n")
    with pytest.raises(GenoformerError, match=r"reads.bam: starts with b'@HD\\t', not with the BGZF magic"):
        run_correct(inputs._replace(**{swapped: str(tmp_path / "reads.bam")}), tmp_path / "out.fastq")


# Files that are cut or damaged


class DamagedPair:
    """A small pair of files, in blocks of 700 bytes, and what a run on it writes."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.good = write_inputs(folder / "good", simulate_molecules(4), block_bytes=700)
        self.expected = self.outcome(self.good)
        assert self.expected.count(b"\n") == 16

    def outcome(self, inputs):
        return outcome(inputs, self.folder / "out.fastq", model=self.model)

    def outcome_with(self, field, content):
        """What a run does when one of its files has this content."""
        path = self.folder / "bad.bam"
        path.write_bytes(content)
        return self.outcome(self.good._replace(**{field: str(path)}))


@pytest.fixture(params=["vote", "trained"])
def pair(request, tmp_path):
    return DamagedPair(tmp_path, "vote" if request.param == "vote" else save_tiny_model(tmp_path))


@pytest.mark.parametrize("field", ["subreads", "ccs"])
def test_a_file_cut_anywhere_is_an_error(pair, field):
    rng, content = random.Random(11), Path(getattr(pair.good, field)).read_bytes()
    for size in rng.sample(range(len(content)), 50):
        assert pair.outcome_with(field, content[:size]) is None


@pytest.mark.parametrize("field", ["subreads", "ccs"])
def test_a_flipped_bit_is_an_error_or_harmless(pair, field):
    rng, content, num_errors = random.Random(12), Path(getattr(pair.good, field)).read_bytes(), 0
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        found = pair.outcome_with(field, damaged)
        num_errors += found is None
        assert found in (None, pair.expected)
    assert num_errors >= 90  # some bits of a block's header mean nothing


@pytest.mark.parametrize("field", ["subreads", "ccs"])
def test_bytes_changed_before_compression_do_no_harm(pair, field):
    """No checksum shows these: what is read is an error, or other reads than before, and nothing else."""
    rng, content = random.Random(13), gzip.decompress(Path(getattr(pair.good, field)).read_bytes())
    num_errors = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 3])):
            damaged[rng.randrange(len(damaged))] ^= rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        found = pair.outcome_with(field, bgzf(bytes(damaged), 700))
        num_errors += found is None
    assert 0 < num_errors < 150


def test_a_real_file_cut_anywhere_is_an_error(shared_data, tmp_path):
    human = shared_data / "consensus" / "human_1m"
    rng, path = random.Random(14), tmp_path / "cut.bam"
    for name, swapped in (("subreads_to_ccs.bam", "subreads"), ("ccs.bam", "ccs")):
        content = (human / name).read_bytes()
        inputs = Inputs(str(human / "subreads_to_ccs.bam"), str(human / "ccs.bam"))._replace(**{swapped: str(path)})
        for size in rng.sample(range(len(content)), 25):
            path.write_bytes(content[:size])
            assert outcome(inputs, tmp_path / "out.fastq") is None


def test_a_file_that_lost_blocks_but_not_its_end_is_an_error(tmp_path):
    """As when parts of an upload are missing: the end-of-file block is there."""
    pair = DamagedPair(tmp_path, "vote")
    content = Path(pair.good.subreads).read_bytes()
    starts = [at for at in range(len(content)) if content[at : at + 4] == b"\x1f\x8b\x08\x04"]
    for first, last in ((2, 3), (3, 6), (5, 6)):
        assert pair.outcome_with("subreads", content[: starts[first]] + content[starts[last] :]) is None


# Runs that are killed


def start(inputs, output, *options, commit_seconds=0.02):
    """The command as a process of its own, the leader of its process group."""
    arguments = ["consensus", "correct", *inputs, "-o", str(output), "-m", "vote", "--min-quality", "0", *options]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(commit_seconds), *arguments],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """Waits; returns what it wrote to stderr."""
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    assert "Traceback" not in messages
    return messages


def group_members(leader):
    """Processes of a group that are neither dead nor zombies."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(group) == leader and state != "Z":
            members.append(int(folder.name))
    return members


def assert_group_ends(leader):
    deadline = time.monotonic() + 10
    while members := group_members(leader):
        assert time.monotonic() < deadline, f"processes {members} outlived their leader"
        time.sleep(0.02)


def num_zmws_done(output):
    path = journal_path(output)
    return read_json(path)["counts"]["zmws"] if path.exists() else 0


def kill_at_random(process, output, rng, num_zmws):
    """Kills a run when a random part of its ZMWs is done, and a little later; how many were durable then."""
    target = rng.randrange(num_zmws)
    while process.poll() is None and not (partial_path(output).exists() and num_zmws_done(output) >= target):
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert_group_ends(process.pid)
    return num_zmws_done(output)


def kill_and_resume(inputs, folder, kind, rng, num_zmws, *options):
    """Kills a run, then resumes it; returns its summary."""
    output, report = folder / f"out.{kind}", folder / "report.tsv"
    options = [*options, "--report", str(report)]
    num_done = kill_at_random(start(inputs, output, *options), output, rng, num_zmws)
    assert not output.exists()
    messages = finish(start(inputs, output, *options, "--resume"))
    assert f"resuming after {num_done} ZMWs" in messages if num_done else "starting from the beginning" in messages
    assert not partial_path(output).exists()
    assert not journal_path(output).exists()
    return read_json(summary_path(output))


@pytest.fixture(scope="module")
def many_zmws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return renumber(write_inputs(folder / "few", simulate_molecules(12)), folder, NUM_ZMWS // 12)


@pytest.mark.parametrize(("kind", "threads"), [("fastq", 1), ("fastq.gz", 2), ("bam", 1)])
def test_a_killed_run_goes_on_where_it_was(many_zmws, tmp_path, kind, threads):
    expected = run_correct(many_zmws, tmp_path / f"whole.{kind}", report=str(tmp_path / "whole.tsv"))
    rng, options = random.Random(f"kill {kind}"), ("-m", "vote", "--threads", str(threads))
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = kill_and_resume(many_zmws, folder, kind, rng, NUM_ZMWS // 2, *options)
        assert found["counts"] == expected["counts"]
        assert found["identity"] == expected["identity"]
        assert records(folder / f"out.{kind}") == records(tmp_path / f"whole.{kind}")
        assert (folder / "report.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


@pytest.mark.slow
def test_a_run_of_a_trained_model_killed_ten_times(shared_data, tmp_path):
    golden, human = shared_data / "consensus" / "golden", shared_data / "consensus" / "human_1m"
    model = convert_golden(golden / "ckpt_preln_2L_full", tmp_path)
    inputs = Inputs(str(human / "subreads_to_ccs.bam"), str(human / "ccs.bam"))
    expected = run_correct(inputs, tmp_path / "whole.fastq", model=model, threads=2, report=str(tmp_path / "whole.tsv"))
    rng = random.Random("kill a model")
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = kill_and_resume(inputs, folder, "fastq", rng, 9, "-m", model, "--threads", "2")
        assert found["counts"] == expected["counts"]
        assert records(folder / "out.fastq") == records(tmp_path / "whole.fastq")
        assert (folder / "report.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_a_run_killed_again_and_again(many_zmws, tmp_path):
    """Each run gets a little further; the last one finishes."""
    run_correct(many_zmws, tmp_path / "whole.fastq.gz")
    rng, output, offsets = random.Random("again"), tmp_path / "out.fastq.gz", []
    for part in (4, 3, 2):
        kill_at_random(start(many_zmws, output, "--resume", "--threads", "1"), output, rng, NUM_ZMWS // part)
        offsets.append(read_json(journal_path(output))["next_offset"] if journal_path(output).exists() else 0)
    finish(start(many_zmws, output, "--resume", "--threads", "1"))
    assert offsets == sorted(offsets)
    assert records(output) == records(tmp_path / "whole.fastq.gz")


def test_an_interrupted_run_says_so_and_goes_on(many_zmws, tmp_path):
    output = tmp_path / "out.fastq"
    process = start(many_zmws, output, "--threads", "2")
    while process.poll() is None and not journal_path(output).exists():
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, messages = process.communicate(timeout=30)
    assert (process.returncode, messages) == (130, "genoformer: interrupted\n")
    assert not output.exists()
    assert_group_ends(process.pid)
    finish(start(many_zmws, output, "--resume"))
    assert len(records(output)) == NUM_ZMWS
