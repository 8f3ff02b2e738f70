"""Centred RMSprop where rounding makes a variance negative."""

from __future__ import annotations

import torch

from steepest.core.chain import chain
from steepest.rules import CenteredRMSprop, HeavyBall, LearningRate, RMSprop, WeightDecay, rmsprop
from steepest.testing import Descent


def test_a_steady_gradient_stays_finite_where_torch_gives_nan() -> None:
    g = torch.linspace(0.1, 3, 50)
    ours = Descent(chain(CenteredRMSprop(0.5)), torch.zeros(50))
    theirs = torch.zeros(50, requires_grad=True)
    optimizer = torch.optim.RMSprop([theirs], alpha=0.5, centered=True)
    for _ in range(60):
        theirs.grad = g.clone()
        optimizer.step()
        ours.step(g)
    assert bool(torch.isnan(theirs).any())
    assert bool(torch.isfinite(ours.p).all())


def test_only_the_buffers_that_are_asked_for() -> None:
    assert [type(x) for x in rmsprop().build()] == [WeightDecay, RMSprop, LearningRate]
    assert [type(x) for x in rmsprop(momentum=0.9, centered=True).build()] == [
        WeightDecay,
        CenteredRMSprop,
        HeavyBall,
        LearningRate,
    ]
