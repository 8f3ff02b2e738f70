from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR

from steepest.core.errors import HyperparameterError
from steepest.schedules import OneCycle


@pytest.mark.parametrize("total", [20, 101, 500])
@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.47])
@pytest.mark.parametrize("shape", ["cos", "linear"])
@pytest.mark.parametrize("phases", [2, 3])
def test_agrees_with_torch(torch_factors: Any, total: int, warmup: float, shape: Any, phases: int) -> None:
    def make(opt: torch.optim.Optimizer) -> OneCycleLR:
        return OneCycleLR(
            opt, 1.0, total, pct_start=warmup, anneal_strategy=shape, three_phase=phases == 3, cycle_momentum=False,
            div_factor=25.0, final_div_factor=1e4,
        )  # fmt: skip

    theirs = torch_factors(make, total - 1)  # torch refuses to step after the last
    assert OneCycle(warmup, shape=shape, phases=phases).values(total)[:-1] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("phases", [2, 3])
@pytest.mark.parametrize("shape", ["cos", "linear"])
def test_the_momentum_goes_the_other_way(torch_factors: Any, phases: int, shape: Any) -> None:
    def make(opt: torch.optim.Optimizer) -> OneCycleLR:
        return OneCycleLR(opt, 1.0, 50, anneal_strategy=shape, three_phase=phases == 3)

    theirs = torch_factors(make, 49, key="momentum", momentum=0.9)
    ours = OneCycle(start=1.0, peak=0.85 / 0.95, end=1.0, shape=shape, phases=phases, on="momentum")
    assert [0.95 * f for f in ours.values(50)][:-1] == pytest.approx(theirs, abs=1e-12)


def test_stays_at_its_end_where_torch_raises(torch_factors: Any) -> None:
    with pytest.raises(ValueError, match="total steps"):
        torch_factors(lambda opt: OneCycleLR(opt, 1.0, 10), 20)
    assert OneCycle(steps=10).values(20)[9:] == [4e-6] * 11


@given(total=st.integers(1, 200), warmup=st.floats(0.01, 0.99), phases=st.sampled_from([2, 3]))
def test_holds_for_any_length(total: int, warmup: float, phases: int) -> None:
    if phases == 3:
        warmup /= 2
    values = OneCycle(warmup, phases=phases).values(total)
    assert all(0 < v <= 1 for v in values)
    assert values[-1] == pytest.approx(4e-6)


@given(total=st.integers(20, 300), k=st.integers(2, 15))
def test_rises_to_the_peak_and_falls(total: int, k: int) -> None:
    values = OneCycle(k).values(total)
    assert values[k - 1] == 1.0
    assert all(a < b for a, b in pairwise(values[:k]))
    assert all(a > b for a, b in pairwise(values[k - 1 :]))


def test_three_phases_need_room() -> None:
    with pytest.raises(HyperparameterError, match=r"at most 0\.5"):
        OneCycle(0.6, phases=3)
    with pytest.raises(HyperparameterError):
        OneCycle(phases=4)
    short, long = OneCycle(8, phases=3, steps=10), OneCycle(8, phases=3, steps=100)
    assert short.values(10) == long.values(100)[:10]  # a run too short for its phases gets as far as it gets


def test_a_rise_of_one_step_is_fine_where_torch_divides_by_zero() -> None:
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ZeroDivisionError):
        OneCycleLR(opt, 1.0, 10, pct_start=0.1, cycle_momentum=False)
    values = OneCycle(0.1).values(10)
    assert values[-1] == 4e-6
    assert all(0 < v <= 1 for v in values)
