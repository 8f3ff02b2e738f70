from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import MultiStepLR

from steepest.core.errors import HyperparameterError
from steepest.schedules import Clock, Multistep


@pytest.mark.parametrize("at", [(5,), (1, 2, 3), (10, 30, 50), (200,)])
@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_agrees_with_torch(torch_factors: Any, at: tuple[int, ...], gamma: float) -> None:
    theirs = torch_factors(lambda opt: MultiStepLR(opt, list(at), gamma), 60)
    assert Multistep(at, gamma).values(60) == pytest.approx(theirs, rel=1e-12)


def test_a_resumed_run_may_have_other_milestones() -> None:
    """torch multiplies the learning rate it finds, so milestones that were passed before resuming are lost on it."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = MultiStepLR(opt, [4], 0.5)
    for _ in range(6):
        opt.step()
        scheduler.step()
    saved = scheduler.state_dict()
    again = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    again.load_state_dict(opt.state_dict())
    resumed = MultiStepLR(again, [2, 3], 0.5)  # the run should have dropped twice by now
    milestones = resumed.milestones
    resumed.load_state_dict(saved)
    resumed.milestones = milestones
    again.step()
    resumed.step()
    assert again.param_groups[0]["lr"] == 0.5
    assert Multistep((2, 3), 0.5).factor(7, Clock()) == 0.25


def test_one_moment_needs_no_tuple() -> None:
    assert Multistep(3, gamma=0.5) == Multistep([3], gamma=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [(5, 3), (5, 5), (0.5, 0.2)])
def test_moments_increase(bad: tuple[float, ...]) -> None:
    with pytest.raises(HyperparameterError, match="must increase"):
        Multistep(bad)


def test_steps_fractions_and_epochs_mix() -> None:
    schedule = Multistep((10, 0.5, "8 epochs"), gamma=0.5)
    values = schedule.values(100, epoch=10)
    assert [t for t in range(1, 100) if values[t] != values[t - 1]] == [10, 50, 80]
