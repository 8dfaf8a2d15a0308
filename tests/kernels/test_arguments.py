"""What the kernels refuse on their own; the texts are those of `alignment_loss`, tested in tests/nn/test_losses.py."""

from __future__ import annotations

import math

import pytest
import torch

from genoformer_kernels import arguments, native

SETTINGS = {"deletion_cost": 10.0, "temperature": 0.1}


def test_a_unit_halves_a_weight():
    assert arguments.unit(None) == pytest.approx(math.log(2))
    assert math.exp(-arguments.unit(0.1) / 0.1) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("num_bases", "num_columns", "deletion", "temperature", "fits"),
    [
        (100, 100, 10.0, 0.1, True),
        (4096, 1024, 10.0, 0.1, True),
        # 101 deletions of 10 and 101 costs of 16.118 are 2,638 nats: 2^24 units of log 2 from a temperature of 2.27e-4.
        (100, 100, 10.0, 2.28e-4, True),
        (100, 100, 10.0, 2.26e-4, False),
        (100, 100, 1e5, None, True),
        (100, 100, 1e9, None, False),
        (100, 100, 1e9, 0.1, False),
    ],
)
def test_tables_whose_values_two_floats_cannot_hold(num_bases, num_columns, deletion, temperature, fits):
    probs, labels = torch.ones(1, num_columns, 5), torch.ones(1, num_bases, dtype=torch.long)
    reason = arguments.out_of_range(probs, labels, deletion_cost=deletion, temperature=temperature)
    assert (reason is None) == fits
    if reason:
        assert reason.startswith("its values are exact up to 2^24 units of ")
        assert reason.endswith("lower deletion_cost or raise the temperature")


@pytest.mark.parametrize(
    ("probs", "labels", "change", "complaint"),
    [
        ((2, 3, 4), (2, 3), {}, r"probs are torch.float32 \[2, 3, 4\]; expected floating \[B, L, 5\]"),
        ((2, 0, 5), (2, 3), {}, "with L >= 1"),
        ((2, 3, 5), (1, 3), {}, r"labels are \[1, 3\]; expected \[B, M\] with B = 2"),
        ((2, 3, 5), (2, 3), {"temperature": 0.0}, "temperature is 0.0"),
        ((2, 3, 5), (2, 3), {"deletion_cost": 1e9}, r"exact up to 2\^24 units of 0.0693 nats"),
    ],
)
def test_native_refuses_what_it_would_read_out_of_bounds_or_count_wrongly(probs, labels, change, complaint):
    with pytest.raises(ValueError, match=f"alignment kernel: .*{complaint}"):
        native.solve(torch.ones(probs), torch.ones(labels, dtype=torch.long), **{**SETTINGS, **change})


def test_native_refuses_tensors_that_are_not_on_the_cpu():
    probs, labels = torch.ones(2, 3, 5, device="meta"), torch.ones(2, 3, dtype=torch.long, device="meta")
    with pytest.raises(native.NativeUnavailableError, match="it runs on the CPU; the tensors are on meta"):
        native.solve(probs, labels, **SETTINGS)
