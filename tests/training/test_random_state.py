"""Random states of torch, numpy and Python: per process, saved and put back."""

import random

import numpy as np
import torch

from genoformer.training.random_state import (
    preserved_random_state,
    random_state,
    restore_random_state,
    seed_process,
)

CPU = torch.device("cpu")


def draws():
    return [torch.rand(1).item(), np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1)]


def test_seeds_differ_by_process_and_repeat():
    found = []
    for seed, rank in ((1, 0), (1, 1), (2, 0), (1, 0)):
        seed_process(seed, rank)
        found.append(draws())
    assert found[0] == found[3]
    assert all(len(set(column)) == 3 for column in zip(*found[:3], strict=True))


def test_a_restored_state_goes_on_with_the_same_numbers_even_between_two_normals():
    seed_process(3, 0)
    draws()  # numpy and Python now each hold the second of a pair of normal numbers
    state = random_state(CPU)
    expected = [draws() for _ in range(3)]
    draws()
    restore_random_state(state, CPU)
    assert [draws() for _ in range(3)] == expected
    assert len(random_state(CPU)) == len(state)


def test_what_is_drawn_inside_does_not_count():
    seed_process(4, 0)
    expected = draws()
    seed_process(4, 0)
    with preserved_random_state(CPU):
        draws()
    assert draws() == expected
