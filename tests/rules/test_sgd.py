"""Momentum's corners: which buffers there are, and where the two forms part."""

from __future__ import annotations

import torch

from steepest.core.chain import chain
from steepest.rules import EmaMomentum, HeavyBall, LearningRate, WeightDecay, sgd
from steepest.testing import Descent


def test_no_momentum_keeps_no_buffer() -> None:
    assert [type(link) for link in sgd().build()] == [WeightDecay, LearningRate]
    assert [type(link) for link in sgd(momentum=1e-9).build()] == [WeightDecay, HeavyBall, LearningRate]


def test_the_first_buffer_is_the_gradient_whatever_the_dampening() -> None:
    p, g = torch.zeros(3), torch.tensor([1.0, -2.0, 3.0])
    for dampening in (0.0, 0.5, 1.0):
        rule = HeavyBall(0.9, dampening)
        u, s = rule.update(g, rule.init(p), p, rule.scalars(1))
        assert torch.equal(u, g)
        assert torch.equal(s.m, g)


def test_a_heavy_ball_grows_tenfold_and_an_average_does_not() -> None:
    g = torch.ones(1, dtype=torch.float64)
    sizes = []
    for rule in (HeavyBall(0.9), EmaMomentum(0.9)):
        descent = Descent(chain(rule), torch.zeros_like(g))
        for _ in range(300):
            before = descent.p
            step = before - descent.step(g)
        sizes.append(round(float(step), 9))
    assert sizes == [10.0, 1.0]


def test_debias_gives_a_steady_gradient_back_at_every_step() -> None:
    g = torch.tensor([3.0], dtype=torch.float64)
    for nesterov in (False, True):
        descent = Descent(chain(EmaMomentum(0.99, nesterov, debias=True)), torch.zeros_like(g))
        for t in range(1, 10):
            torch.testing.assert_close(descent.step(g), -t * g, rtol=1e-12, atol=0)
