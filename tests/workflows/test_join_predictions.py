from dataclasses import replace

import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.io.predictions import PredictionFile
from genoformer.workflows.join_predictions import join_predictions
from genoformer.workflows.predict import predict
from tests.predict_inputs import with_bed, write_inputs


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def make_shards(options, folder, count):
    shards = [folder / f"shard{index}.h5" for index in range(1, count + 1)]
    for index, shard in enumerate(shards, 1):
        predict(replace(options, output=shard, shard=(index, count)))
    return shards


@pytest.mark.parametrize("count", [1, 3, 11])
def test_joined_shards_are_the_whole(options, tmp_path, count):
    """The last count is more than there are regions: some shards have none."""
    shards = make_shards(options, tmp_path, count)
    summary = join_predictions([*shards[1:], shards[0]], tmp_path / "joined.h5")
    whole = predict(replace(options, output=tmp_path / "whole.h5"))
    assert (tmp_path / "joined.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert summary == {name: value for name, value in whole.items() if name != "run"}
    sizes = [len(PredictionFile(shard).layout.stretches) for shard in shards]
    assert sum(sizes) == 8
    assert max(sizes) <= max(4, 8 // count)


def test_bigwigs_of_shards_are_those_of_the_whole(options, tmp_path):
    shards = make_shards(options, tmp_path, 3)
    summary = join_predictions(shards, tmp_path / "joined")
    whole = predict(replace(options, output=tmp_path / "whole"))
    assert summary["files"] == whole["files"]
    for name in [*summary["files"], "tracks.tsv"]:
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_shards_that_do_not_belong_together(options, tmp_path):
    one, two = make_shards(options, tmp_path, 2)
    predict(replace(options, output=tmp_path / "other.h5", shard=(2, 2), rc=True))
    with pytest.raises(OutputError, match=r"other.h5: is not of the same run as .*: rc: True there, False here"):
        join_predictions([one, tmp_path / "other.h5"], tmp_path / "out.h5")
    with pytest.raises(OutputError, match="shard 2 of 2 is missing"):
        join_predictions([one], tmp_path / "out.h5")
    with pytest.raises(UsageError, match="is one of the shards"):
        join_predictions([one, two], one)
    two.write_bytes(two.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"shard2.h5: is not a whole shard of predictions"):
        join_predictions([one, two], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_shard_of_another_list_of_regions(options, tmp_path):
    one, _ = make_shards(options, tmp_path, 2)
    predict(replace(with_bed(options, "chr2\t0\t9\n"), output=tmp_path / "b.h5", shard=(2, 2)))
    with pytest.raises(OutputError, match=r"b.h5: is not of the same run as .*regions: 'sha256:"):
        join_predictions([one, tmp_path / "b.h5"], tmp_path / "out.h5")
