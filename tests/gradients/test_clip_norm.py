"""Clipping by the global norm: against torch, and its theorems."""

from __future__ import annotations

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from steepest.core.errors import HyperparameterError
from steepest.gradients import ClipNorm, clip_norm
from steepest.gradients.clip_norm import EPS, clip_factor

GRADIENTS = st.lists(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=5), min_size=1, max_size=4
).map(lambda rows: [torch.tensor(row, dtype=torch.float64) for row in rows])
BOUNDS = st.floats(1e-6, 1e6)


def clipped(rule: ClipNorm, gradients: Sequence[Tensor]) -> tuple[list[Tensor], dict[str, float]]:
    """One step of the two phases, eagerly: measure every tensor in float64, combine once, update each."""
    s = rule.init(gradients[0])
    square = sum(float(rule.measure(g.double(), s, None, rule.scalars(1))[0].sum()) for g in gradients)
    k, _ = rule.combine(1, rule.start(), [square])
    return [rule.update(g, s, None, k)[0] for g in gradients], rule.metrics(k, [square])


def norm(gradients: Sequence[Tensor]) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for g in gradients for x in g.double().flatten()))


def torch_clips(gradients: Sequence[Tensor], bound: float) -> tuple[list[Tensor], float]:
    ps = [torch.zeros_like(g).requires_grad_() for g in gradients]
    for p, g in zip(ps, gradients, strict=True):
        p.grad = g.clone()
    total = torch.nn.utils.clip_grad_norm_(ps, bound)
    return [p.grad for p in ps if p.grad is not None], float(total)


@pytest.mark.parametrize("bound", [0.0, 1e-3, 1.0, 5.0, 1e9, math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_torch(bound: float, dtype: torch.dtype) -> None:
    gradients = [torch.randn(3, 4, dtype=dtype), torch.randn(5, dtype=dtype) * 10, torch.randn((), dtype=dtype)]
    ours, metrics = clipped(ClipNorm(bound), gradients)
    theirs, total = torch_clips(gradients, bound)
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=0)
    assert metrics["grad_norm"] == pytest.approx(total, rel=tolerance)


@given(GRADIENTS, BOUNDS)
def test_the_clipped_norm_is_at_most_the_bound(gradients: list[Tensor], bound: float) -> None:
    assert norm(clipped(ClipNorm(bound), gradients)[0]) <= bound * (1 + 1e-12)


@given(GRADIENTS, BOUNDS)
def test_below_the_bound_nothing_changes(gradients: list[Tensor], bound: float) -> None:
    ours, metrics = clipped(ClipNorm(bound), gradients)
    below = norm(gradients) + EPS <= bound * (1 - 1e-12)
    if below:
        assert metrics["clip_factor"] == 1.0
        assert all(torch.equal(a, b) for a, b in zip(ours, gradients, strict=True))
    elif norm(gradients) > bound:
        assert metrics["clip_factor"] < 1.0


@given(GRADIENTS, BOUNDS)
def test_the_direction_stays(gradients: list[Tensor], bound: float) -> None:
    ours, metrics = clipped(ClipNorm(bound), gradients)
    for before, after in zip(gradients, ours, strict=True):
        torch.testing.assert_close(after, before * metrics["clip_factor"], rtol=1e-15, atol=0)
    assert 0 < metrics["clip_factor"] <= 1


@given(GRADIENTS, BOUNDS)
def test_clipping_twice_is_clipping_once(gradients: list[Tensor], bound: float) -> None:
    once, _ = clipped(ClipNorm(bound), gradients)
    twice, _ = clipped(ClipNorm(bound), once)
    # The second factor is 1 unless the clipped norm is within EPS of the bound.
    torch.testing.assert_close(twice, once, rtol=2 * EPS / bound + 1e-15, atol=0)


@given(GRADIENTS, st.floats(1.0, 1e6), st.floats(1.5, 1e3))
def test_a_clipped_step_ignores_the_scale_of_the_gradient(gradients: list[Tensor], bound: float, c: float) -> None:
    big = [g / (norm(gradients) or 1.0) * 2 * bound for g in gradients]
    if norm(big) == 0:
        return
    ours, _ = clipped(ClipNorm(bound), big)
    scaled, _ = clipped(ClipNorm(bound), [c * g for g in big])
    torch.testing.assert_close(scaled, ours, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow_to_a_silent_zero(dtype: torch.dtype) -> None:
    gradients = [torch.full((1000,), 3e4, dtype=dtype)]
    assert not math.isfinite(float((gradients[0].to(torch.float16) ** 2).sum()))  # the naive norm overflows
    ours, metrics = clipped(ClipNorm(1.0), gradients)
    assert metrics["grad_norm"] == pytest.approx(float(gradients[0][0]) * math.sqrt(1000), rel=1e-9)
    assert norm(ours) == pytest.approx(1.0, rel=2e-2)
    assert ours[0].dtype == dtype
    if dtype == torch.float16:
        theirs, total = torch_clips(gradients, 1.0)
        assert total == math.inf  # what torch does: every gradient becomes 0, and no one is told
        assert not theirs[0].any()


def test_not_a_number_anywhere_is_not_a_number_everywhere_as_in_torch() -> None:
    gradients = [torch.tensor([1.0, math.nan]), torch.tensor([2.0])]
    ours, metrics = clipped(ClipNorm(1.0), gradients)
    theirs, _ = torch_clips(gradients, 1.0)
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    assert math.isnan(metrics["grad_norm"])
    assert math.isnan(metrics["clip_factor"])


def test_an_infinite_entry_as_in_torch() -> None:
    gradients = [torch.tensor([1.0, math.inf]), torch.tensor([2.0])]
    ours, metrics = clipped(ClipNorm(1.0), gradients)
    torch.testing.assert_close(ours, torch_clips(gradients, 1.0)[0], equal_nan=True)
    assert metrics["grad_norm"] == math.inf
    assert metrics["clip_factor"] == 0.0


def test_tensors_and_floats_give_one_factor() -> None:
    """The bound of every member of a fleet at once."""
    squares, bounds = torch.tensor([4.0, 4.0, math.nan], dtype=torch.float64), torch.tensor([1.0, 9.0, 1.0]).double()
    expected = [clip_factor(float(s), float(b)) for s, b in zip(squares, bounds, strict=True)]
    torch.testing.assert_close(
        clip_factor(squares, bounds), torch.tensor(expected, dtype=torch.float64), equal_nan=True, rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("bad", [-1.0, math.nan, "1", True])
def test_a_bound_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(HyperparameterError, match="max_norm"):
        clip_norm(bad)  # type: ignore[arg-type]
