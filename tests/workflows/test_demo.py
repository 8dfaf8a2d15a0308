import re

import pytest
from Bio.Align import PairwiseAligner

from genoformer import assets
from genoformer.errors import DataError
from genoformer.io.fasta import read_fasta
from genoformer.workflows import demo
from genoformer.workflows.correct import correct
from genoformer.workflows.correct_options import CorrectOptions
from tests.correct_inputs import bam_records, fastq_records

ROW = re.compile(r"(before \(CCS\)|after) +(0\.\d{5}) +(\d+) +(\d+) +(\d+) +(\d+)")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "corrected.fastq.gz"
    subreads, ccs = (str(assets.path("examples", name)) for name in ("subreads_to_ccs.bam", "ccs.bam"))
    correct(CorrectOptions(subreads, ccs, str(output), threads=1, min_quality=0))
    return output


@pytest.fixture
def printed(corrected, capsys):
    """First line, and the numbers of both rows."""
    demo.main(str(corrected))
    heading, *lines = capsys.readouterr().out.splitlines()
    rows = [ROW.fullmatch(line).groups() for line in lines]
    return heading, {name: (float(identity), *map(int, counts)) for name, identity, *counts in rows}


def edit_distance(one, other):
    aligner = PairwiseAligner(mode="global", match_score=0, mismatch_score=-1, gap_score=-1)
    return -int(aligner.score(one, other))


def test_correction_helps(printed):
    before, after = printed[1]["before (CCS)"], printed[1]["after"]
    assert after[0] > before[0] > 0.98
    assert 0 < after[1] < before[1]


def test_errors_are_those_of_an_aligner(corrected, printed):
    """The affine-gap alignment has at least as many errors as the edit distance, and few more."""
    truth = {name.rpartition("/")[0]: letters.decode() for name, letters in read_fasta(_truth()).items()}
    called = {name.rpartition("/")[0]: sequence for name, sequence, _ in fastq_records(corrected)}
    draft = {record["name"].rpartition("/")[0]: record["seq"] for record in bam_records(_example("ccs.bam"))}
    for label, reads in (("before (CCS)", draft), ("after", called)):
        least = sum(edit_distance(reads[molecule], truth[molecule]) for molecule in called)
        assert least <= printed[1][label][1] <= 1.1 * least


def test_the_rows_add_up(corrected, printed):
    heading, rows = printed
    num_reads = len(fastq_records(corrected))
    assert heading.startswith(f"{num_reads} reads against their truth")
    for identity, errors, mismatches, extra, missing in rows.values():
        assert errors == mismatches + extra + missing
        assert 0 < identity < 1


def test_counts_by_hand():
    counts = demo.total_counts({"m/1/ccs": "ACGT", "m/2/ccs": "AAT"}, {"m/1": "ACCT", "m/2": "AT"})
    assert (counts.matches, counts.mismatches, counts.insertions, counts.deletions) == (5, 1, 1, 0)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.fastq.gz: cannot be read: No such file"):
        demo.main(str(tmp_path / "none.fastq.gz"))


def _example(name):
    return str(assets.path("examples", name))


def _truth():
    return _example("truth.fasta")
