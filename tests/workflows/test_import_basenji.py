import json

import numpy as np
import pytest

from genoformer.errors import DataError, UsageError
from genoformer.genome.interval import Interval
from genoformer.io.expression_examples import ExpressionShard, WindowShape
from genoformer.io.tfrecord import read_examples
from genoformer.workflows.import_basenji import ImportBasenjiOptions, import_basenji
from tests.basenji_builder import codes_of, targets_of, write_basenji

CONTIG_BP = 900


@pytest.fixture
def folder(tmp_path):
    return write_basenji(tmp_path / "data", {"train": 5, "valid": 1, "test": 2})


def contents(path):
    with ExpressionShard(path) as shard:
        return [(shard.bins(index), *(array.tolist() for array in shard.read(index))) for index in range(len(shard))]


def expected(*indices):
    return [
        (Interval("chr1", 100 * index + 6, 100 * index + 18), codes_of(index).tolist(), targets_of(index).T.tolist())
        for index in indices
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_example_in_the_shard_of_its_split(folder, tmp_path, num_workers):
    seen = []
    summary = import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", num_workers=num_workers), seen.append)
    assert contents(tmp_path / "out/train-00001-of-00001.h5") == expected(0, 1, 2, 3, 4)
    assert contents(tmp_path / "out/valid-00001-of-00001.h5") == expected(5)
    assert contents(tmp_path / "out/test-00001-of-00001.h5") == expected(6, 7)
    assert seen == list(range(1, 9))
    assert json.loads((tmp_path / "out/examples-00001-of-00001.summary.json").read_text()) == summary
    assert {name: summary[name] for name in ("n_examples", "n_examples_train", "n_examples_valid", "num_bins")} == {
        "n_examples": 8, "n_examples_train": 5, "n_examples_valid": 1, "num_bins": 3,
    }  # fmt: skip


def test_the_old_generation_gives_the_same_bytes(folder, tmp_path):
    old = write_basenji(tmp_path / "old", {"train": 5, "valid": 1, "test": 2}, is_old=True, per_file=3)
    for path, out in ((folder, "a"), (old, "b")):
        import_basenji(ImportBasenjiOptions(path, tmp_path / out))
    for split in ("train", "valid", "test"):
        name = f"{split}-00001-of-00001.h5"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_shards_share_the_files(folder, tmp_path):
    for index in (1, 2):
        import_basenji(ImportBasenjiOptions(folder, tmp_path, shard=(index, 2)))
    assert contents(tmp_path / "train-00001-of-00002.h5") == expected(0, 1, 4)
    assert contents(tmp_path / "train-00002-of-00002.h5") == expected(2, 3)
    assert contents(tmp_path / "test-00001-of-00002.h5") == expected(6, 7)
    assert contents(tmp_path / "test-00002-of-00002.h5") == []


def test_folds_become_splits(tmp_path):
    folder = write_basenji(tmp_path / "data", {"fold0": 2, "fold1": 1, "fold2": 3})
    summary = import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", valid=["fold1"], test=["fold0"]))
    assert summary["n_examples_train"] == 3
    assert contents(tmp_path / "out/train-00001-of-00001.h5") == expected(3, 4, 5)
    assert contents(tmp_path / "out/test-00001-of-00001.h5") == expected(0, 1)
    import_basenji(ImportBasenjiOptions(folder, tmp_path / "folds"))
    assert contents(tmp_path / "folds/fold1-00001-of-00001.h5") == expected(2)


def write_genome(path, changed=None):
    """chr1 with the sequences of the data set at their places and A elsewhere."""
    letters = np.full(CONTIG_BP, ord("A"), np.uint8)
    for index in range(8):
        letters[100 * index : 100 * index + 24] = np.frombuffer(b"ACGTN", np.uint8)[codes_of(index)]
    if changed is not None:
        letters[changed] = ord("N") if letters[changed] != ord("N") else ord("G")
    path.write_bytes(b">chr1\n" + letters.tobytes() + b"\n")
    return path


def test_longer_sequences_from_the_genome(folder, tmp_path):
    genome = write_genome(tmp_path / "genome.fa")
    summary = import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", genome=genome, sequence_bp=40))
    assert (summary["sequence_bp"], summary["genome"]) == (40, "genome.fa")
    with ExpressionShard(tmp_path / "out/train-00001-of-00001.h5") as shard:
        assert shard.shape == WindowShape(40, 4, 3)
        assert shard.bins(1) == Interval("chr1", 106, 118)
        assert shard.read(0)[0].tolist() == [4] * 8 + codes_of(0).tolist() + [0] * 8
        assert shard.read(1)[0].tolist() == [0] * 8 + codes_of(1).tolist() + [0] * 8


def test_another_genome(folder, tmp_path):
    genome = write_genome(tmp_path / "genome.fa", changed=320)
    message = r"sequences.bed line 4: its sequence is not that of chr1:301-324 in .*genome.fa; check the genome build"
    with pytest.raises(DataError, match=message):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", genome=genome))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_bp": 40}, "--sequence-length needs the genome"),
        (
            {"sequence_bp": 41, "genome": "x.fa"},
            "--sequence-length is 41, which cannot have 12 bp of bins in its middle",
        ),
        ({"sequence_bp": 10, "genome": "x.fa"}, "--sequence-length is 10, which cannot have"),
        ({"shard": (3, 2)}, "--shard is 3/2"),
        ({"valid": ["fold7"]}, "'fold7' is neither in column 4 of .*sequences.bed nor one of its chromosomes"),
    ],
)
def test_wrong_usage(folder, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", **changes))


def test_a_file_with_too_few_or_too_many_examples(folder, tmp_path):
    records = folder / "tfrecords"
    (records / "train-1.tfr").write_bytes((records / "valid-0.tfr").read_bytes())
    with pytest.raises(
        DataError, match=r"train-1.tfr: has 1 examples; by its number and sequences.bed it should have 2"
    ):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out"))
    (records / "train-2.tfr").write_bytes((records / "train-0.tfr").read_bytes())
    with pytest.raises(
        DataError, match=r"train-2.tfr: has 2 examples; by its number and sequences.bed it should have 1"
    ):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", shard=(3, 3)))
    (records / "train-2.tfr").unlink()
    with pytest.raises(
        DataError, match=r"split train has 2 files of 2 examples; sequences.bed has 5 rows of it; files are"
    ):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out"))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_truncated_file_leaves_nothing_behind(folder, tmp_path, num_workers):
    path = folder / "tfrecords" / "valid-0.tfr"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"valid-0.tfr: damaged compressed data"):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out", num_workers=num_workers))
    assert list((tmp_path / "out").iterdir()) == []


def test_splits_that_overlap(folder, tmp_path):
    lines = (folder / "sequences.bed").read_text().splitlines()
    lines[5] = "chr1\t110\t122\tvalid"
    (folder / "sequences.bed").write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=r"sequences.bed line 6: chr1:111-122 of split valid overlaps chr1:107-118 of spl"
    ):
        import_basenji(ImportBasenjiOptions(folder, tmp_path / "out"))


def test_the_real_set(shared_data, tmp_path):
    folder = shared_data / "expression" / "baskerville_tests" / "tiny" / "mm10"
    summary = import_basenji(ImportBasenjiOptions(folder, tmp_path))
    assert [summary[f"n_examples_{split}"] for split in ("train", "valid", "test")] == [28, 13, 13]
    with ExpressionShard(tmp_path / "valid-00001-of-00001.h5") as shard:
        index = 0
        for number in range(4):
            for example in read_examples(folder / "tfrecords" / f"valid-{number}.tfr"):
                codes, targets = shard.read(index)
                assert codes.tobytes() == example["sequence"][0]
                assert targets.T.tobytes() == example["target"][0]
                index += 1
        assert index == len(shard)
        rows = [line.split() for line in (folder / "sequences.bed").read_text().splitlines()]
        places = [Interval(row[0], int(row[1]), int(row[2])) for row in rows if row[3] == "valid"]
        assert [shard.bins(index) for index in range(13)] == places
