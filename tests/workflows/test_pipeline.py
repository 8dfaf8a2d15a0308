import dataclasses
import functools
import multiprocessing
import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from genoformer.config import ConsensusConfig
from genoformer.errors import AlignmentError, GenoformerError
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import iterate_molecules
from genoformer.workflows.pipeline import Flow, WindowBatches, prepared_molecules
from genoformer.workflows.prepare import Calls, PrepareSettings, prepare_molecule
from tests.correct_inputs import as_molecule, simulate_molecules, write_inputs

NUM_ROWS, LENGTH = 3, 4


class StrangeError(Exception):
    """An error that no code under test knows."""


@pytest.fixture
def inputs(tmp_path):
    return write_inputs(tmp_path, simulate_molecules(12))


@pytest.fixture
def raw_molecules(inputs):
    with BamReader(inputs.subreads) as subreads, CcsFinder(inputs.ccs) as ccs:
        return list(iterate_molecules(subreads, ccs))


@pytest.fixture
def prepare(inputs):
    settings = PrepareSettings(inputs.subreads, inputs.ccs, ConsensusConfig(), False, 45, 5, False)
    return functools.partial(prepare_molecule, settings=settings)


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "reader"] == []
    assert multiprocessing.active_children() == []


def in_time(function, seconds=30):
    """The result of a call that must not hang: the exception that it raises, or what it returns."""
    results = queue.Queue()

    def run():
        try:
            results.put(function())
        except BaseException as error:  # noqa: BLE001 - raised again below
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    result = results.get(timeout=seconds)
    if isinstance(result, BaseException):
        raise result
    return result


def exit_worker(raw):
    os._exit(3)


# Reading and preparing


@pytest.mark.parametrize(("num_workers", "max_waiting"), [(0, 1), (0, 3), (0, 100), (1, 1), (1, 100), (2, 3)])
def test_molecules_come_in_the_order_of_the_input(raw_molecules, prepare, num_workers, max_waiting):
    flow = Flow()
    found = list(prepared_molecules(iter(raw_molecules), prepare, num_workers, max_waiting, flow))
    assert [molecule.ccs.name for molecule in found] == [raw.name for raw in raw_molecules]
    assert all(molecule.rows.shape[1:] == (85, 100) for molecule in found)
    assert flow.seconds.pileup == pytest.approx(sum(molecule.seconds for molecule in found))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_reader_comes_after_the_molecules_before_it(raw_molecules, prepare, num_workers):
    def failing():
        yield from raw_molecules[:3]
        raise StrangeError("in the reader")

    names = []

    def take():
        for molecule in prepared_molecules(failing(), prepare, num_workers, 8, Flow()):
            names.append(molecule.ccs.name)

    with pytest.raises(StrangeError, match="in the reader"):
        in_time(take)
    assert names == [raw.name for raw in raw_molecules[:3]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_a_worker_is_that_error(raw_molecules, prepare, num_workers):
    bad = dataclasses.replace(raw_molecules[2], ccs=raw_molecules[2].ccs[:40])
    raw = iter([*raw_molecules[:2], bad, *raw_molecules[3:]])
    with pytest.raises(AlignmentError, match=r"ccs.bam: record .* is shorter than its own fields"):
        in_time(lambda: list(prepared_molecules(raw, prepare, num_workers, 8, Flow())))


def test_a_worker_that_dies_is_named(raw_molecules):
    with pytest.raises(GenoformerError) as error:
        in_time(lambda: list(prepared_molecules(iter(raw_molecules), exit_worker, 1, 2, Flow())))
    assert str(error.value) == "a worker process died; is there enough memory? Use fewer --threads or smaller batches"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_who_takes_no_more_leaves_nothing_running(raw_molecules, prepare, num_workers):
    prepared = prepared_molecules(iter(raw_molecules), prepare, num_workers, 2, Flow())
    next(prepared)
    in_time(prepared.close)  # the fixture looks for threads and processes


# Batches


def rows_of(values):
    """Windows whose every cell holds one of the values, [n, R, L]."""
    return np.broadcast_to(np.array(values, np.int16)[:, None, None], (len(values), NUM_ROWS, LENGTH)).copy()


def molecule_of(values):
    """A prepared molecule with a window for the model for each value, which tells them apart."""
    ranges = [(index, index + 1) for index in range(len(values))]
    molecule = as_molecule(ccs_range=ranges, is_called=[True] * len(values))
    return dataclasses.replace(molecule, rows=rows_of(values))


class EchoModel:
    """Calls of a window are its own value, its error a hundredth of it; notes the shapes and batches it is given."""

    def __init__(self):
        self.shapes, self.batches = [], []

    def __call__(self, rows):
        self.shapes.append(rows.shape)
        values = rows[:, 0, :]
        self.batches.append(values[:, 0].tolist())
        return values.astype(np.uint8), values.astype(np.float32) / 100


def at_once(model):
    """What a pool does that computes a batch while it is submitted."""

    def submit(rows):
        future = Future()
        future.set_result(model(rows))
        return future

    return submit


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 64])
def test_every_molecule_gets_its_own_calls_in_order(batch_size):
    windows = [[1, 2, 3], [], [4], [5, 6, 7, 8, 9, 10, 11], [], [12]]
    model = EchoModel()
    batches = WindowBatches(at_once(model), (batch_size, NUM_ROWS, LENGTH), 1, Flow())
    called = list(batches.called(molecule_of(values) for values in windows))
    assert [calls.codes[:, 0].tolist() for _, calls in called] == windows
    assert all((calls.error_prob == calls.codes.astype(np.float32) / 100).all() for _, calls in called)
    assert all(molecule.rows is None for molecule, _ in called)
    assert set(model.shapes) == {(batch_size, NUM_ROWS, LENGTH)}
    assert batches.num_batches == len(model.shapes) == -(-12 // batch_size)


def test_windows_of_several_molecules_share_a_batch_and_the_last_is_padded():
    model = EchoModel()
    batches = WindowBatches(at_once(model), (4, NUM_ROWS, LENGTH), 1, Flow())
    list(batches.called(iter([molecule_of([1, 2, 3]), molecule_of([4, 5])])))
    assert model.batches == [[1, 2, 3, 4], [5, 0, 0, 0]]


def test_molecules_leave_as_soon_as_their_batch_is_done():
    taken = []

    def molecules():
        for values in ([1, 2], [3], [4, 5]):
            taken.append(values)
            yield molecule_of(values)

    batches = WindowBatches(at_once(EchoModel()), (2, NUM_ROWS, LENGTH), 1, Flow())
    called = batches.called(molecules())
    next(called)
    assert taken == [[1, 2]]


@pytest.mark.parametrize("num_ahead", [1, 3])
def test_batches_that_end_in_another_order_change_nothing(num_ahead):
    """Each batch waits for the one after it, as far as so many may be on their way at once."""
    ended = [threading.Event() for _ in range(6)]
    order = []

    def slow(rows, number):
        if number % 2 == 0 and number + 1 < len(ended) and num_ahead > 1:
            ended[number + 1].wait(timeout=30)
        order.append(number)
        ended[number].set()
        return model(rows)

    model, flow = EchoModel(), Flow()
    with ThreadPoolExecutor(3) as threads:
        numbers = iter(range(6))
        submit = lambda rows: threads.submit(slow, rows, next(numbers))  # noqa: E731
        batches = WindowBatches(submit, (2, NUM_ROWS, LENGTH), num_ahead, flow)
        windows = [[1, 2, 3], [], [4], [5, 6, 7, 8, 9, 10, 11], [], [12]]
        called = list(in_time(lambda: list(batches.called(molecule_of(values) for values in windows))))
    assert [calls.codes[:, 0].tolist() for _, calls in called] == windows
    assert all((calls.error_prob == calls.codes.astype(np.float32) / 100).all() for _, calls in called)
    assert sorted(order) == list(range(6))
    assert (order == list(range(6))) == (num_ahead == 1)
    assert flow.queues.batches_at_devices.most <= num_ahead


def test_voted_molecules_pass_the_model_by():
    calls = Calls(np.ones((1, LENGTH), np.uint8), np.zeros((1, LENGTH), np.float32))
    molecule = dataclasses.replace(as_molecule(), calls=calls)
    batches = WindowBatches(exit_worker, (1, NUM_ROWS, LENGTH), 1, Flow())
    assert [found is calls for _, found in batches.called(iter([molecule]))] == [True]


def test_molecules_without_windows_do_not_pile_up_behind_one_that_waits():
    most = 0

    def molecules():
        nonlocal most
        yield molecule_of([1])
        for _ in range(2000):
            most = max(most, len(batches._pending))
            yield molecule_of([])

    batches = WindowBatches(at_once(EchoModel()), (64, NUM_ROWS, LENGTH), 1, Flow())
    assert len(list(batches.called(molecules()))) == 2001
    assert most <= 300


def test_an_error_of_the_model_is_that_error_and_stops_the_reader(raw_molecules, prepare):
    def fail(rows):
        raise StrangeError("in the model")

    batches = WindowBatches(at_once(fail), (2, 85, 100), 1, Flow())

    def run():
        prepared = prepared_molecules(iter(raw_molecules), prepare, 0, 2, Flow())
        try:
            list(batches.called(prepared))
        finally:
            prepared.close()

    with pytest.raises(StrangeError, match="in the model"):
        in_time(run)
