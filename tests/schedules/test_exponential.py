from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ExponentialLR

from steepest.schedules import Clock, ExpDecay, Exponential


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.999, 1.0, 1.1])
def test_agrees_with_torch(torch_factors: Any, gamma: float) -> None:
    theirs = torch_factors(lambda opt: ExponentialLR(opt, gamma), 80)
    assert Exponential(gamma).values(80) == pytest.approx(theirs, rel=1e-12)


@given(gamma=st.floats(1e-4, 1.0), every=st.integers(1, 1000), t=st.integers(0, 5000))
def test_the_two_forms_are_one(gamma: float, every: int, t: int) -> None:
    rate, factor = ExpDecay(gamma, every), Exponential(math.exp(-gamma), every)
    assert rate.factor(t, Clock()) == pytest.approx(factor.factor(t, Clock()), rel=1e-9)
    assert rate.factor(t, Clock()) == math.exp(-gamma * t / every)


def test_the_closed_form_does_not_drift(torch_factors: Any) -> None:
    t, gamma = 100_000, 0.9999
    assert Exponential(gamma).factor(t, Clock()) == gamma**t
