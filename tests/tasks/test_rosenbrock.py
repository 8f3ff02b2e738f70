from __future__ import annotations

import pytest
import torch

from steepest.tasks.rosenbrock import rosenbrock


@pytest.mark.parametrize("dimension", [2, 10])
def test_the_classic_start_and_the_optimum(dimension: int) -> None:
    task = rosenbrock(dimension=dimension)
    model = task.build(0)
    assert model.x.tolist() == pytest.approx([-1.2, 1.0] * (dimension // 2))
    assert task.evaluate(model)["loss"] == pytest.approx(24.2 * dimension / 2)
    model.x.data.fill_(1.0)
    assert task.evaluate(model)["loss"] == task.optimum == 0


def test_gradient_and_curvature_at_the_optimum_are_those_of_the_book() -> None:
    """Hessian at (1, 1): [[802, -400], [-400, 200]]."""
    task = rosenbrock()
    x = torch.ones(2, dtype=torch.float64)
    h = torch.autograd.functional.hessian(lambda x: task.loss(x, ()), x)
    torch.testing.assert_close(h, torch.tensor([[802.0, -400.0], [-400.0, 200.0]], dtype=torch.float64))
