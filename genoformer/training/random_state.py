"""The random states of a process: seeded per process, saved, put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_PYTHON_WORDS = 625  # of Python's Mersenne Twister: 624 and a position
_NUMPY_WORDS = 624


def seed_process(seed: int, rank: int) -> None:
    """Seeds torch (on all devices), numpy and Python, differently in every process, so that dropout differs."""
    words = np.random.SeedSequence([seed, rank]).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))
    random.seed(int(words[2]))


def random_state(device: torch.device) -> Tensor:
    """The state of torch on the CPU and on `device`, of numpy and of Python; uint8, of one length per device type."""
    # The bytes of one process, in one tensor: processes can gather it, and no pickle is needed to save it.
    parts = [torch.get_rng_state()]
    if device.type == "cuda":
        parts.append(torch.cuda.get_rng_state(device))
    _, words, position, has_gauss, gauss = np.random.get_state()
    parts.append(_as_bytes(np.asarray(words, np.uint32)))
    parts.append(_as_bytes(np.asarray([position, has_gauss, gauss], np.float64)))
    _, numbers, following = random.getstate()
    parts.append(_as_bytes(np.asarray(numbers, np.uint32)))
    parts.append(_as_bytes(np.asarray([following is not None, following or 0.0], np.float64)))
    return torch.cat(parts)


def restore_random_state(state: Tensor, device: torch.device) -> None:
    """Puts back what `random_state` gave on a device of the same type."""
    sizes = [torch.get_rng_state().numel()]
    if device.type == "cuda":
        sizes.append(torch.cuda.get_rng_state(device).numel())
    sizes += [4 * _NUMPY_WORDS, 3 * 8, 4 * _PYTHON_WORDS, 2 * 8]
    parts = [part.clone() for part in state.cpu().split(sizes)]
    torch.set_rng_state(parts[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(parts[1], device)
    words, (position, has_gauss, gauss) = parts[-4].numpy().view(np.uint32), parts[-3].numpy().view(np.float64)
    np.random.set_state(("MT19937", words, int(position), int(has_gauss), float(gauss)))
    numbers, (has_following, following) = parts[-2].numpy().view(np.uint32), parts[-1].numpy().view(np.float64)
    random.setstate((3, tuple(map(int, numbers)), float(following) if has_following else None))


@contextlib.contextmanager
def preserved_random_state(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the random states are afterwards as before."""
    state = random_state(device)
    try:
        yield
    finally:
        restore_random_state(state, device)


def _as_bytes(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.view(np.uint8).copy())
