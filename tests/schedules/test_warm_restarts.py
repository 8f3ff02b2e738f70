from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from steepest.core.errors import HyperparameterError
from steepest.schedules import Clock, WarmRestarts


@pytest.mark.parametrize("first", [1, 5, 12])
@pytest.mark.parametrize("mult", [1, 2, 3])
@pytest.mark.parametrize("end", [0.0, 0.2])
def test_agrees_with_torch(torch_factors: Any, first: int, mult: int, end: float) -> None:
    theirs = torch_factors(lambda opt: CosineAnnealingWarmRestarts(opt, first, mult, eta_min=end), 120)
    assert WarmRestarts(first, mult, end).values(120) == pytest.approx(theirs, abs=1e-12)


def test_a_jump_to_a_late_step_finds_its_wave_where_torch_misses_it() -> None:
    """torch finds the wave as ``int(math.log(1000, 10))``, which is 2: the restart at epoch 111 is missed."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = CosineAnnealingWarmRestarts(opt, T_0=1, T_mult=10)
    opt.step()
    scheduler.step(111)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.0)
    assert WarmRestarts(1, mult=10).factor(111, Clock()) == 1.0


@given(first=st.integers(1, 50), mult=st.integers(1, 10), i=st.integers(0, 8))
def test_every_wave_starts_at_the_top(first: int, mult: int, i: int) -> None:
    start = sum(first * mult**j for j in range(i))
    assert WarmRestarts(first, mult).factor(start, Clock()) == 1.0


def test_tops_decay_but_never_below_the_end() -> None:
    values = WarmRestarts(4, end=0.3, decay=0.5).values(16)
    assert values[::4] == [1.0, 0.5, 0.3, 0.3]
    assert min(values) >= 0.3 - 1e-12


@given(t=st.integers(0, 1000), decay=st.floats(0.1, 1.0), end=st.floats(0, 2.0))
def test_stays_between_its_end_and_its_top(t: int, decay: float, end: float) -> None:
    value = WarmRestarts(7, 2, end, decay).factor(t, Clock())
    assert min(1.0, end) - 1e-12 <= value <= max(1.0, end) + 1e-12


def test_waves_grow_by_whole_numbers() -> None:
    with pytest.raises(HyperparameterError, match="whole number"):
        WarmRestarts(5, mult=1.5)  # type: ignore[arg-type]
