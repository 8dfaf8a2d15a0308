import multiprocessing
import os
import queue
import signal
import threading
import time

import pytest

from genoformer.errors import GenoformerError
from genoformer.workflows.ordered_map import ordered_map


class StrangeError(Exception):
    """An error that no code under test knows."""


def square(number):
    time.sleep(0.002 * (number % 3))  # the later of two may be ready first
    return number * number


def fail_at_three(number):
    if number == 3:
        raise StrangeError("in the function")
    return number


def die_at_three(number):
    if number == 3:
        os._exit(3)
    return number


def blocked_signals(_):
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "reader"] == []
    assert multiprocessing.active_children() == []


def taken(function, items, num_workers, max_waiting=4, seconds=30):
    """Results of a map that must not hang, and the error that it ended with."""
    outcomes = queue.Queue()

    def take():
        results = []
        try:
            results.extend(ordered_map(function, items, num_workers, max_waiting))
            outcomes.put((results, None))
        except Exception as error:  # noqa: BLE001 - handed to the test
            outcomes.put((results, error))

    threading.Thread(target=take, daemon=True).start()
    return outcomes.get(timeout=seconds)


@pytest.mark.parametrize(("num_workers", "max_waiting"), [(0, 1), (0, 100), (1, 1), (2, 7)])
def test_results_come_in_the_order_of_the_items(num_workers, max_waiting):
    results, error = taken(square, iter(range(40)), num_workers, max_waiting)
    assert (results, error) == ([number**2 for number in range(40)], None)


def test_threads_share_what_a_process_could_not_take():
    lock = threading.Lock()  # cannot be pickled

    def locked_square(number):
        with lock:
            return square(number)

    assert list(ordered_map(locked_square, iter(range(40)), 3, 5, in_threads=True)) == [n * n for n in range(40)]
    with pytest.raises(StrangeError, match="in the function"):
        list(ordered_map(fail_at_three, iter(range(9)), 3, 5, in_threads=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_no_items(num_workers):
    assert taken(square, iter([]), num_workers) == ([], None)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_are_taken_ahead_only_so_far(num_workers):
    items = iter(range(100))
    results = ordered_map(square, items, num_workers, 3)
    assert next(results) == 0
    time.sleep(0.3)
    assert 3 <= next(items) <= 1 + 3 + 1  # one given, three waiting, one in the thread's hand
    results.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_items_comes_after_the_results_before_it(num_workers):
    def items():
        yield from (1, 2)
        raise StrangeError("in the items")

    results = ordered_map(square, items(), num_workers, 4)
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(StrangeError, match="in the items"):
        next(results)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_function_is_that_error(num_workers):
    _, error = taken(fail_at_three, iter(range(9)), num_workers)
    assert isinstance(error, StrangeError)
    assert str(error) == "in the function"


def test_a_worker_that_dies_is_named():
    _, error = taken(die_at_three, iter(range(9)), 1)
    assert isinstance(error, GenoformerError)
    assert str(error) == "a worker process died; is there enough memory? Use fewer --threads or smaller batches"


def test_a_worker_that_dies_between_two_items_is_named():
    def items():
        yield 1
        while not multiprocessing.active_children():
            time.sleep(0.01)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        time.sleep(0.5)  # the pool notices: now it refuses the next item
        yield 2

    _, error = taken(square, items(), 1)
    assert isinstance(error, GenoformerError)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_who_takes_no_more_leaves_nothing_running(num_workers):
    results = ordered_map(square, iter(range(1000)), num_workers, 2)
    next(results)
    results.close()  # the fixture looks for threads and processes


def test_workers_leave_ctrl_c_to_the_main_process_from_their_start():
    """Ignoring it is not enough: that begins only once the worker has loaded its modules."""
    ((blocked,), error) = taken(blocked_signals, iter([0]), 1)
    assert (signal.SIGINT in blocked, error) == (True, None)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
