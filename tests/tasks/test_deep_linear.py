from __future__ import annotations

import pytest
import torch

from steepest import tasks
from steepest.tasks.deep_linear import DeepLinear, deep_linear, teacher
from steepest.tasks.task import TaskError


def test_the_teacher_has_the_singular_values_asked_for() -> None:
    values = torch.linalg.svdvals(teacher(12, 50.0))
    assert (values[0].item(), (values[0] / values[-1]).item()) == pytest.approx((1, 50))
    ratios = values[1:] / values[:-1]
    torch.testing.assert_close(ratios, ratios.mean().expand(11))


def test_the_loss_is_half_the_squared_distance_of_the_product() -> None:
    task = tasks.load("deep-linear")
    model = task.build(0)
    assert isinstance(model, DeepLinear)
    product = torch.linalg.multi_dot([layer.weight.double() for layer in reversed(model.layers)])
    wanted = 0.5 * (product - teacher(24, 10.0)).square().sum()
    assert task.evaluate(model)["loss"] == pytest.approx(wanted.item(), rel=1e-5)


def test_the_optimum_is_zero() -> None:
    task = deep_linear(depth=2)
    model = task.build(0)
    u, s, v = torch.linalg.svd(teacher(24, 10.0))
    with torch.no_grad():
        model.layers[0].weight.copy_(s.sqrt()[:, None] * v)
        model.layers[1].weight.copy_(u * s.sqrt())
    assert task.evaluate(model)["loss"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("depth", "gain"), [(1, 0.5), (3, 0.9), (6, 0.7)])
def test_the_loss_at_the_start_is_as_theory_says(depth: int, gain: float) -> None:
    task = deep_linear(depth=depth, gain=gain)
    losses = torch.tensor([task.evaluate(task.build(seed))["loss"] for seed in range(60)])
    wanted = (teacher(24, 10.0).square().sum().item() + 24 * gain ** (2 * depth)) / 2
    assert losses.mean().item() == pytest.approx(wanted, abs=4 * losses.std().item() / 60**0.5)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(TaskError, match=r"gain > 0.*given dimension=24, depth=6, gain=0,"):
        deep_linear(gain=0.0)
