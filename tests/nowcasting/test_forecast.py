"""Forecasts: exact where theory says so, combinations of snapshots, blind to rotations and scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steepest.nowcasting import FORECASTS, dmd, line


def ahead(xs: torch.Tensor, name: str, horizon: int, **kwargs: int) -> torch.Tensor:
    """What a forecast makes of snapshots in rows."""
    v = xs.diff(dim=0)
    b = FORECASTS[name](v @ v.T, horizon, **kwargs)
    assert b is not None
    return xs[-1] + b @ v


@given(seed=st.integers(0, 10**6), snapshots=st.integers(3, 8), horizon=st.integers(1, 9))
def test_a_straight_way_goes_straight_on(seed: int, snapshots: int, horizon: int) -> None:
    make = torch.Generator().manual_seed(seed)
    start, slope = torch.randn(2, 12, generator=make, dtype=torch.float64)
    xs = start + torch.arange(snapshots)[:, None] * slope
    for name in FORECASTS:
        expected = start + (snapshots - 1 + horizon) * slope
        torch.testing.assert_close(ahead(xs, name, horizon), expected, rtol=1e-6, atol=1e-6)


@given(seed=st.integers(0, 10**6), snapshots=st.integers(3, 8))
def test_the_line_is_that_of_least_squares(seed: int, snapshots: int) -> None:
    xs = torch.randn(snapshots, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slope = np.polyfit(np.arange(snapshots), xs.numpy(), 1)[0]
    np.testing.assert_allclose((ahead(xs, "line", 3) - xs[-1]).numpy(), 3 * slope, atol=1e-10)


@pytest.mark.parametrize(("rank", "snapshots"), [(1, 3), (1, 5), (2, 4), (2, 5), (3, 6)])
@pytest.mark.parametrize("horizon", [1, 4, 20])
def test_dmd_is_exact_on_linear_dynamics_of_its_rank(rank: int, snapshots: int, horizon: int) -> None:
    """x <- A x + b, with modes that decay and turn: gradient descent with momentum on a quadratic is of this kind."""
    make = torch.Generator().manual_seed(rank)
    basis = torch.linalg.qr(torch.randn(9, rank, generator=make, dtype=torch.float64))[0]
    law = 0.9 * torch.linalg.qr(torch.randn(rank, rank, generator=make, dtype=torch.float64))[0]
    law = law @ torch.diag(torch.linspace(0.6, 1, rank, dtype=torch.float64))
    fixed = torch.randn(9, generator=make, dtype=torch.float64)
    state = torch.randn(rank, generator=make, dtype=torch.float64)
    ways = []
    for _ in range(snapshots + horizon):
        ways.append(fixed + basis @ state)
        state = law @ state
    found = ahead(torch.stack(ways[:snapshots]), "dmd", horizon, rank=rank)
    torch.testing.assert_close(found, ways[-1], rtol=1e-8, atol=1e-8)


def test_modes_that_grow_are_held() -> None:
    xs = torch.stack([torch.full((3,), 2.0**t, dtype=torch.float64) for t in range(5)])
    step = xs[-1] - xs[-2]
    torch.testing.assert_close(ahead(xs, "dmd", 10, rank=1), xs[-1] + 10 * step)


def test_nothing_to_decompose_is_no_forecast() -> None:
    zeros = torch.zeros(4, 4, dtype=torch.float64)
    assert dmd(zeros, 3) is None and dmd(zeros + math.nan, 3) is None and dmd(zeros[:1, :1], 3) is None
    assert line(zeros, 3).isfinite().all()


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6))
def test_forecasts_turn_and_scale_with_the_weights(seed: int, scale: float) -> None:
    """Permutations of units among them: they are rotations."""
    make = torch.Generator().manual_seed(seed)
    xs = torch.randn(5, 6, generator=make, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=make, dtype=torch.float64))[0]
    for name in FORECASTS:
        a, b = ahead(xs, name, 2) @ turn * scale, ahead(xs @ turn * scale, name, 2)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * scale)
