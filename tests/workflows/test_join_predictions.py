from dataclasses import replace

import pytest

from genoformer.errors import DataError, OutputError, UsageError
from genoformer.io.predictions import PredictionFile
from genoformer.io.reads import partial_path
from genoformer.workflows import join_progress, prediction_tracks
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
    assert summary.pop("run")["num_shards"] == count
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
    with pytest.raises(UsageError, match=r"out\.txt'; expected a folder for a bigWig a track, or a \.h5 file"):
        join_predictions([one, two], tmp_path / "out.txt")
    with pytest.raises(UsageError, match="is one of the shards"):
        join_predictions([one, two], one)
    with pytest.raises(OutputError, match=r"shard1.h5: is there twice; name each shard once"):
        join_predictions([one, two, one], tmp_path / "out.h5")
    partial_path(two).touch()
    with pytest.raises(OutputError, match=r"shard2.h5.partial: a later run of this shard is not finished"):
        join_predictions([one, two], tmp_path / "out.h5")
    partial_path(two).unlink()
    two.write_bytes(two.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"shard2.h5: is not a whole shard of predictions"):
        join_predictions([one, two], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_shard_of_another_list_of_regions(options, tmp_path):
    one, _ = make_shards(options, tmp_path, 2)
    predict(replace(with_bed(options, "chr2\t0\t9\n"), output=tmp_path / "b.h5", shard=(2, 2)))
    with pytest.raises(OutputError, match=r"b.h5: is not of the same run as .*regions: 'sha256:"):
        join_predictions([one, tmp_path / "b.h5"], tmp_path / "out.h5")


class StoppedError(Exception):
    pass


def stop_after(number):
    def stop(done, total):
        if done >= number:
            raise StoppedError

    return stop


def test_a_stopped_join_goes_on(options, tmp_path, monkeypatch):
    monkeypatch.setattr(join_progress, "COMMIT_SECONDS", 0)
    shards, output = make_shards(options, tmp_path, 2), tmp_path / "joined.h5"
    with pytest.raises(StoppedError):
        join_predictions(shards, output, on_progress=stop_after(2))
    assert not output.exists()
    done = []
    join_predictions(shards, output, resume=True, on_progress=lambda *count: done.append(count))
    assert done == [(3, 3)]
    predict(replace(options, output=tmp_path / "whole.h5"))
    assert output.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("joined*")) == ["joined.h5", "joined.h5.summary.json"]
    with pytest.raises(OutputError, match=r"joined.h5: is whole, but of another run \(rc: False there, True here"):
        join_predictions(make_shards(replace(options, rc=True), tmp_path, 2), output, resume=True)


def test_bigwigs_that_are_there_are_kept(options, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_tracks, "_TRACKS_AT_A_TIME", 1)
    shards, folder = make_shards(options, tmp_path, 2), tmp_path / "joined"
    with pytest.raises(StoppedError):
        join_predictions(shards, folder, on_progress=stop_after(2))
    written = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*.bw"))[:2]}
    first = join_predictions(shards, folder, resume=True)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    predict(replace(options, output=tmp_path / "whole"))
    for name in [*first["files"], "tracks.tsv"]:
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [path.name for path in folder.glob("*.json")] == ["predictions.summary.json"]
    assert join_predictions(shards, folder, resume=True) == first
