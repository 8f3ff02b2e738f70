from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.core.errors import HyperparameterError
from steepest.schedules import Clock, Exponential, Linear, Warmup, WarmupStableDecay

SHAPES = {
    "linear": lambda q: 1 - q,
    "1-sqrt": lambda q: 1 - math.sqrt(q),
    "cosine": lambda q: 0.5 * (1 + math.cos(math.pi * q)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_three_parts(shape: Any, end: float) -> None:
    values = WarmupStableDecay(10, 40, shape, end).values(100)
    assert values[:10] == Warmup(10).values(10)
    assert values[10:61] == [1.0] * 51
    expected = [end + (1 - end) * SHAPES[shape](i / 40) for i in range(40)]
    assert values[60:] == pytest.approx(expected, abs=1e-12)


def test_exp_is_geometric() -> None:
    values = WarmupStableDecay(0, 50, "exp", end=0.01).values(100)
    assert values[50:] == pytest.approx(Exponential(0.01, every=50).values(50), rel=1e-12)
    with pytest.raises(HyperparameterError, match="never reaches 0"):
        WarmupStableDecay(shape="exp")


def test_the_first_step_is_not_wasted_and_no_decay_divides_by_nothing() -> None:
    values = WarmupStableDecay(10, 0).values(100)
    assert values == Warmup(10).values(100)
    assert values[0] == 0.1


@given(total=st.integers(100, 200), longer=st.integers(200, 1000))
def test_a_longer_run_is_the_same_up_to_the_fall(total: int, longer: int) -> None:
    schedule = WarmupStableDecay(10, 30)
    assert schedule.values(longer)[: total - 30] == schedule.values(total)[: total - 30]


@given(w=st.integers(0, 50), d=st.integers(0, 50), total=st.integers(1, 120), shape=st.sampled_from([*SHAPES, "exp"]))
def test_always_between_nothing_and_one(w: int, d: int, total: int, shape: Any) -> None:
    values = WarmupStableDecay(w, d, shape, end=0.05).values(total)
    assert all(0 < v <= 1 for v in values)
    if shape in ("linear", "cosine") and w + d <= total:
        bound = max(1 / max(w, 1), 1.6 / max(d, 1))
        assert all(abs(a - b) <= bound + 1e-12 for a, b in pairwise(values))


def test_ends_at_its_end() -> None:
    assert WarmupStableDecay(5, 10, end=0.2, steps=50).factor(50, Clock()) == 0.2
    assert WarmupStableDecay(0, 1.0 - 1e-9).values(50) == pytest.approx(Linear().values(50), abs=1e-12)
