import contextlib
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

from genoformer.errors import GenoformerError, UsageError
from genoformer.workflows.device_pool import ArrayForm, DevicePool, Forms

BATCH = ArrayForm((3, 2), np.int16)
RESULTS = (ArrayForm((3,), np.uint8), ArrayForm((2,), np.float32))


def batch_of(value):
    return np.full(BATCH.shape, value, np.int16)


def sums(batch):
    """Sums of rows and of columns, after a moment that differs between batches."""
    time.sleep(0.01 * (int(batch[0, 0]) % 3))
    return batch.sum(1).astype(np.uint8), batch.sum(0).astype(np.float32)


@contextlib.contextmanager
def load_sums(device):
    yield sums


@contextlib.contextmanager
def load_process_ids(device):
    yield lambda batch: (np.zeros(3, np.uint8), np.full(2, os.getpid() % 100_000, np.float32))


@contextlib.contextmanager
def load_refused(device):
    raise UsageError(f"{device} is broken")
    yield


@contextlib.contextmanager
def load_ending(device):
    os._exit(7)
    yield


@contextlib.contextmanager
def load_failing(device):
    def fail(batch):
        if batch[0, 0] == 2:
            raise GenoformerError(f"{device} has too little memory")
        return sums(batch)

    yield fail


@contextlib.contextmanager
def load_killed(device):
    def die(batch):
        if batch[0, 0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return sums(batch)

    yield die


@contextlib.contextmanager
def blocked(device):
    is_blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield lambda batch: (np.full(3, is_blocked, np.uint8), np.zeros(2, np.float32))


@contextlib.contextmanager
def load_repeat(device):
    """Any object, so often as it says, and the id of the process."""

    def repeat(item):
        text, count = item
        if text == "wrong":
            raise GenoformerError(f"{device} cannot {text}")
        return [text] * count, os.getpid()

    yield repeat


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("device")] == []
    assert multiprocessing.active_children() == []


def pool(load, *devices):
    return DevicePool(load, devices, Forms(BATCH, RESULTS))


@pytest.mark.parametrize("devices", [("one",), ("one", "two")])
def test_each_batch_has_its_own_results(devices):
    with pool(load_sums, *devices) as opened:
        futures = [opened.submit(batch_of(value)) for value in range(9)]
        found = [future.result(timeout=60) for future in futures]
    assert [rows.tolist() for rows, _ in found] == [[2 * value] * 3 for value in range(9)]
    assert [columns.tolist() for _, columns in found] == [[3.0 * value] * 2 for value in range(9)]
    assert [(rows.dtype, columns.dtype) for rows, columns in found] == [(np.uint8, np.float32)] * 9
    assert [use.device for use in opened.use] == list(devices)
    assert sum(use.batches for use in opened.use) == 9
    assert sum(use.busy_seconds for use in opened.use) >= 0.01 * (0 + 1 + 2) * 3


def test_one_device_works_in_this_process_and_several_do_not():
    with pool(load_process_ids, "one") as opened:
        assert opened.submit(batch_of(0)).result()[1].tolist() == [os.getpid() % 100_000] * 2
    with pool(load_process_ids, "one", "two") as opened:
        found = {opened.submit(batch_of(0)).result()[1][0] for _ in range(8)}
        expected = {process.pid % 100_000 for process in multiprocessing.active_children()}
    assert found == expected
    assert len(found) == 2


@pytest.mark.parametrize("devices", [("one",), ("one", "two")])
def test_a_function_that_cannot_be_loaded_says_why(devices):
    with pytest.raises(UsageError, match="one is broken"):
        pool(load_refused, *devices)


def test_a_process_that_ends_while_it_loads():
    with pytest.raises(GenoformerError, match="the process of device one ended with exit code 7; is there enough"):
        pool(load_ending, "one", "two")


@pytest.mark.parametrize("devices", [("one",), ("one", "one")])
def test_an_error_of_the_function_is_that_error(devices):
    with pool(load_failing, *devices) as opened:
        assert opened.submit(batch_of(1)).result()[0].tolist() == [2, 2, 2]
        with pytest.raises(GenoformerError, match="one has too little memory"):
            opened.submit(batch_of(2)).result(timeout=60)


def test_a_process_that_is_killed_is_named():
    with pool(load_killed, "one", "one") as opened:
        with pytest.raises(GenoformerError) as error:
            opened.submit(batch_of(2)).result(timeout=60)
        assert str(error.value) == (
            "the process of device one was killed by SIGKILL; is there enough memory? Use smaller batches, and repeat "
            "the command with --resume"
        )


def test_processes_leave_ctrl_c_to_the_main_process():
    with pool(blocked, "one", "two") as opened:
        assert opened.submit(batch_of(0)).result(timeout=60)[0].tolist() == [1, 1, 1]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_pool_that_is_left_gives_up_what_is_not_done():
    with pool(load_sums, "one", "two") as opened:
        futures = [opened.submit(batch_of(2)) for _ in range(200)]
    assert any(future.cancelled() or future.exception() for future in futures)


@pytest.mark.parametrize("devices", [("one",), ("one", "two")])
def test_objects_of_any_size_go_through(devices):
    items = [("", 3), ("ACGT", 100_000), ("N", 0), ("x" * 300_000, 2)]
    with DevicePool(load_repeat, devices) as opened:
        found = [future.result(timeout=60) for future in [opened.submit(item) for item in items]]
        with pytest.raises(GenoformerError, match="cannot wrong"):
            opened.submit(("wrong", 1)).result(timeout=60)
    assert [copies for copies, _ in found] == [[text] * count for text, count in items]
    assert (os.getpid() in {process for _, process in found}) == (len(devices) == 1)


def test_a_device_without_a_thread_works_where_items_are_submitted():
    @contextlib.contextmanager
    def load(device):
        opened.append(device)
        yield lambda item: (item, threading.current_thread().name)
        opened.remove(device)

    opened, own = [], threading.current_thread().name
    with DevicePool(load, ("one",), in_thread=False) as without:
        assert without.submit(1).result() == (1, own)
        assert opened == ["one"]
    with DevicePool(load, ("one",)) as within:
        assert within.submit(1).result()[1].startswith("device")
    assert opened == []


def test_ctrl_c_reaches_a_device_without_a_thread():
    @contextlib.contextmanager
    def load(device):
        yield lambda item: os.kill(os.getpid(), signal.SIGINT)

    with DevicePool(load, ("one",), in_thread=False) as opened, pytest.raises(KeyboardInterrupt):
        opened.submit(1)
