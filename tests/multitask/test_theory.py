"""What the methods promise, on problems where the answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs
from torch import Tensor

import steepest.multitask as M
from steepest.multitask import Method
from steepest.multitask.solvers import NotConverged, cosines, dual_cone, min_norm, nonnegative, onto_simplex
from steepest.multitask.solvers.ball import best_worst
from steepest.testing.toys import STARTS, toy

LR, STEPS = 0.01, 3000
"""The paper walks 100 000 steps of 0.001."""


def walk(method: Method, steps: int = STEPS, scale: float = 1.0, lr: float = LR) -> list[bool]:
    """Adam on the toy from all three starts at once, along the directions of a method; who reaches the Pareto set."""
    x = torch.tensor(STARTS, dtype=torch.float64, requires_grad=True)
    adam, s = torch.optim.Adam([x], lr=lr), method.start(2)
    for t in range(1, steps + 1):
        f = toy(x, scale)
        rows = torch.stack([torch.autograd.grad(f[:, i].sum(), x, retain_graph=True)[0] for i in (0, 1)], 1)
        seen = M.Seen(losses=f.detach(), gramian=rows @ rows.mT, t=t, draw=torch.Generator().manual_seed(t))
        w, s = method.weigh(seen, s)
        x.grad = (w[..., None] * rows).sum(1)
        adam.step()
    # the valley at the bottom, between the two minima
    return [abs(b + 8.36) < 0.6 and abs(a) <= 7.2 for a, b in x.tolist()]


@pytest.mark.slow
def test_the_mean_is_stuck_where_surgery_gets_through() -> None:
    """Figure 1 of CAGrad: the mean fails from two of three starts."""
    assert walk(M.Mean()) == [False, True, False]
    assert walk(M.PCGrad(), 5000) == [True, True, True]


# -- solvers, by the conditions of optimality


def gradients(draw: Any) -> Tensor:
    """Rows of any rank, some of them doubled, turned round, or zero, over some powers of ten."""
    m, n = draw(hs.integers(1, 8)), draw(hs.integers(1, 12))
    g = torch.Generator().manual_seed(draw(hs.integers(0, 10**6)))
    J = torch.randn(m, n, generator=g, dtype=torch.float64)
    kind = draw(hs.sampled_from(["plain", "double", "opposite", "zero", "low rank"]))
    if kind == "double":
        J[-1] = J[0]
    elif kind == "opposite":
        J[-1] = -2 * J[0]
    elif kind == "zero":
        J[-1] = 0
    elif kind == "low rank":
        J = J[:, :1] @ J[:1] + 0.0
    return J * 10 ** (draw(hs.floats(0, 4)) * torch.rand(m, 1, generator=g, dtype=torch.float64) - 2)


matrices = hs.composite(gradients)()
usual = settings(max_examples=30, deadline=None, derandomize=True)


@usual
@given(matrices)
def test_min_norm_is_the_minimum(J: Tensor) -> None:
    w = min_norm(J @ J.T)
    d = w @ J
    assert float(w.min()) >= 0
    assert float(w.sum()) == pytest.approx(1)
    size = float(J.norm(dim=1).max())
    assert float((J @ d).min()) >= float(d @ d) - 1e-9 * size**2


@usual
@given(matrices)
def test_a_projection_onto_the_dual_cone(J: Tensor) -> None:
    """Feasible, and the residual is a nonnegative sum of gradients at right angles to the result (Moreau)."""
    u = torch.full((len(J),), 1 / len(J), dtype=torch.float64)
    v = dual_cone(J @ J.T, u)
    d, g = v @ J, u @ J
    n = J.norm(dim=1)
    assert float((v - u).min()) >= 0
    assert float((J @ d + 1e-6 * n * (float(g.norm()) + 1e-300)).min()) >= 0
    assert abs(float(d @ (d - g))) <= 1e-6 * (float(g @ g) + 1e-300)


@usual
@given(matrices, hs.sampled_from([0.2, 0.5, 0.9, 1.3]))
def test_the_best_worst_direction_of_a_ball(J: Tensor, c: float) -> None:
    """Inside the ball; and no point of the ball on the way to a random one gains more."""
    p = torch.full((len(J),), 1 / len(J), dtype=torch.float64)
    d = best_worst(J @ J.T, p, c) @ J
    g = p @ J
    if not d.any():
        return  # the mean is zero to rounding
    size = float(g.norm())
    assert float((d - g).norm()) <= c * size * (1 + 1e-6)
    draw = torch.Generator().manual_seed(0)
    other = torch.randn(200, J.shape[1], generator=draw, dtype=torch.float64)
    other = g + c * size * other / other.norm(dim=1, keepdim=True)
    near = 0.99 * d + 0.01 * other
    worst = (J @ d).min()
    slack = 1e-6 * size * float(J.norm(dim=1).max())
    assert float((other @ J.T).amin(1).max()) <= float(worst) + slack
    assert float((near @ J.T).amin(1).max()) <= float(worst) + slack


@usual
@given(hs.lists(hs.floats(-5, 5), min_size=1, max_size=9))
def test_the_nearest_point_of_the_simplex(y: list[float]) -> None:
    x = onto_simplex(torch.tensor(y, dtype=torch.float64))
    assert float(x.sum()) == pytest.approx(1)
    assert float(x.min()) >= 0
    shift = torch.tensor(y, dtype=torch.float64) - x  # constant where x > 0, not larger elsewhere
    assert float(shift[x > 0].max() - shift[x > 0].min()) < 1e-9
    assert float(shift.max() - shift[x > 0].max()) < 1e-9


def test_a_batch_is_its_members() -> None:
    """The solvers take batches: the same numbers as one after the other."""
    draw = torch.Generator().manual_seed(0)
    J = torch.randn(7, 5, 9, generator=draw, dtype=torch.float64)
    G = J @ J.mT
    for method in (
        M.MGDA(),
        M.UPGrad(),
        M.DualProj(),
        M.CAGrad(),
        M.NashMTL(),
        M.FairGrad(),
        M.AlignedMTL(),
        M.ConFIG(),
    ):
        s = method.start(5)
        together = method.weigh(M.Seen(gramian=G, losses=torch.ones(7, 5).double()), s)[0]
        one = [method.weigh(M.Seen(gramian=g, losses=torch.ones(5).double()), s)[0] for g in G]
        assert torch.allclose(together, torch.stack(one), rtol=1e-6, atol=1e-9), type(method).__name__


def test_a_solver_that_does_not_arrive_says_so() -> None:
    """Unbounded below: no weights are made up."""
    H = torch.tensor([[1.0, -2.0], [-2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(NotConverged, match="left with a slope"):
        nonnegative(H, torch.ones(2, dtype=torch.float64))


def test_cosines_do_not_overflow() -> None:
    n, C = cosines(torch.diag(torch.tensor([1e-200, 1e200], dtype=torch.float64)))
    assert n.tolist() == pytest.approx([1e-100, 1e100])
    assert torch.equal(C, torch.eye(2, dtype=torch.float64))


# -- descent


@usual
@given(matrices)
def test_a_common_descent_direction_lowers_all_losses(J: Tensor) -> None:
    """Linear losses: after a step along -d no loss is higher than before."""
    for method in (M.MGDA(), M.UPGrad(), M.DualProj(), M.CAGrad(1.0), M.NashMTL()):
        d = method(J)
        change = -(J @ d) / (J.norm(dim=1) + 1e-300) / (float(d.norm()) + 1e-6 * float(J.norm()) + 1e-300)
        assert float(change.max()) <= 1e-5, type(method).__name__


@pytest.mark.parametrize("c", [1.0, 1.5])
def test_cagrad_hurts_nobody_from_one_on(c: float) -> None:
    for seed in range(10):
        J = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert float((J @ M.CAGrad(c)(J)).min()) >= -1e-7


def test_identities() -> None:
    J = torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ones = torch.ones(4).double()
    assert torch.allclose(M.CAGrad(0.0)(J), M.Mean()(J, ones))
    assert torch.allclose(M.FairGrad(0.0)(J), J.mean(0))
    nash = M.NashMTL(max_norm=1e9)(J)
    assert torch.allclose(M.FairGrad(1.0)(J), nash, rtol=1e-6)
    assert float(nash.norm()) == pytest.approx(2.0)  # the square root of the number of tasks
    assert torch.allclose(M.CRMOGM(M.UPGrad(), 0.0)(J), M.UPGrad()(J))
    gains = J @ M.IMTLG()(J) / J.norm(dim=1)
    assert torch.allclose(gains, gains.mean().expand(4))
    angles = J @ M.ConFIG()(J) / J.norm(dim=1)
    assert torch.allclose(angles, angles.mean().expand(4))
    orthogonal = torch.eye(4, dtype=torch.float64)
    for method in (M.MGDA(), M.UPGrad(), M.DualProj(), M.AlignedMTL()):
        assert torch.allclose(method(orthogonal), orthogonal.mean(0)), type(method).__name__
