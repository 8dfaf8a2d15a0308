"""What all tests share: one thread per worker, fixed hypothesis examples, the real reads and tracks, GPU tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Read when torch loads: xdist runs one worker per core, and one thread adds in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Puts torch's number of threads back, which commands set and on which the last bits of later tests depend."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; skips the test where it is not there."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not there: {folder}")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no CUDA device; torch is loaded only if there are any."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _cuda_is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()
