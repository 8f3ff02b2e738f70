from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import PolynomialLR

from steepest.schedules import Polynomial


@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.7])
def test_agrees_with_torch(torch_factors: Any, steps: int, power: float) -> None:
    theirs = torch_factors(lambda opt: PolynomialLR(opt, steps, power), 30)
    assert Polynomial(steps, power).values(30) == pytest.approx(theirs, abs=1e-12)


def test_ends_and_stays_at_its_end_value() -> None:
    values = Polynomial(10, power=2.0, end=0.25).values(20)
    assert values[10:] == [0.25] * 10
    assert min(values) == 0.25


def test_the_end_is_relative_to_each_group() -> None:
    """Elsewhere the end is divided by the default learning rate of the optimizer, whatever the group's own is."""
    p = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    opt = torch.optim.SGD([{"params": p[:1], "lr": 1.0}, {"params": p[1:], "lr": 0.01}], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(opt, Polynomial(5, end=0.1).function())
    for _ in range(9):
        opt.step()
        scheduler.step()
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.1, 0.001])
