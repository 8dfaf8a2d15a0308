import json

import pytest

from genoformer.workflows.device_pool import DeviceUse
from genoformer.workflows.output import summary_path
from genoformer.workflows.pipeline import StageSeconds
from genoformer.workflows.run_facts import bottleneck, joined_facts, joined_run


@pytest.mark.parametrize(
    ("seconds", "num_workers", "expected"),
    [
        ({"waiting_for_model": 6, "waiting_for_windows": 3}, 1, "model"),
        ({"waiting_for_windows": 6, "read": 2, "pileup": 5}, 1, "pileup"),
        ({"waiting_for_windows": 6, "read": 2, "pileup": 5}, 4, "read"),
        ({"waiting_for_windows": 6, "read": 2, "pileup": 5}, 0, "pileup"),
        ({"waiting_for_writer": 6, "waiting_for_windows": 1}, 1, "write"),
        ({"waiting_for_model": 3, "waiting_for_windows": 2}, 1, "packing"),
    ],
)
def test_the_bottleneck_is_what_was_waited_for_most(seconds, num_workers, expected):
    assert bottleneck(StageSeconds(streaming=10, **seconds), num_workers) == expected


def facts(total, *devices, held_up="model"):
    used = [{"device": name, "batches": batches, "busy_seconds": busy} for name, batches, busy in devices]
    return {"model": "m", "devices": used, "seconds": {"model": total / 2, "total": total}, "bottleneck": held_up}


def test_facts_of_shards_add_up_by_device():
    joined = joined_facts(
        [
            facts(4.0, ("cuda:0", 2, 1.5), ("cuda:1", 3, 1.25)),
            facts(8.0, ("cuda:0", 5, 2.0), held_up="pileup"),
            facts(6.0, held_up="pileup"),
        ]
    )
    assert joined == {
        "model": "m",
        "num_shards": 3,
        "devices": [
            {"device": "cuda:0", "batches": 7, "busy_seconds": 3.5},
            {"device": "cuda:1", "batches": 3, "busy_seconds": 1.25},
        ],
        "seconds": {"model": 9.0, "total": 18.0},
        "longest": 8.0,
        "bottleneck": "pileup",
    }


def test_shards_of_which_one_says_nothing_give_no_facts(tmp_path):
    shards = [tmp_path / "1.h5", tmp_path / "2.h5"]
    summary_path(shards[0]).write_text(json.dumps({"run": facts(4.0, ("cpu", 2, 1.5))}))
    assert joined_run(shards) == {}
    summary_path(shards[1]).write_text(json.dumps({"run": {"model": "m", "seconds": 3.0}}))
    assert joined_run(shards) == {}
    assert joined_run(shards[:1])["run"]["num_shards"] == 1


def test_uses_from_several_threads_all_count():
    use = DeviceUse("cpu")
    for _ in range(3):
        use.add(0.5)
    assert (use.batches, use.busy_seconds) == (3, 1.5)
