"""A process as its environment describes it, and sums of one process; two are tried in test_loop.py."""

import pytest
import torch
from torch import nn

from genoformer.errors import UsageError
from genoformer.training.distributed import (
    Process,
    average_gradients_of,
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
