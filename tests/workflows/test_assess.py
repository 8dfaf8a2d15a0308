import csv
import json

import numpy as np
import pysam
import pytest

from genoformer.errors import AlignmentError, DataError, OutputError, UsageError
from genoformer.genome.alphabet import reverse_complement
from genoformer.workflows.assess import AssessOptions, assess
from tests.assess_inputs import miscalibrated_reads, random_letters, real_truth, write_truth
from tests.bam_builder import ccs_read, write_bam

pytest.importorskip("mappy")
pytest.importorskip("edlib")

TRUTH = "GATTTCAGCCATGCAACGTGTCA"


def run(tmp_path, corrected, draft, truth, *outputs, **options):
    outputs = tuple(str(tmp_path / name) for name in outputs or ["out.json"])
    return assess(AssessOptions(str(corrected), str(draft), str(truth), outputs, threads=1, **options))


def write_reads(path, sequences, quality=30):
    return write_bam(path, [ccs_read(zmw, read, [quality] * len(read), movie="m") for zmw, read in sequences.items()])


@pytest.fixture
def files(tmp_path):
    """Molecule 1: draft with an extra T in the run of three and no G; corrected still lacks the G.

    Molecule 2, on the other strand: the draft has a mismatch, the corrected read none.
    """
    turned = reverse_complement(TRUTH.encode()).decode()
    draft = {1: TRUTH.replace("TTT", "TTTT").replace("ATGC", "ATC"), 2: turned[:9] + "A" + turned[10:]}
    assert turned[9] == "G"
    corrected = {1: TRUTH.replace("ATGC", "ATC"), 2: turned}
    truth = write_truth(tmp_path / "truth.fa", [(f"m/{zmw}/truth", TRUTH.encode()) for zmw in (1, 2)])
    return write_reads(tmp_path / "corrected.bam", corrected), write_reads(tmp_path / "draft.bam", draft), truth


def test_errors_by_hand(tmp_path, files):
    found = run(tmp_path, *files)
    assert found["truth"]["kind"] == "read"
    kinds = ("matches", "mismatches", "insertions", "deletions", "errors")
    assert [found["draft"][kind] for kind in kinds] == [22 + 22, 1, 1, 1, 3]
    assert [found["corrected"][kind] for kind in kinds] == [22 + 23, 0, 0, 1, 1]
    assert found["draft"]["homopolymers"][3] == {
        "run": 3, "truth_bases": 6, "mismatches": 0, "insertions": 1, "deletions": 0,
    }  # fmt: skip
    assert found["draft"]["homopolymers"][1]["deletions"] == 1
    assert found["compared"] == {
        "reads": 2, "draft_errors": 3, "corrected_errors": 1, "error_reduction": pytest.approx(2 / 3, abs=1e-5),
        "reads_better": 2, "reads_worse": 0, "only_in_draft": 0, "only_in_corrected": 0,
    }  # fmt: skip
    assert found["yield"]["q30"] == {
        "draft_reads": 0, "corrected_reads": 1, "reads_over_draft": None,
        "draft_bases": 0, "corrected_bases": 23, "bases_over_draft": None,
    }  # fmt: skip
    [row] = found["calibration"]["corrected"]["bases"]
    assert (row["quality"], row["bases"], row["errors"]) == (30, 22 + 23, 1)


def test_the_table_has_a_row_a_read(tmp_path, files):
    run(tmp_path, *files, "out.tsv", "out.json")
    with open(tmp_path / "out.tsv") as file:
        first, second = csv.DictReader(file, delimiter="\t")
    assert first["read"] == "m/1/ccs"
    assert (first["draft_insertions"], first["draft_deletions"], first["corrected_deletions"]) == ("1", "1", "1")
    assert (second["draft_mismatches"], second["draft_identity"], second["corrected_identity"]) == (
        "1", f"{22 / 23:.7f}", "1.0000000",
    )  # fmt: skip
    assert second["corrected_predicted_q"] == "30.000"
    assert json.loads((tmp_path / "out.json").read_text())["inputs"]["truth"] == "truth.fa"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.json", "out.tsv"]


def test_reads_of_one_side_alone_are_counted(tmp_path, files):
    _, draft, truth = files
    only_two = write_reads(tmp_path / "two.bam", {2: TRUTH, 3: TRUTH})
    found = run(tmp_path, only_two, draft, truth)
    assert found["corrected"]["no_truth"] == 1
    assert (found["compared"]["reads"], found["compared"]["only_in_draft"]) == (1, 1)
    assert found["compared"]["only_in_corrected"] == 1


def test_fasta_without_qualities(tmp_path, files):
    path = tmp_path / "corrected.fa"
    path.write_text(f">m/1/ccs\n{TRUTH}\n")
    found = run(tmp_path, path, files[1], files[2])
    assert found["corrected"]["without_qualities"] == 1
    assert found["calibration"]["corrected"]["bases"] == []
    assert found["yield"]["q40"]["corrected_reads"] == 1


def test_workers_change_nothing(tmp_path, files):
    corrected, draft, truth = map(str, files)
    for threads in (1, 2):
        outputs = (str(tmp_path / f"{threads}.json"), str(tmp_path / f"{threads}.tsv"))
        assess(AssessOptions(corrected, draft, truth, outputs, threads=threads))
    for suffix in ("json", "tsv"):
        assert (tmp_path / f"1.{suffix}").read_bytes() == (tmp_path / f"2.{suffix}").read_bytes()


def test_a_genome(tmp_path):
    rng = np.random.default_rng(3)
    genome = random_letters(rng, 6000)
    draft = {1: (genome[1000:1500] + genome[1501:2500]).decode(), 2: reverse_complement(genome[3000:4500]).decode()}
    corrected = {zmw: genome[start : start + 1500].decode() for zmw, start in ((1, 1000), (2, 3000))}
    corrected[2] = random_letters(rng, 300).decode() + corrected[2]
    truth = write_truth(tmp_path / "genome.fa", [("chr1", genome)])
    reads = [write_reads(tmp_path / f"{name}.bam", side) for name, side in (("c", corrected), ("d", draft))]
    found = run(tmp_path, *reads, truth)
    assert found["truth"]["kind"] == "genome"
    assert (found["draft"]["errors"], found["draft"]["deletions"], found["corrected"]["errors"]) == (1, 1, 0)
    assert found["corrected"]["clipped_reads"] == 1
    assert abs(found["corrected"]["clipped_bases"] - 300) < 10
    for threads in (1, 2):
        options = AssessOptions(*map(str, reads), truth, (str(tmp_path / f"{threads}.json"),), threads=threads)
        assess(options)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_what_the_truth_is_taken_for_can_be_said(tmp_path, files):
    found = run(tmp_path, *files, truth_kind="read")
    assert found["truth"]["description"].endswith("(as asked for)")
    genome = write_truth(tmp_path / "genome.fa", [("chr1", TRUTH.encode())])
    with pytest.raises(AlignmentError, match=r"genome\.fa: read name 'chr1'; expected PacBio's movie/hole"):
        run(tmp_path, files[0], files[1], genome, truth_kind="read")


def test_six_real_molecules_have_184_draft_errors(tmp_path, shared_data):
    """Counted before from PacBio's alignments: 3 mismatches, 138 extra and 43 missing bases."""
    truth = real_truth(shared_data, tmp_path / "truth.fa")
    source = shared_data / "consensus" / "human_1m" / "ccs.bam"
    chosen = tmp_path / "six.bam"
    with pysam.AlignmentFile(str(source), check_sq=False) as file, pysam.AlignmentFile(chosen, "wb", file) as out:
        for read in file:
            if read.get_tag("rq") > 0:
                out.write(read)
    found = run(tmp_path, source, chosen, truth)
    kinds = ("reads", "aligned", "mismatches", "insertions", "deletions", "errors")
    assert [found["draft"][kind] for kind in kinds] == [6, 6, 3, 138, 43, 184]
    assert found["draft"]["identity"] == pytest.approx(0.99754, abs=1e-5)
    assert (found["corrected"]["no_truth"], found["compared"]["only_in_corrected"]) == (1, 4)


def test_real_reads_on_a_real_genome(tmp_path, shared_data):
    """Against pbmm2's alignments to the whole chromosome, of which the truth here is the first 200 kb."""
    folder = shared_data / "consensus" / "chm13_chr20"
    reads, copy = folder / "CHM13_chr20_0_200000_dc.to_truth.bam", tmp_path / "copy.bam"
    copy.write_bytes(reads.read_bytes())
    found = run(tmp_path, reads, copy, folder / "CHM13_chr20_0_200000.fa", "out.tsv")
    with open(tmp_path / "out.tsv") as file:
        rows = {row["read"]: row for row in csv.DictReader(file, delimiter="\t")}
    with pysam.AlignmentFile(str(reads)) as file:
        given = {read.query_name: read for read in file if not read.is_supplementary}
    differences, half = [], 0
    for name, read in given.items():
        is_half = 2 * (200_000 - read.reference_start) > len(read.query_sequence)
        half += is_half
        assert rows[name]["corrected_placement"] == ("aligned" if is_half else "unaligned")
        if read.reference_end <= 200_000:
            counts = read.get_cigar_stats()[0]
            identity = counts[7] / sum(counts[op] for op in (1, 2, 7, 8))
            differences.append(abs(float(rows[name]["corrected_identity"]) - identity))
    assert (half, found["corrected"]["aligned"], found["corrected"]["reads"]) == (107, 107, 114)
    assert (len(differences), sum(difference < 5e-4 for difference in differences)) == (102, 101)
    assert max(differences) < 0.01  # a read across a long gap, which the two cut up differently


def test_a_calibration_is_looked_at(tmp_path):
    from genoformer.workflows.calibrate import CalibrateOptions, calibrate

    reads, truth = miscalibrated_reads(tmp_path, "fit", range(40), seed=1)
    held_out, held_out_truth = miscalibrated_reads(tmp_path, "held_out", range(40), seed=2)
    calibrate(CalibrateOptions(reads, truth, str(tmp_path / "calibration.json"), threads=1))
    draft = tmp_path / "draft.bam"
    draft.write_bytes((tmp_path / "held_out.bam").read_bytes())
    found = run(tmp_path, held_out, draft, held_out_truth, calibration=str(tmp_path / "calibration.json"))
    assert found["calibration"]["corrected"]["largest_deviation"]["predicted"] == pytest.approx(8, abs=1)
    after = found["calibration"]["calibrated"]["largest_deviation"]
    assert after["predicted"] < 2
    assert after["copied"] < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ()}, "no output"),
        ({"outputs": ("report.pdf",)}, r"output 'report\.pdf': expected a name ending in"),
        ({"threads": 0}, "--threads is 0; expected at least 1"),
        ({"min_quality": float("nan")}, "--min-quality is nan; expected a number"),
        ({"outputs": ("draft.json",), "draft": "draft.json"}, "must be different files"),
        ({"outputs": ("a.json", "a.json")}, "must be different files"),
    ],
)
def test_options_that_cannot_work(change, message):
    options = {"corrected": "c.bam", "draft": "d.bam", "truth": "t.fa", "outputs": ("a.json",), **change}
    with pytest.raises(UsageError, match=message):
        AssessOptions(**options).check()


def test_a_wrong_truth(tmp_path, files):
    other = write_truth(tmp_path / "other.fa", [("m/7/truth", TRUTH.encode())])
    with pytest.raises(DataError, match=r"draft\.bam: none of its 2 reads aligns to .*other\.fa \(2 have no truth"):
        run(tmp_path, files[0], files[1], other)
    assert not list(tmp_path.glob("out*"))


def test_reads_of_another_draft(tmp_path, files):
    other = write_reads(tmp_path / "other.bam", {1: TRUTH})
    renamed = tmp_path / "renamed.fa"
    renamed.write_text(f">m/1/0_23\n{TRUTH}\n")
    with pytest.raises(DataError, match=r"renamed\.fa: none of its reads is in .*other\.bam: one is called 'm/1/0_23'"):
        run(tmp_path, renamed, other, files[2])
    assert not list(tmp_path.glob("out*"))


def test_truths_of_one_molecule_twice(tmp_path, files):
    twice = write_truth(tmp_path / "twice.fa", [(f"m/1/{name}", TRUTH.encode()) for name in ("truth", "other")])
    with pytest.raises(DataError, match=r"'m/1/other' is the second truth of m/1"):
        run(tmp_path, files[0], files[1], twice)


def test_an_output_that_cannot_be_written_shows_first(tmp_path, files):
    with pytest.raises(OutputError, match=r"none/out\.json\.partial: cannot be written: No such file or directory"):
        run(tmp_path, files[0], "draft that is never opened", files[2], "out.tsv", "none/out.json")
    assert not list(tmp_path.glob("out*"))


def test_an_empty_file(tmp_path, files):
    with pytest.raises(AlignmentError, match=r"empty\.bam: holds no reads"):
        run(tmp_path, write_bam(tmp_path / "empty.bam", []), files[1], files[2])


def test_a_read_that_is_there_twice(tmp_path, files):
    twice = write_bam(tmp_path / "twice.bam", [ccs_read(1, TRUTH, movie="m")] * 2)
    with pytest.raises(AlignmentError, match=r"twice\.bam: read m/1/ccs is there twice"):
        run(tmp_path, twice, files[1], files[2])


def test_a_truncated_file(tmp_path, files):
    files[0].write_bytes(files[0].read_bytes()[:-28])
    with pytest.raises(AlignmentError, match=r"corrected\.bam: has no end-of-file block"):
        run(tmp_path, *files)
    assert not list(tmp_path.glob("out*"))


def test_the_report_is_written_like_the_others(tmp_path, files):
    pytest.importorskip("matplotlib")
    run(tmp_path, *files, "out.html", "out.json")
    assert (tmp_path / "out.html").read_bytes().startswith(b"<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.html", "out.json"]
