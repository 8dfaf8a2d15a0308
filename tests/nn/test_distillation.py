"""Distillation against the original's values, and what a student starts from."""

import numpy as np
import pytest
import torch

from genoformer.errors import UsageError
from genoformer.nn.distillation import distillation_loss, student_from_teacher


def relative_error(found, expected):
    return np.abs(found.detach().numpy() / expected - 1).max()


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data / "consensus" / "golden" / "distill.npz") as file:
        return {name: file[name] for name in file}


@pytest.mark.parametrize("divergence", ["mse", "kl"])
def test_the_original_s_values(golden, divergence):
    teacher, student = torch.from_numpy(golden["teacher"]), torch.from_numpy(golden["student"])
    found = distillation_loss(student_logits=student, teacher_logits=teacher, divergence=divergence)
    assert found.dtype == torch.float32
    assert relative_error(found, golden[divergence]) < 1e-6


@pytest.mark.parametrize("divergence", ["mse", "kl"])
def test_other_temperatures_and_exchanged_models_give_other_values(golden, divergence):
    teacher, student = torch.from_numpy(golden["teacher"]), torch.from_numpy(golden["student"])
    warm = distillation_loss(student_logits=student, teacher_logits=teacher, divergence=divergence, temperature=1.001)
    assert relative_error(warm, golden[divergence]) > 1e-5
    exchanged = distillation_loss(student_logits=teacher, teacher_logits=student, divergence="kl")
    assert relative_error(exchanged, golden["kl"]) > 1e-3


def test_one_position_by_hand():
    # teacher softmax(log 3, 0) = 3/4, 1/4; student 1/2, 1/2
    logits = {"teacher_logits": torch.tensor([[[3.0, 1.0]]]).log(), "student_logits": torch.zeros(1, 1, 2)}
    assert distillation_loss(**logits, divergence="mse").item() == pytest.approx(1 / 16)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert distillation_loss(**logits, divergence="kl").item() == pytest.approx(expected)
    # at temperature 2 the teacher's odds are sqrt(3): 0.633975, 0.366025
    assert distillation_loss(**logits, temperature=2.0).item() == pytest.approx(0.133975**2, rel=1e-4)


@pytest.mark.parametrize("divergence", ["mse", "kl"])
def test_the_gradient_is_that_of_finite_differences_and_reaches_the_student_alone(divergence):
    generator = torch.Generator().manual_seed(1)
    student, teacher = (
        torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )

    def loss(logits):
        return distillation_loss(student_logits=logits, teacher_logits=teacher, divergence=divergence, temperature=1.7)

    assert torch.autograd.gradcheck(loss, [student])
    loss(student).sum().backward()
    assert teacher.grad is None


def test_extreme_logits_stay_finite():
    student = torch.tensor([[[200.0, -200.0]]], requires_grad=True)
    loss = distillation_loss(student_logits=student, teacher_logits=-student, divergence="kl")
    loss.sum().backward()
    assert loss.item() == pytest.approx(400)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divergence": "l1"}, "divergence is 'l1'; expected one of mse, kl"),
        ({"temperature": 0.0}, "temperature is 0.0; expected a finite number above 0"),
        ({"teacher_logits": torch.zeros(1, 2, 4)}, r"student \[1, 2, 5\] and teacher \[1, 2, 4\]; expected both"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    logits = {"student_logits": torch.zeros(1, 2, 5), "teacher_logits": torch.zeros(1, 2, 5)}
    with pytest.raises(UsageError, match=message):
        distillation_loss(**{**logits, **change})


def test_a_student_has_the_chosen_layers_in_order_and_all_else():
    teacher = {f"layers.{i}.weight": torch.tensor([float(i)]) for i in range(11)} | {"head.bias": torch.ones(2)}
    student = student_from_teacher(teacher, [1, 10, 0])
    assert {name: tensor.tolist() for name, tensor in student.items()} == {
        "layers.0.weight": [1.0], "layers.1.weight": [10.0], "layers.2.weight": [0.0], "head.bias": [1.0, 1.0],
    }  # fmt: skip
    student["head.bias"].zero_()
    assert teacher["head.bias"].tolist() == [1.0, 1.0]


def test_a_layer_that_the_teacher_lacks_is_named():
    with pytest.raises(UsageError, match="the teacher has no layer 2; it has 2, counted from 0"):
        student_from_teacher({"layers.0.w": torch.ones(1), "layers.1.w": torch.ones(1)}, [0, 2])
