"""Names of devices, those that are there and those that are not."""

import pytest
import torch

from genoformer.errors import GenoformerError, UsageError
from genoformer.workflows.device import enough_memory, find_device, find_devices, num_threads


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


@pytest.fixture
def gpus(monkeypatch):
    """Makes torch see GPUs of these models."""

    def see(*models):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(models))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(models))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: models[torch.device(name).index or 0])

    return see


@pytest.mark.parametrize(
    ("names", "models", "expected"),
    [
        (None, (), ("cpu",)),
        (None, ("A", "A"), ("cuda",)),
        ("cpu", ("A",), ("cpu",)),
        ("cpu,cpu", (), ("cpu", "cpu")),
        ("cuda:1", ("A", "B"), ("cuda:1",)),
        ("cuda:1,cuda:0", ("A", "A"), ("cuda:1", "cuda:0")),
        ("all", ("A", "A", "A"), ("cuda:0", "cuda:1", "cuda:2")),
    ],
)
def test_several_devices(gpus, names, models, expected):
    gpus(*models)
    assert find_devices(names) == expected


@pytest.mark.parametrize(
    ("names", "models", "text"),
    [
        ("cpu,", (), "--device is ''; expected cpu, cuda or cuda:N"),
        ("cuda:0,cuda:1", ("A",), "--device is 'cuda:1', but torch sees 1 CUDA devices here"),
        ("all", (), "--device is 'all', but torch sees no CUDA device here; leave it out for the CPU"),
        ("cpu,cuda:0", ("A",), "--device is 'cpu,cuda:0': A, cpu; name devices of one kind"),
        ("all", ("A", "B"), "--device is 'all': A, B; name devices of one kind"),
    ],
)
def test_several_devices_that_cannot_work(gpus, names, models, text):
    gpus(*models)
    with pytest.raises(UsageError) as error:
        find_devices(names)
    assert str(error.value) == text


def test_threads_are_those_granted_or_all(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert (num_threads(2), num_threads(None)) == (2, 3)
    with pytest.raises(UsageError, match="--threads is 0; expected at least 1"):
        num_threads(0)


def test_a_device_with_too_little_memory_is_named():
    text = "cuda:1 has too little memory for 3 windows at once; use a smaller --batch-size"
    with pytest.raises(GenoformerError, match=text), enough_memory("cuda:1", "3 windows"):
        raise torch.OutOfMemoryError("CUDA out of memory")
