"""Clipping by value: against torch, and its theorems."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from steepest.core.errors import HyperparameterError
from steepest.gradients import ClipValue, clip_value

ENTRIES = st.lists(st.floats(allow_nan=False), min_size=1, max_size=8)


def clipped(bound: float, g: torch.Tensor) -> torch.Tensor:
    rule = ClipValue(bound)
    u: torch.Tensor = rule.update(g, rule.init(g), None, rule.scalars(1))[0]
    return u


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bound", [0.0, 0.1, 2.0, math.inf])
def test_equals_torch(bound: float, dtype: torch.dtype) -> None:
    g = torch.cat([torch.randn(50), torch.tensor([math.nan, math.inf, -math.inf, 0.0])]).to(dtype)
    p = torch.zeros_like(g).requires_grad_()
    p.grad = g.clone()
    torch.nn.utils.clip_grad_value_([p], bound)
    torch.testing.assert_close(clipped(bound, g), p.grad, rtol=0, atol=0, equal_nan=True)


@given(ENTRIES, st.floats(0, 1e300))
def test_bounded_idempotent_and_unchanged_inside(entries: list[float], bound: float) -> None:
    g = torch.tensor(entries, dtype=torch.float64)
    once = clipped(bound, g)
    assert (once.abs() <= bound).all()
    assert torch.equal(clipped(bound, once), once)
    inside = g.abs() <= bound
    assert torch.equal(once[inside], g[inside])


@pytest.mark.parametrize("bad", [-0.1, math.nan, None])
def test_a_bound_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(HyperparameterError, match="max_value"):
        clip_value(bad)  # type: ignore[arg-type]
