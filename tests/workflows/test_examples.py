import json

import numpy as np
import pytest

from genoformer import assets
from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, UsageError
from genoformer.io.examples import ExampleShard
from genoformer.io.tfrecord import read_examples
from genoformer.workflows.examples import ExamplesOptions, make_examples

COUNTS = {"train": 1239, "eval": 65, "test": 203}


def options_for(folder, out_dir, **changes):
    names = ("subreads_to_ccs.bam", "ccs.bam", "truth_to_ccs.bam", "truth.bed", "truth_split.tsv")
    return ExamplesOptions(*(str(folder / name) for name in names), out_dir, **changes)


@pytest.fixture(scope="module")
def made(shared_data, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("examples")
    folder = shared_data / "consensus" / "human_1m"
    return folder, out_dir, make_examples(options_for(folder, out_dir))


def differing(example, shard, examples, rows, index):
    """Names of the original's features that ours do not equal."""
    expected = {
        "subreads": np.frombuffer(bytes(example["subreads/encoded"][0]), np.float32).reshape(85, 100),
        "label": np.frombuffer(bytes(example["label/encoded"][0]), np.float32),
        "quals": example["ccs_base_quality_scores"],
        "passes": example["subreads/num_passes"][0],
    }
    ours = {
        "subreads": rows[index], "label": examples.labels[index], "quals": examples.ccs_quals[index],
        "passes": examples.num_passes[index],
    }  # fmt: skip
    return [name for name in expected if not np.array_equal(expected[name], ours[name])]


@pytest.mark.parametrize("split", COUNTS)
def test_windows_and_labels_equal_the_originals(made, split):
    folder, out_dir, _ = made
    with ExampleShard(out_dir / f"{split}-00001-of-00001.h5") as shard:
        examples = shard.read(slice(None))
        rows = examples.rows(ConsensusConfig(), np.float32)
        names = [shard.molecules[index] for index in examples.molecule]
        index_of = {key: i for i, key in enumerate(zip(names, examples.ccs_start.tolist(), strict=True))}
        originals = list(read_examples(folder / "tf_examples" / split / f"{split}.tfrecord.gz"))
        assert len(shard) == len(originals) == len(index_of) == COUNTS[split]
        for example in originals:
            key = bytes(example["name"][0]).decode(), int(example["window_pos"][0])
            assert differing(example, shard, examples, rows, index_of[key]) == []
        disturbed = rows.copy()
        disturbed[index_of[key], 3, 50] += 1
        assert differing(example, shard, examples, disturbed, index_of[key]) == ["subreads"]


def test_every_counter_equals_the_originals(made):
    folder, _, summary = made
    original = json.loads((folder / "tf_examples" / "summary" / "summary.training.json").read_text())
    counters = {name: value for name, value in original.items() if isinstance(value, int)}
    assert len(counters) == 17
    assert {name: summary.get(name) for name in counters} == counters


def test_workers_and_shards_make_the_same_windows(made, tmp_path):
    folder, out_dir, _ = made
    for index in (1, 2, 3):
        make_examples(options_for(folder, tmp_path, shard=(index, 3), num_workers=1))
    for split in COUNTS:
        with ExampleShard(out_dir / f"{split}-00001-of-00001.h5") as whole:
            expected = whole.read(slice(None))
        parts = [ExampleShard(tmp_path / f"{split}-{index:05d}-of-00003.h5") for index in (1, 2, 3)]
        for name in ("features", "labels", "sn", "ccs_start", "strand"):
            found = np.concatenate([getattr(part.read(slice(None)), name) for part in parts])
            np.testing.assert_array_equal(found, getattr(expected, name))


def test_a_limit_counts_molecules_with_truth(made, tmp_path):
    summary = make_examples(options_for(made[0], tmp_path, limit=2))
    assert summary["n_zmw_pass"] == 2


def test_nothing_is_left_behind_after_an_error(made, tmp_path):
    broken = tmp_path / "broken.bam"
    broken.write_bytes((made[0] / "subreads_to_ccs.bam").read_bytes()[:-100])
    options = options_for(made[0], tmp_path / "out")
    with pytest.raises(Exception, match="truncated"):
        make_examples(ExamplesOptions(**{**vars(options), "subreads": str(broken)}))
    assert list((tmp_path / "out").iterdir()) == []


def test_truth_of_other_reads_is_refused(tmp_path):
    folder = assets.path("examples", "ccs.bam").parent
    (tmp_path / "other.bed").write_text("tig\t0\t9\tother/1/ccs\n")
    options = vars(options_for(folder, tmp_path / "out")) | {"truth_bed": str(tmp_path / "other.bed")}
    with pytest.raises(DataError, match=r"has a truth and a split \(n_zmw_missing_truth_range 20\); check that"):
        make_examples(ExamplesOptions(**options))
    assert list((tmp_path / "out").iterdir()) == []
    assert make_examples(ExamplesOptions(**options | {"shard": (1, 2)}))["n_zmw_missing_truth_range"] > 0


def test_a_shard_out_of_range(made, tmp_path):
    with pytest.raises(UsageError, match="--shard is 4/3"):
        make_examples(options_for(made[0], tmp_path, shard=(4, 3)))
