import pytest

from genoformer import assets
from genoformer.errors import AlignmentError, DataError, UsageError
from genoformer.io.bam import record_name
from genoformer.io.truth import TruthFinder, read_truth_bed, read_truth_split, write_truth_bed, write_truth_split


def test_contigs_of_ccs_reads(tmp_path):
    path = tmp_path / "truth.bed"
    path.write_text("tig1\t10\t20\tm/1/ccs\t0.01\t-\n\ntig2\t0\t5\tm/2/ccs\n")
    assert read_truth_bed(path) == {"m/1/ccs": "tig1", "m/2/ccs": "tig2"}


@pytest.mark.parametrize("line", ["tig1\t10\t20", "tig1\tten\t20\tm/1/ccs"])
def test_a_bed_line_without_its_fields(tmp_path, line):
    path = tmp_path / "truth.bed"
    path.write_text("tig1\t1\t2\tm/9/ccs\n" + line + "\n")
    with pytest.raises(DataError, match=r"truth.bed line 2: .*expected contig, begin, end, CCS read name"):
        read_truth_bed(path)


def test_splits_by_chromosome(tmp_path):
    path = tmp_path / "split.tsv"
    path.write_text("a \t chr18\nb\tX\nc\tchr21\nd\t20\ne\tchrM\nf\t9\ng chr10\n")
    assert read_truth_split(path, "human") == {
        "a": "train", "b": "train", "c": "eval", "d": "test", "f": "train", "g": "train",
    }  # fmt: skip
    assert read_truth_split(path, "maize") == {"f": "eval", "g": "test"}


def test_a_genome_without_splits(tmp_path):
    with pytest.raises(UsageError, match="genome is 'mouse'; expected one of human, maize"):
        read_truth_split(tmp_path / "split.tsv", "mouse")


def test_a_split_line_of_three_fields(tmp_path):
    path = tmp_path / "split.tsv"
    path.write_text("a\tchr1\tchr2\n")
    with pytest.raises(DataError, match=r"split.tsv line 1: .*expected contig and chromosome"):
        read_truth_split(path, "human")


def test_files_that_are_not_there_empty_or_no_text(tmp_path):
    with pytest.raises(DataError, match=r"none.bed: cannot be read: No such file"):
        read_truth_bed(tmp_path / "none.bed")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match=r"empty: the file is empty; expected contig, begin, end, CCS read name"):
        read_truth_bed(tmp_path / "empty")
    with pytest.raises(DataError, match=r"empty: none of its chromosomes belongs to a split of human"):
        read_truth_split(tmp_path / "empty", "human")
    (tmp_path / "some.bam").write_bytes(b"\x1f\x8b\x08\x04")
    with pytest.raises(DataError, match=r"some.bam: is no text; expected tab-separated lines"):
        read_truth_bed(tmp_path / "some.bam")


def test_chromosomes_of_another_genome(tmp_path):
    (tmp_path / "split.tsv").write_text("a\tchr21\nb\tchrX\n")
    with pytest.raises(DataError, match=r"split.tsv: none of its chromosomes belongs to a split of maize"):
        read_truth_split(tmp_path / "split.tsv", "maize")


@pytest.mark.parametrize("name", ["ccs.bam", "subreads.bam"])
def test_reads_that_are_not_aligned_are_no_truth(name):
    path = assets.path("examples", name)
    with pytest.raises(AlignmentError, match=rf"{name}: holds no alignment; expected the truth of each CCS read"):
        TruthFinder(path)


def test_truth_of_real_ccs_reads(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    with TruthFinder(folder / "truth_to_ccs.bam") as truth:
        movie = "m54238_180901_011437"
        found = {zmw: truth.find(f"{movie}/{zmw}/ccs") for zmw in (4194375, 4194387, 4194388, 1)}
    # ORIGIN.md: nine molecules have a truth, 4194387 has none.
    assert [zmw for zmw, record in found.items() if record is None] == [4194387, 1]
    assert record_name(found[4194388]) != record_name(found[4194375])


def test_places_and_splits_are_written_and_read_back(tmp_path):
    write_truth_bed(tmp_path / "truth.bed", [("a:1-80", 3, 9, "m/1/ccs"), ("b", 0, 7, "m/2/ccs")])
    write_truth_split(tmp_path / "split.tsv", {"a:1-80": "train", "b": "test", "c": "eval"})
    assert (tmp_path / "truth.bed").read_text() == "a:1-80\t3\t9\tm/1/ccs\nb\t0\t7\tm/2/ccs\n"
    assert read_truth_bed(tmp_path / "truth.bed") == {"m/1/ccs": "a:1-80", "m/2/ccs": "b"}
    assert (tmp_path / "split.tsv").read_text() == "a:1-80\tchr1\nb\tchr19\nc\tchr21\n"
    assert read_truth_split(tmp_path / "split.tsv", "human") == {"a:1-80": "train", "b": "test", "c": "eval"}
