from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR

from steepest.schedules import Clock, Cyclic


@pytest.mark.parametrize(("up", "down"), [(1, 1), (5, None), (4, 9), (10, 3)])
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("gamma", [1.0, 0.98])
def test_agrees_with_torch(torch_factors: Any, up: int, down: int | None, mode: Any, gamma: float) -> None:
    def make(opt: torch.optim.Optimizer) -> CyclicLR:
        return CyclicLR(opt, 0.1, 1.0, up, down, mode=mode, gamma=gamma, cycle_momentum=False)

    ours = Cyclic(up, down, low=0.1, high=1.0, mode=mode, gamma=gamma).values(90)
    assert ours == pytest.approx(torch_factors(make, 90), abs=1e-12)


def test_the_momentum_goes_the_other_way(torch_factors: Any) -> None:
    def make(opt: torch.optim.Optimizer) -> CyclicLR:
        return CyclicLR(opt, 0.1, 1.0, 5, base_momentum=0.8, max_momentum=0.95)

    theirs = torch_factors(make, 30, key="momentum", momentum=0.9)
    ours = Cyclic(5, low=1.0, high=0.8 / 0.95, on="momentum").values(30)
    assert [0.95 * f for f in ours] == pytest.approx(theirs, abs=1e-12)


def test_a_rule_without_momentum_is_fine_where_torch_refuses() -> None:
    opt = torch.optim.Adagrad([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match="momentum"):
        CyclicLR(opt, 0.1, 1.0)
    assert Cyclic(5).on == "lr"


def test_late_cycles_lose_no_digits() -> None:
    schedule, cycle = Cyclic(7, 9, low=0.25), 16 * 10**9
    assert [schedule.factor(cycle + i, Clock()) for i in range(16)] == schedule.values(16)
