import pytest

from genoformer.errors import UsageError
from genoformer.workflows.correct_options import CorrectOptions


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
    ],
)
def test_options_that_cannot_work(option, text):
    with pytest.raises(UsageError) as error:
        CorrectOptions("s.bam", "c.bam", "o.bam", **option).check()
    assert str(error.value) == text


@pytest.mark.parametrize(
    "option",
    [{"batch_size": 1}, {"min_length": 0}, {"ins_trim": 0}, {"skip_windows_above": 0}, {"max_base_quality": 1},
     {"max_base_quality": 93}, {"shard": (1, 1)}, {"shard": (3, 3)}],
)  # fmt: skip
def test_options_at_the_end_of_their_range(option):
    CorrectOptions("s.bam", "c.bam", "o.bam", **option).check()


def test_stdout_cannot_be_resumed():
    with pytest.raises(UsageError, match="--resume needs an output file; stdout cannot be continued"):
        CorrectOptions("s.bam", "c.bam", "-", resume=True).check()


def test_an_output_of_unknown_format():
    with pytest.raises(UsageError, match=r"output 'o.sam': expected a name ending in"):
        CorrectOptions("s.bam", "c.bam", "o.sam").check()


@pytest.mark.parametrize(
    "files",
    [
        {"subreads": "a.bam", "ccs": "a.bam", "output": "o.bam"},
        {"subreads": "s.bam", "ccs": "c.bam", "output": "./c.bam"},
        {"subreads": "s.bam", "ccs": "c.bam", "output": "o.fastq", "report": "o.fastq"},
        {"subreads": "s.bam", "ccs": "o.fastq.partial", "output": "o.fastq"},
        {"subreads": "s.bam", "ccs": "c.bam", "output": "o.bam", "report": "o.bam.summary.json"},
        {"subreads": "s.bam", "ccs": "c.bam", "output": "o.bam", "calibration": "o.bam.summary.json"},
    ],
)
def test_files_must_differ(files):
    with pytest.raises(UsageError, match=r"inputs, report and what is written for .* must be different files"):
        CorrectOptions(**files).check()
