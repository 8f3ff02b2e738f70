"""Clipping each parameter on its own: against torch one parameter at a time, and its theorems."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from steepest.gradients import ClipNorm, ClipParamNorm


def clipped(bound: float, g: Tensor) -> Tensor:
    rule = ClipParamNorm(bound)
    s = rule.init(g)
    k, _ = rule.combine(1, rule.start(), [float(rule.measure(g.double(), s, None, rule.scalars(1))[0].sum())])
    u: Tensor = rule.update(g, s, None, k)[0]
    return u


def test_its_sums_run_over_one_tensor() -> None:
    assert ClipParamNorm.reach == "tensor"
    assert ClipNorm.reach == "model"


@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 5)])
def test_equals_torch_one_parameter_at_a_time(bound: float, shape: tuple[int, ...]) -> None:
    p = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    p.grad = g.clone()
    torch.nn.utils.clip_grad_norm_([p], bound)
    torch.testing.assert_close(clipped(bound, g), p.grad, rtol=1e-14, atol=0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_bounded_and_parallel(entries: list[float], bound: float) -> None:
    g = torch.tensor(entries, dtype=torch.float64)
    u = clipped(bound, g)
    assert float(u.norm()) <= bound * (1 + 1e-12)
    assert float(u @ g) == pytest.approx(float(u.norm() * g.norm()), rel=1e-9, abs=1e-300)
