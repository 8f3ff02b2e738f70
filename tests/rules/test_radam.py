"""When RAdam begins to trust its second moment, and that it stands aside before."""

from __future__ import annotations

import math

import pytest
import torch

from steepest.rules import RAdam


@pytest.mark.parametrize("beta2", [0.0, 0.5, 0.6, 0.66, 0.7, 0.8, 0.9, 0.99, 0.999])
def test_when_it_rectifies(beta2: float) -> None:
    """Where a plain mean as old as the average of v holds more than 5 gradients (the paper's section 3.2)."""
    for t in range(1, 60):
        weights = [beta2**i for i in range(t)]
        age = sum((i + 1) * w for i, w in enumerate(weights)) / sum(weights)
        assert (RAdam(beta2=beta2).scalars(t).high == math.inf) == (2 * age - 1 > 5)


def test_an_overflown_second_moment_does_not_touch_the_first_steps() -> None:
    rule, p = RAdam(), torch.zeros(1)
    g = torch.tensor([1e30])
    u, s = rule.update(g, rule.init(p), p, rule.scalars(1))
    assert bool(torch.isinf(s.v).all())
    torch.testing.assert_close(u, g)


def test_steps_of_members_may_differ() -> None:
    k = RAdam().scalars(torch.tensor([1.0, 6.0], dtype=torch.float64))
    assert k.high.tolist() == [1.0, math.inf]
    assert k.low.tolist() == [1.0, 0.0]
