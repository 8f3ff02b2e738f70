"""Scion against pytorch_optimizer, and what the balls promise: the furthest point, and never to be left."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import steepest
from steepest.core.chain import chain
from steepest.rules import EmaMomentum, LearningRate, NormBall, Sign, muon, scion
from steepest.testing import Descent

torch.set_num_threads(1)

STEPS = 20
Norm = Literal["spectral", "sign", "embedding"]


def draw(shape: tuple[int, ...], n: int = STEPS, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """pytorch_optimizer with its iteration in float64."""
    package = pytest.importorskip("pytorch_optimizer")
    module = pytest.importorskip("pytorch_optimizer.optimizer.scion")
    original = module.zero_power_via_newton_schulz_5
    exact = lambda g, steps: original(g, steps, dtype=torch.float64)  # noqa: E731
    monkeypatch.setattr(module, "zero_power_via_newton_schulz_5", exact)
    return package


CASES: list[tuple[Norm, int, dict[str, Any], list[tuple[int, ...]]]] = [
    ("spectral", 1, {}, [(4, 6), (6, 4), (5, 1), (4, 3, 2, 2), (3, 2, 4), (7,)]),
    ("sign", 4, {}, [(4, 6), (6, 4), (5, 1)]),
    ("embedding", 6, {"transpose": True}, [(4, 6), (6, 4), (1, 5)]),
]


@pytest.mark.parametrize("weight_decay", [0.0, 1.0], ids=["free", "constrained"])
@pytest.mark.parametrize(("norm", "number", "options", "shapes"), CASES, ids=[case[0] for case in CASES])
def test_equals_pytorch_optimizer(
    norm: Norm, number: int, options: dict[str, Any], shapes: list[tuple[int, ...]], weight_decay: float, peer: Any
) -> None:
    """To the share of eps in a norm, which the two place differently."""
    for shape in shapes:
        start = draw(shape, 1, seed=1)[0]
        ours = Descent(scion(0.05, 0.8, 3.0, weight_decay, norm).build(), start)
        p = nn.Parameter(start.clone())
        setting = {"momentum": 0.2, "norm_type": number, "norm_kwargs": options, "scale": 3.0, "foreach": False}
        opt = peer.SCION([p], lr=0.05, constraint=weight_decay == 1, **setting)
        for g in draw(shape):
            p.grad = g.clone()
            opt.step()
            torch.testing.assert_close(ours.step(g), p.detach(), rtol=2e-6, atol=2e-6)


def dual(g: Tensor, norm: Norm) -> Tensor:
    """The largest product with a point of the unit ball, from the norm's definition."""
    if g.ndim < 2:
        return g.norm() * math.sqrt(g.numel())
    rows, columns = g.shape
    if norm == "spectral":
        return torch.linalg.svdvals(g).sum() * math.sqrt(rows / columns)
    if norm == "sign":
        return g.abs().sum() / columns
    return g.norm(dim=1).sum() * math.sqrt(columns)


def size(x: Tensor, norm: Norm) -> Tensor:
    """The norm whose unit ball it is."""
    if x.ndim < 2:
        return x.square().mean().sqrt()
    rows, columns = x.shape
    if norm == "spectral":
        return torch.linalg.svdvals(x).max() * math.sqrt(columns / rows)
    if norm == "sign":
        return x.abs().max() * columns
    return x.square().mean(1).sqrt().max()


shapes = st.one_of(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 6)))
norms = st.sampled_from(["spectral", "sign", "embedding"])


@settings(deadline=None, max_examples=60)
@given(shape=shapes, seed=st.integers(0, 2**31), norm=norms, radius=st.floats(0.1, 100))
def test_no_point_of_the_ball_is_further_along_the_gradient(
    shape: tuple[int, ...], seed: int, norm: Any, radius: float
) -> None:
    g = draw(shape, 1, seed)[0]
    rule = NormBall(radius, ns_steps=40, eps=0.0, norm=norm, iteration="polar_express")
    u, _ = rule.update(g, rule.init(g), g, rule.scalars(1))
    torch.testing.assert_close((g * u).sum(), radius * dual(g, norm), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(size(u, norm), torch.tensor(radius, dtype=torch.float64), rtol=1e-6, atol=0.0)


@settings(deadline=None, max_examples=30)
@given(shape=shapes, seed=st.integers(0, 2**31), norm=norms, lr=st.floats(0.01, 1.0))
def test_constrained_weights_never_leave_the_ball(shape: tuple[int, ...], seed: int, norm: Any, lr: float) -> None:
    start = draw(shape, 1, seed)[0]
    start = start / size(start, norm)
    descent = Descent(scion(lr, 0.5, 1.0, 1.0, norm, ns_steps=40, iteration="polar_express").build(), start)
    for g in draw(shape, seed=seed + 1):
        assert float(size(descent.step(g), norm)) <= 1 + 1e-9


def test_on_square_matrices_free_of_decay_it_is_muon_without_look_ahead() -> None:
    start = draw((5, 5), 1, seed=1)[0]
    ours = Descent(scion(0.1, 0.9, 1.0, 0.0).build(), start)
    other = Descent(muon(0.1, 0.0, 0.9, nesterov=False).build(), start)
    for g in draw((5, 5)):
        assert torch.equal(ours.step(g), other.step(g))


def test_on_a_column_the_sign_ball_is_signum() -> None:
    start = draw((5, 1), 1, seed=1)[0]
    ours = Descent(scion(0.1, 0.9, 1.0, 0.0, "sign").build(), start)
    other = Descent(chain(EmaMomentum(0.9), Sign(), LearningRate(0.1)), start)
    for g in draw((5, 1)):
        assert torch.equal(ours.step(g), other.step(g))


@pytest.mark.parametrize("norm", ["spectral", "sign", "embedding"])
def test_the_scale_of_gradients_does_not_matter(norm: Any) -> None:
    start = draw((3, 4), 1, seed=1)[0]
    one, other = (Descent(chain(EmaMomentum(0.9), NormBall(eps=0.0, norm=norm)), start) for _ in range(2))
    for g in draw((3, 4)):
        torch.testing.assert_close(one.step(g), other.step(1e6 * g), rtol=1e-9, atol=1e-9)


def test_the_strategy_of_its_docstring_sends_each_layer_to_its_ball() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 7))
    sign = "scion(radius=3000, norm='sign')"
    opt = steepest.parse(f"partition(head={sign}, embedding={sign}, rest=scion())").optimizer(model)
    seen = {}
    for group in opt.param_groups:
        ball = next(link for link in opt.chain(group) if isinstance(link, NormBall))
        seen.update(dict.fromkeys(group["param_names"], (ball.norm, ball.radius, group["weight_decay"])))
    assert seen["0.weight"] == seen["3.weight"] == ("sign", 3000, 1.0)
    assert seen["1.weight"] == ("spectral", 50, 1.0)
    assert seen["1.bias"] == seen["2.weight"] == ("spectral", 50, 0.0)  # vectors are spared of the shrinking
