"""Names of devices, those that are there and those that are not."""

import pytest
import torch

from genoformer.errors import UsageError
from genoformer.workflows.device import find_device


def test_the_cpu_has_a_name():
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("is_there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_without_a_name_it_is_cuda_where_there_is_any(monkeypatch, is_there, kind):
    monkeypatch.setattr("torch.cuda.is_available", lambda: is_there)
    assert find_device(None).type == kind


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("tpu!", "--device is 'tpu!'; expected cpu, cuda or cuda:N"),
        ("meta", "--device is 'meta'; expected cpu, cuda or cuda:N"),
        ("cuda:99", r"--device is 'cuda:99', but torch sees \d CUDA devices here"),
        ("cuda:999", r"--device is 'cuda:999', but torch sees \d CUDA devices here"),
    ],
)
def test_a_device_that_is_not_there(device, text):
    with pytest.raises(UsageError, match=text):
        find_device(device)
