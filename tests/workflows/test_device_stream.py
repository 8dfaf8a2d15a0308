"""Items through a pool: order, how many are read ahead, and what is said of the time."""

import contextlib
import time

import pytest

from genoformer.errors import GenoformerError
from genoformer.workflows.device_pool import DevicePool
from genoformer.workflows.device_stream import DeviceStream


@contextlib.contextmanager
def load(device):
    def work(seconds):
        time.sleep(seconds)
        if seconds == 0.03:
            raise GenoformerError("3 is too much")
        return device, seconds

    yield work


@pytest.mark.parametrize(("devices", "in_thread"), [(("a",), False), (("a",), True), (("a", "a"), True)])
def test_results_come_in_order_whatever_each_takes(devices, in_thread):
    items = [0.02, 0.0, 0.01, 0.0, 0.0, 0.02, 0.0]
    with DevicePool(load, devices, in_thread=in_thread) as pool:
        stream = DeviceStream(pool)
        assert list(stream.results(iter(items))) == [("a", seconds) for seconds in items]
        assert list(stream.results([])) == []
    facts = stream.facts()
    assert [device["device"] for device in facts["devices"]] == list(devices)
    assert sum(device["batches"] for device in facts["devices"]) == len(items)
    assert facts["seconds"]["model"] == pytest.approx(sum(d["busy_seconds"] for d in facts["devices"]), abs=0.002)
    assert facts["seconds"]["model"] >= sum(items)


def test_few_items_are_read_ahead():
    read = []

    def items():
        for number in range(50):
            read.append(number)
            yield 0.2 if number == 0 else 0.0

    with DevicePool(load, ("a",)) as pool:
        results = DeviceStream(pool).results(items())
        next(results)
        assert len(read) <= 4


def test_without_a_thread_a_result_comes_before_the_next_item_is_read():
    read = []
    with DevicePool(load, ("a",), in_thread=False) as pool:
        for number, _ in enumerate(DeviceStream(pool).results(read.append(n) or 0.0 for n in range(5)), 1):
            assert len(read) == number


def test_an_error_comes_in_its_place():
    with DevicePool(load, ("a", "b")) as pool:
        results = DeviceStream(pool).results([0.0, 0.03, 0.0])
        assert next(results)[1] == 0.0
        with pytest.raises(GenoformerError, match="3 is too much"):
            next(results)


@pytest.mark.parametrize(
    ("reading", "working", "writing", "expected"),
    [(0.05, 0, 0, "read"), (0, 0.05, 0, "model"), (0, 0, 0.05, "write")],
)
def test_the_bottleneck_is_what_took_longest(reading, working, writing, expected):
    def items():
        for _ in range(3):
            time.sleep(reading)
            yield working

    with DevicePool(load, ("a",), in_thread=False) as pool:
        stream = DeviceStream(pool)
        for _ in stream.results(items()):
            time.sleep(writing)
    facts = stream.facts()
    assert facts["bottleneck"] == expected
    seconds = facts["seconds"]
    assert seconds["read" if expected == "read" else "write" if expected == "write" else "waiting_for_model"] >= 0.15
    waited = seconds["read"] + seconds["waiting_for_model"] + seconds["write"]
    assert waited == pytest.approx(seconds["streaming"], abs=0.003)


def test_a_run_with_nothing_to_do():
    with DevicePool(load, ("a",)) as pool:
        assert DeviceStream(pool).facts()["devices"] == [
            {"device": "a", "batches": 0, "busy_seconds": 0.0, "busy": 0.0}
        ]
