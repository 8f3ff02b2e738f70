"""APOLLO against its authors' algorithm, with the projections of ours; and what holds whatever is projected.

pytorch_optimizer's class of this name is another rule: it projects the scaled gradient back from the low rank.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from steepest import optim
from steepest.core.chain import chain
from steepest.core.noise import normal
from steepest.rules import Adam, Apollo, apollo, apollo_mini
from steepest.testing import Descent

torch.set_num_threads(1)

STEPS = 30
SHAPES = [(4, 7), (7, 4), (5, 5), (6, 2, 3), (1, 6), (6, 1)]


def draw(shape: tuple[int, ...], seed: int = 0, n: int = STEPS) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(n + 1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers[0], numbers[1:] * torch.linspace(1, 9, n, dtype=torch.float64).reshape(-1, *[1] * len(shape))


class Authors:
    """One matrix, step by step as in their ``apollo.py`` with scale_front=False."""

    def __init__(self, p: Tensor, rank: int, scale: float, every: int, kind: str, seed: int) -> None:
        self.p, self.rank, self.scale, self.every, self.kind, self.seed = p, rank, scale, every, kind, seed
        self.step_count, self.last = 0, None

    def step(self, grad: Tensor, lr: float, beta1: float, beta2: float, eps: float) -> Tensor:
        rows, columns = grad.shape
        if self.step_count % self.every == 0:
            like = torch.empty(self.rank, min(rows, columns), dtype=torch.float64)
            self.proj = normal(like, self.seed, self.step_count // self.every, 0) / math.sqrt(self.rank)
        low = grad @ self.proj.T if rows >= columns else self.proj @ grad
        if self.step_count == 0:
            self.m, self.v = torch.zeros_like(low), torch.zeros_like(low)
        self.step_count += 1
        self.m = beta1 * self.m + (1 - beta1) * low
        self.v = beta2 * self.v + (1 - beta2) * low**2
        size = lr * math.sqrt(1 - beta2**self.step_count) / (1 - beta1**self.step_count)
        normed = self.m / (self.v.sqrt() + eps)
        dim = 0 if rows < columns else 1
        if self.kind == "channel":
            factor = normed.norm(dim=dim, keepdim=True) / (low.norm(dim=dim, keepdim=True) + 1e-8)
        else:
            factor = normed.norm() / (low.norm() + 1e-8)
        scaled = grad * factor
        if self.last is not None:
            limiter = max(float(scaled.norm() / (self.last + 1e-8)), 1.01) / 1.01
            scaled = scaled / limiter
        self.last = scaled.norm()
        self.p = self.p - size * math.sqrt(self.scale) * scaled
        return self.p


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["channel", "tensor"])
def test_equals_the_authors_algorithm(shape: tuple[int, ...], kind: str) -> None:
    """Gradients grow, so the limit holds most steps. To 1e-6: they add 1e-8 to norms."""
    start, grads = draw(shape)
    flat = start.flatten(1)
    rank = 1 if kind == "tensor" else min(2, *flat.shape)
    make: Any = apollo_mini if kind == "tensor" else apollo
    setting: dict[str, Any] = {"rank": rank} if kind == "channel" else {}
    ours = Descent(make(0.02, (0.8, 0.95), 1e-5, scale=4.0, every=7, noise_seed=3, **setting).build(), start)
    theirs = Authors(flat, rank, 4.0, 7, kind, seed=3)
    for g in grads:
        want = theirs.step(g.flatten(1), 0.02, 0.8, 0.95, 1e-5).reshape(shape)
        torch.testing.assert_close(ours.step(g), want, rtol=1e-6, atol=1e-6)


def test_on_a_column_without_momentum_it_is_adam_over_the_size_of_the_projection() -> None:
    start, grads = draw((6, 1))
    for seed in range(3):
        rule = Apollo(0.0, 0.9, 0.0, rank=5, every=100, growth=math.inf, noise_seed=seed)
        ours, other = Descent(chain(rule), start), Descent(chain(Adam(0.0, 0.9, 0.0)), start)
        for g in grads:
            ours.step(g)
            other.step(g)
            size = ours.state[0].P.abs().squeeze()
            torch.testing.assert_close(size * (ours.p - start), other.p - start, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**20),
    rank=st.integers(1, 8),
    each=st.sampled_from(["channel", "tensor"]),
)
def test_channels_keep_their_direction_and_steps_grow_by_a_hundredth(
    shape: tuple[int, int], seed: int, rank: int, each: Any
) -> None:
    start, grads = draw(shape, seed, 8)
    rule = Apollo(rank=rank, each=each, noise_seed=seed, every=3)
    s, memory, last = rule.init(start), rule.start(), math.inf
    for t, g in enumerate(grads, start=1):
        k, memory = rule.combine(t, memory, ())
        u, s = rule.update(g, s, start, k)
        x, y = (a if shape[0] >= shape[1] else a.T for a in (g, u))
        torch.testing.assert_close(y / y.norm(dim=1, keepdim=True), x / x.norm(dim=1, keepdim=True))
        size = float(u.norm() / k.step)  # the limit is on the step before Adam's correction
        assert size <= 1.01 * last * (1 + 1e-12)
        last = size


@given(seed=st.integers(0, 2**20), factor=st.floats(1e-3, 1e3))
def test_the_scale_of_gradients_does_not_matter(seed: int, factor: float) -> None:
    start, grads = draw((3, 4), seed, 8)
    one, other = (Descent(chain(Apollo(eps=0.0, rank=2)), start) for _ in range(2))
    for g in grads:
        torch.testing.assert_close(one.step(g), other.step(factor * g), rtol=1e-8, atol=1e-8)


def test_a_gradient_of_zero_does_not_make_the_next_step_vanish() -> None:
    start, grads = draw((3, 4), n=3)
    lengths = []
    descent = Descent(chain(Apollo(rank=2)), start)
    for g in (grads[0], 0 * grads[0], grads[1]):
        before = descent.p
        lengths.append(float((descent.step(g) - before).norm()))
    assert lengths[1] == 0
    assert lengths[2] > 0.1 * lengths[0]


@pytest.mark.parametrize("kind", [optim.APOLLO, optim.APOLLOMini])
def test_tensors_and_seeds_draw_different_projections_and_a_resumed_run_the_same(kind: Any) -> None:
    def run(seed: int, resume: bool) -> list[Tensor]:
        params = [nn.Parameter(torch.zeros(5, 3)) for _ in range(2)]
        make = lambda: kind(params, lr=0.1, every=2, noise_seed=seed)  # noqa: E731
        opt = make()
        for t, g in enumerate(draw((5, 3), n=7)[1].float()):
            for p in params:
                p.grad = g.clone()
            if resume and t == 3:  # between two projections
                saved = opt.state_dict()
                opt = make()
                opt.load_state_dict(saved)
            opt.step()
        return [p.detach() for p in params]

    whole, again, other = run(1, False), run(1, True), run(2, False)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert not torch.allclose(whole[0], whole[1])
    assert not torch.allclose(whole[0], other[0])


def test_its_state_is_that_of_its_docstring() -> None:
    for shape, rank in (((40, 10), 4), ((10, 40), 4), ((10, 40), 64), ((8, 5, 2), 4)):
        p = torch.zeros(shape)
        b, a = sorted(p.flatten(1).shape)
        r = min(rank, b)
        kept = sum(x.numel() * x.element_size() for x in Apollo(rank=rank).init(p))
        assert kept == 4 + 4 * r * (2 * a + b)
