from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR

from steepest.schedules import Clock, Cosine


@pytest.mark.parametrize("steps", [1, 2, 10, 97, 1000])
@pytest.mark.parametrize("end", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("lr", [1.0, 3e-4])
def test_agrees_with_torch_up_to_its_end(torch_factors: Any, steps: int, end: float, lr: float) -> None:
    theirs = torch_factors(lambda opt: CosineAnnealingLR(opt, steps, eta_min=end * lr), steps + 1, lr=lr)
    assert [lr * f for f in Cosine(steps, end).values(steps + 1)] == pytest.approx(theirs, abs=1e-12)


def test_stays_at_its_minimum_where_torch_climbs_back(torch_factors: Any) -> None:
    theirs = torch_factors(lambda opt: CosineAnnealingLR(opt, 4), 9)
    assert theirs[-1] == pytest.approx(1.0)
    assert Cosine(4).values(9)[4:] == [0.0] * 5


@given(steps=st.integers(1, 300), end=st.floats(0, 1))
def test_falls_all_the_way(steps: int, end: float) -> None:
    values = Cosine(steps, end).values(steps + 10)
    assert all(a >= b for a, b in pairwise(values))
    assert values[0] == 1.0
    assert values[-1] == end


@given(steps=st.integers(2, 300), end=st.floats(0, 0.9))
def test_no_step_is_wasted(steps: int, end: float) -> None:
    assert Cosine(steps, end).factor(steps - 1, Clock()) > end


def test_a_weight_decay_may_grow() -> None:
    assert Cosine(10, end=10.0, on="weight_decay").values(11)[::5] == pytest.approx([1.0, 5.5, 10.0])
