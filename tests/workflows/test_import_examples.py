import gzip
import json

import numpy as np
import pytest

from genoformer.errors import DataError, UsageError
from genoformer.io.examples import ExampleShard
from genoformer.workflows.examples import ExamplesOptions, make_examples
from genoformer.workflows.import_examples import ImportOptions, import_examples
from tests.tfrecord_builder import ROWS, features, int_feature, write_windows

SPLITS = ("train", "eval", "test")


@pytest.fixture(scope="module")
def human(shared_data):
    return shared_data / "consensus" / "human_1m"


@pytest.fixture(scope="module")
def from_bam(human, tmp_path_factory):
    """Folder and summary of the shards that `examples` makes of the BAM files behind the TFRecords."""
    out_dir = tmp_path_factory.mktemp("examples")
    names = ("subreads_to_ccs.bam", "ccs.bam", "truth_to_ccs.bam", "truth.bed", "truth_split.tsv")
    return out_dir, make_examples(ExamplesOptions(*(str(human / name) for name in names), out_dir))


def windows_of(path):
    """Every array of a shard by (CCS read, position), a window at a time."""
    with ExampleShard(path) as shard:
        examples = shard.read(slice(None))
        names = [shard.molecules[index] for index in examples.molecule]
        arrays = {name: array for name, array in vars(examples).items() if name != "molecule"}
        keys = zip(names, examples.ccs_start.tolist(), strict=True)
        return {key: {name: array[i] for name, array in arrays.items()} for i, key in enumerate(keys)}


def test_the_shards_are_those_of_the_bam_files(human, from_bam, tmp_path):
    folder, from_reads = from_bam
    original = human / "tf_examples/summary/summary.training.json"
    summary = import_examples(ImportOptions(str(human / "tf_examples"), tmp_path, (str(original),)))
    for split, count in zip(SPLITS, (1239, 65, 203), strict=True):
        expected = windows_of(folder / f"{split}-00001-of-00001.h5")
        found = windows_of(tmp_path / f"{split}-00001-of-00001.h5")
        assert len(found) == len(expected) == count
        for key, window in expected.items():
            for name, array in window.items():
                np.testing.assert_array_equal(found[key][name], array, f"{key} {name}")
    counters = {name: value for name, value in json.loads(original.read_text()).items() if isinstance(value, int)}
    assert len(counters) == 17
    assert {name: summary[name] for name in counters} == {name: from_reads[name] for name in counters} == counters


def test_counters_without_a_summary_and_shards_of_files(human, tmp_path):
    tf_examples = human / "tf_examples"
    original = json.loads((tf_examples / "summary/summary.training.json").read_text())
    summary = import_examples(ImportOptions(f"{tf_examples}/@split/@split*.gz", tmp_path))
    names = [f"n_{what}_{split}" for what in ("zmw", "examples") for split in SPLITS] + ["n_zmw_pass", "n_examples"]
    assert {name: summary[name] for name in names} == {name: original[name] for name in names}
    with pytest.raises(UsageError, match="--shard 2/2: no split has more than 1 files; use fewer shards"):
        import_examples(ImportOptions(str(tf_examples), tmp_path, shard=(2, 2)))


def position(number):
    return features(window_pos=int_feature(number))


@pytest.fixture
def files(tmp_path):
    """Three files of the split train and one of eval; window i starts at base i."""
    for name, numbers in (("train-0", [0, 1]), ("train-1", [2]), ("train-2", [3]), ("eval-0", [4])):
        write_windows(tmp_path / f"{name}.tfrecord.gz", *map(position, numbers), pack=gzip.compress)
    return f"{tmp_path}/@split-*.tfrecord.gz"


def starts(path):
    with ExampleShard(path) as shard:
        return shard.read(slice(None)).ccs_start.tolist()


def test_shards_share_the_files(files, tmp_path):
    import_examples(ImportOptions(files, tmp_path / "whole"))
    for index in (1, 2):
        import_examples(ImportOptions(files, tmp_path / "parts", shard=(index, 2)))
    assert starts(tmp_path / "whole/train-00001-of-00001.h5") == [0, 1, 2, 3]
    assert starts(tmp_path / "whole/eval-00001-of-00001.h5") == [4]
    assert starts(tmp_path / "whole/test-00001-of-00001.h5") == []
    assert starts(tmp_path / "parts/train-00001-of-00002.h5") == [0, 1, 3]
    assert starts(tmp_path / "parts/train-00002-of-00002.h5") == [2]


def test_summaries_are_added_up_and_compared(files, tmp_path):
    for name, count in (("a", 3), ("b", 1)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"n_examples_train": count, "zmw_total_bp": 10, "x": "y"}))
    both = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    with pytest.raises(DataError, match=r"n_examples_eval is 0, but '.*@split.*' has 1; check that all files are"):
        import_examples(ImportOptions(files, tmp_path / "out", both))
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "a.json").write_text(json.dumps({"n_examples_train": 3, "n_examples_eval": 1, "zmw_total_bp": 10}))
    assert import_examples(ImportOptions(files, tmp_path / "out", both))["zmw_total_bp"] == 20
    with pytest.raises(UsageError, match="--summary counts all files, --shard takes a part of them"):
        import_examples(ImportOptions(files, tmp_path / "out", both, (1, 2)))
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataError, match=r"b.json: is no summary of DeepConsensus"):
        import_examples(ImportOptions(files, tmp_path / "out", both))


def test_windows_of_two_shapes(files, tmp_path):
    write_windows(tmp_path / "train-9.tfrecord.gz", features(np.delete(ROWS, [1, 3, 5, 7], axis=0)))
    with pytest.raises(DataError, match=r"train-9.*: has windows of 1 passes and 3 columns, but .*train-0.* of 2 pas"):
        import_examples(ImportOptions(files, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_file_leaves_nothing_behind(files, tmp_path):
    path = tmp_path / "train-1.tfrecord.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-1.tfrecord.gz: damaged compressed data"):
        import_examples(ImportOptions(files, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("train-*.gz", UsageError, "has no @split; expected a folder or, for instance, 'tf_examples/@split"),
        ("none/@split.gz", UsageError, "no file is named '.*none/@split.gz', @split being one of train, eval, test"),
        ("@split.empty", DataError, "@split.empty: no windows in 1 files"),
    ],
)
def test_patterns_that_match_nothing(files, tmp_path, pattern, error, message):
    (tmp_path / "train.empty").write_bytes(b"")
    with pytest.raises(error, match=message):
        import_examples(ImportOptions(f"{tmp_path}/{pattern}", tmp_path / "out"))


def test_a_shard_out_of_range(files, tmp_path):
    with pytest.raises(UsageError, match="--shard is 0/2"):
        import_examples(ImportOptions(files, tmp_path, shard=(0, 2)))
