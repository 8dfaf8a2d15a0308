import json
import logging

from genoformer.workflows import join_progress
from genoformer.workflows.join_progress import JoinProgress


def journal(tmp_path):
    return tmp_path / "out.h5.journal.json"


def test_a_later_join_of_the_same_shards_knows_how_far_it_was(tmp_path, caplog):
    JoinProgress(tmp_path / "out.h5", {"model": "a"}, resume=False).note(3)
    with caplog.at_level(logging.INFO):
        assert JoinProgress(tmp_path / "out.h5", {"model": "a"}, resume=True).num_done == 3
    assert "out.h5: resuming after 3 parts" in caplog.text


def test_a_journal_of_something_else_is_removed(tmp_path):
    for identity, resume in (({"model": "b"}, True), ({"model": "a"}, False)):
        JoinProgress(tmp_path / "out.h5", {"model": "a"}, resume=False).note(3)
        assert JoinProgress(tmp_path / "out.h5", identity, resume=resume).num_done == 0
        assert not journal(tmp_path).exists()


def test_the_journal_of_an_unfinished_run_is_not_that_of_a_join(tmp_path):
    journal(tmp_path).write_text(json.dumps({"identity": {"model": "a"}, "num_done": 3}))
    assert JoinProgress(tmp_path / "out.h5", {"model": "a"}, resume=True).num_done == 0


def test_it_is_gone_once_all_is_whole(tmp_path):
    progress = JoinProgress(tmp_path / "out.h5", {}, resume=False)
    progress.note(1)
    assert journal(tmp_path).exists()
    progress.finish()
    assert not journal(tmp_path).exists()


def test_it_is_due_after_a_while(tmp_path, monkeypatch):
    progress = JoinProgress(tmp_path / "out.h5", {}, resume=False)
    assert not progress.is_due()
    monkeypatch.setattr(join_progress, "COMMIT_SECONDS", 0)
    assert progress.is_due()
