"""A process as its environment describes it, and sums of one process; two are tried in test_loop.py."""

import multiprocessing

import pytest
import torch
import torch.distributed as dist
from torch import nn

from genoformer.errors import UsageError
from genoformer.training.distributed import (
    Process,
    average_gradients_of,
    gather_at_all,
    gather_at_main,
    start_process,
    sum_over_processes,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_it_is_the_only_one():
    with start_process("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.is_main
        model = nn.Linear(1, 1)
        assert average_gradients_of(model, process) is model
        assert gather_at_main(torch.ones(2))[0].tolist() == [1.0, 1.0]
        assert gather_at_all(torch.ones(2))[0].tolist() == [1.0, 1.0]


def gather_ranks(store, rank, found):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    gathered = gather_at_all(torch.tensor([[rank, 7.5]], dtype=torch.float64).T)
    found.put((rank, [values.tolist() for values in gathered]))
    dist.destroy_process_group()


def test_all_of_two_processes_get_the_values_of_both(tmp_path):
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    processes = [context.Process(target=gather_ranks, args=(tmp_path / "store", rank, found)) for rank in range(2)]
    for process in processes:
        process.start()
    results = dict(found.get(timeout=100) for _ in processes)
    for process in processes:
        process.join()
    assert results == {rank: [[[0.0], [7.5]], [[1.0], [7.5]]] for rank in range(2)}


def test_a_sum_is_a_new_tensor_of_the_same_type():
    values = torch.tensor([1, 2], dtype=torch.int64)
    total = sum_over_processes(values)
    assert (total.tolist(), total.dtype) == ([1, 2], torch.int64)
    assert total.data_ptr() != values.data_ptr()


def test_a_variable_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="environment variable RANK is 'first'; expected a number"), start_process():
        pass


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu", "device is 'tpu'; expected auto, cpu or cuda"),
        ("cuda", "process 0 of this machine has no GPU: it has 0"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, device, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=message), start_process(device):
        pass
