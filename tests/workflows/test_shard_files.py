import pytest

from genoformer.errors import OutputError, UsageError
from genoformer.workflows.shard_files import shard_suffix, shard_writers, shards_in_order


class Text:
    """A writer of one letter; refuses to finish where the path says so."""

    def __init__(self, path, split):
        self.path, self.split, self.is_discarded = path, split, False

    def finish(self):
        if "bad" in self.path.name:
            raise OutputError("full")
        self.path.write_text(self.split)

    def discard(self):
        self.is_discarded = True


def test_a_file_for_each_split(tmp_path):
    with shard_writers(tmp_path / "a" / "b", "00001-of-00002", ["train", "test"], Text) as writers:
        assert [writer.split for writer in writers.values()] == ["train", "test"]
        assert list((tmp_path / "a" / "b").iterdir()) == []
    assert (tmp_path / "a/b/test-00001-of-00002.h5").read_text() == "test"


def test_an_error_inside(tmp_path):
    made = []

    def new_writer(path, split):
        made.append(Text(path, split))
        return made[-1]

    with pytest.raises(KeyError), shard_writers(tmp_path, "x", ["train", "test"], new_writer):
        raise KeyError
    assert [(writer.split, writer.is_discarded) for writer in made] == [("train", True), ("test", True)]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished(tmp_path):
    with pytest.raises(OutputError, match="full"), shard_writers(tmp_path, "x", ["bad"], Text):
        pass


def test_shards_of_another_run(tmp_path):
    for name in ("train-00002-of-00002.h5", "train-00001-of-00002.h5"):
        (tmp_path / name).write_text("")
    with shard_writers(tmp_path, "00001-of-00002", ["train"], Text):
        pass
    message = r"train-00001-of-00002.h5: is a shard of another run; remove those of .*, or choose another folder"
    with pytest.raises(OutputError, match=message), shard_writers(tmp_path, "00001-of-00001", ["train"], Text):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "a").write_text("")
    with (
        pytest.raises(OutputError, match="a/b: cannot be made: Not a directory"),
        shard_writers(tmp_path / "a/b", "", [], Text),
    ):
        pass


def test_a_file_that_is_no_shard():
    with pytest.raises(OutputError, match=r"b\.h5: does not say which shard it is; make it again"):
        shards_in_order({"a.h5": {"shard": [1, 2]}, "b.h5": {}})


def test_suffix():
    assert shard_suffix((3, 12)) == "00003-of-00012"
    for shard in ((0, 2), (3, 2)):
        with pytest.raises(UsageError, match=f"--shard is {shard[0]}/2; expected i/N with 1 <= i <= N"):
            shard_suffix(shard)
