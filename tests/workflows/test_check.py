import gzip
import json
import shutil

import pytest

from genoformer import assets
from genoformer.config import ConsensusConfig
from genoformer.errors import DataError
from genoformer.io.mutagenesis import MutagenesisWriter
from genoformer.io.reads import partial_path
from genoformer.io.score_hdf5 import write_score_hdf5
from genoformer.io.score_text import write_score_tsv
from genoformer.workflows.check import check_file, files_to_check
from genoformer.workflows.output import journal_path, summary_path
from genoformer.workflows.shard_files import write_examples_summary
from tests.correct_inputs import run_correct, save_tiny_model, simulate_molecules, write_inputs
from tests.io.test_mutagenesis import LAYOUT
from tests.score_rows import VARIANTS, Rows
from tests.training.consensus_shards import TINY, write_shards


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Reads of a run in each format, its report, a model and examples; read only."""
    folder = tmp_path_factory.mktemp("outputs")
    inputs = write_inputs(tmp_path_factory.mktemp("inputs"), simulate_molecules(12))
    for kind in ("bam", "fastq.gz", "fastq"):
        run_correct(inputs, folder / f"reads.{kind}", report=str(folder / f"{kind}.tsv"))
    save_tiny_model(folder)
    write_shards(folder / "windows", ConsensusConfig(**TINY))
    return folder


@pytest.fixture
def copy(outputs, tmp_path):
    """The outputs again, to be damaged."""
    return shutil.copytree(outputs, tmp_path / "copy")


def error_of(path):
    with pytest.raises(DataError) as error:
        check_file(path)
    assert str(error.value).isprintable()
    return str(error.value)


def test_whole_files_are_whole(outputs):
    files = files_to_check(outputs)
    assert {file.name for file in files} >= {
        "reads.bam", "reads.bam.summary.json", "reads.fastq.gz", "reads.fastq", "bam.tsv", "tiny_1.safetensors",
    }  # fmt: skip
    found = {file.name: check_file(file) for file in files}
    num_bases = sum(len(molecule.ccs.sequence) for molecule in simulate_molecules(12))
    reads, bases = found["reads.bam"].split(" reads, ")
    assert reads == "12"
    assert abs(int(bases.removesuffix(" bases").replace(",", "")) - num_bases) < 0.05 * num_bases
    assert found["bam.tsv"] == "12 rows"
    assert found["tiny_1.safetensors"].startswith("a consensus model of ")
    assert any(text.endswith("windows of the split train") for text in found.values())


@pytest.mark.parametrize("name", ["reads.bam", "reads.fastq.gz", "reads.fastq", "tiny_1.safetensors", "bam.tsv"])
def test_a_file_cut_anywhere_is_named(copy, name):
    path = copy / name
    content = path.read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert str(path) in error_of(path)


def test_examples_that_are_cut_or_damaged(copy):
    path = next((copy / "windows").glob("*.h5"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "is not a whole HDF5 file" in error_of(path)


@pytest.mark.parametrize("name", ["reads.bam", "reads.fastq.gz"])
def test_a_flipped_bit_in_the_middle(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error_of(path)


def test_reads_that_are_whole_but_others_than_the_summary_says(copy):
    path = copy / "reads.fastq"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-4]))
    assert "has 11 reads, its summary says 12; run it again" in error_of(path)
    path.write_text("".join(lines).replace("A", "AA", 1).replace("!", "!!", 1))
    assert "its summary says" in error_of(path) or "FASTQ" in error_of(path)


def test_a_file_without_a_summary_is_read_all_the_same(copy):
    summary_path(copy / "reads.bam").unlink()
    assert check_file(copy / "reads.bam").startswith("12 reads")


def test_a_summary_whose_output_is_gone_or_changed(copy):
    (copy / "reads.bam").unlink()
    assert "speaks of" in error_of(summary_path(copy / "reads.bam"))
    (copy / "reads.fastq.gz").write_bytes(gzip.compress(b""))
    assert "its summary says" in error_of(summary_path(copy / "reads.fastq.gz"))


def test_what_is_unfinished(copy):
    path = copy / "reads.bam"
    partial_path(path).touch()
    assert "a later run of this output is not finished; use --resume" in error_of(path)
    assert "is of a run that is not finished" in error_of(partial_path(path))
    journal_path(path).write_text("{}")
    assert "is of a run that is not finished" in error_of(journal_path(path))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("odd.tsv", b"a\tb\n1\n", "odd.tsv line 2: has 1 columns; expected 2"),
        ("odd.tsv", b"# note: a\tb\na\tb\n1\n", "odd.tsv line 3: has 1 columns; expected 2"),
        ("cut.tsv", b"a\tb\n1\t2", "cut.tsv: ends within a line or has none"),
        ("cut.tsv", b"# note\n", "cut.tsv: ends within a line or has none"),
        ("bytes.tsv", b"a\xff\n", "bytes.tsv: is no text"),
        ("cut.json", b'{"a": 1', "cut.json: cannot be read as JSON"),
        ("text.tsv.gz", b"text", "text.tsv.gz: cannot be read after 0 lines"),
        ("cut.parquet", b"PAR1...", "cut.parquet: does not begin and end as Parquet does"),
        ("cut.html", b"<!DOCTYPE html>", "cut.html: does not end as a page does"),
        ("step-000000001.pt", b"PK", "step-000000001.pt: cannot be read"),
        ("text.bw", b"text", "text.bw: starts with b'text'"),
        ("text.vcf", b"text\n", "text.vcf"),
        ("deep.json", b"[" * 100_000, "deep.json: cannot be read as JSON"),
        ("cut.vcf.gz.tbi", gzip.compress(b"TBI\1" + bytes(100))[:-9], "cut.vcf.gz.tbi: cannot be read"),
        ("other.tbi", gzip.compress(b"CSI\1"), "other.tbi: does not begin as a tabix index does"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(9), "cut.png: does not begin and end as PNG does"),
        ("reads.sam", b"", "reads.sam: is no output of genoformer by its name; expected one that ends in .partial, "),
    ],
)
def test_other_files_that_are_not_whole(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    assert text in error_of(tmp_path / name)


def test_other_files_that_are_whole(tmp_path):
    for name, content, found in (
        ("rows.tsv", "# note\n# another:\t1\na\tb\n1\t2\n3\t4\n", "2 rows"),
        ("columns.tsv", "a\tb\n", "0 rows"),
        ("rows.tsv", "a\tb\n1\t2\n", "1 row"),
        ("rows.parquet", "PAR1...PAR1", "a Parquet table"),
        ("any.json", json.dumps({"a": 1}), "a JSON object"),
        ("page.html", "<html></html>\n", "a page"),
        ("calls.vcf", "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n", "0 records"),
    ):
        (tmp_path / name).write_text(content)
        assert check_file(tmp_path / name) == found


def test_indices_and_pictures(tmp_path):
    for name, content, found in (
        ("calls.vcf.gz.tbi", gzip.compress(b"TBI\1" + bytes(100)), "an index"),
        ("logo.png", b"\x89PNG\r\n\x1a\n" + bytes(9) + b"IEND\xaeB`\x82", "a picture"),
    ):
        (tmp_path / name).write_bytes(content)
        assert check_file(tmp_path / name) == found


def test_alignments_without_qualities():
    for name, num_reads in (("subreads_to_ccs.bam", 173), ("truth_to_ccs.bam", 20)):
        assert check_file(assets.path("examples", name)).startswith(f"{num_reads} reads, ")


def test_a_summary_of_examples_speaks_of_all_their_shards(tmp_path):
    write_examples_summary(tmp_path, "00001-of-00002", ("train", "test"), {"n_examples": 0, "version": "1.2"})
    summary = tmp_path / "examples-00001-of-00002.summary.json"
    (tmp_path / "train-00001-of-00002.h5").touch()
    assert "speaks of" in (text := error_of(summary))
    assert "test-00001-of-00002.h5, which is not there" in text
    (tmp_path / "test-00001-of-00002.h5").touch()
    assert check_file(summary) == "summary of a run by genoformer 1.2"


def test_a_folder_without_a_file_of_ours_is_not_whole(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert files_to_check(tmp_path) == [tmp_path]
    assert error_of(tmp_path) == f"{tmp_path}: is a folder without a file that has a name of ours"


def test_saturation_mutagenesis(tmp_path):
    path = tmp_path / "ism.h5"
    written = MutagenesisWriter(path, LAYOUT)
    assert "ism.h5.partial: is of a run that is not finished; repeat its command with --resume" in error_of(
        partial_path(path)
    )
    written.finish()
    assert check_file(path) == "6 bases, changed to every other, in 2 stretches"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError):
        check_file(path)


def test_scores_of_variants(tmp_path):
    write_score_hdf5(tmp_path / "scores.h5", Rows())
    assert check_file(tmp_path / "scores.h5") == f"scores of {len(VARIANTS)} variants"
    num_tracks = len(Rows().table.tracks)
    for name in ("scores.tsv", "scores.tsv.gz"):
        write_score_tsv(tmp_path / name, Rows())
        assert check_file(tmp_path / name) == f"{len(VARIANTS) * num_tracks} rows"


def test_a_file_that_is_not_there(tmp_path):
    for name in ("none.bam", "none"):
        assert error_of(tmp_path / name) == f"{tmp_path / name}: is not there"
