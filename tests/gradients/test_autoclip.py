"""AutoClip against the authors' handler, which calls numpy and torch."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steepest.core.errors import HyperparameterError
from steepest.gradients import autoclip
from steepest.strategy import parse

SHAPES = [(3, 4), (5,), ()]


def reference(steps: list[list[Tensor]], q: float, window: int | None = None) -> list[list[Tensor]]:
    """The authors' handler: append the norm, take the percentile, clip."""
    history: list[float] = []
    out = []
    for gradients in steps:
        ps = [torch.zeros_like(g).requires_grad_() for g in gradients]
        for p, g in zip(ps, gradients, strict=True):
            p.grad = g.clone()
        history.append(math.sqrt(sum(float(g.norm(2)) ** 2 for g in gradients)))
        torch.nn.utils.clip_grad_norm_(ps, np.percentile(history[-window:] if window else history, q))
        out.append([p.grad for p in ps if p.grad is not None])
    return out


@pytest.mark.parametrize("q", [0, 10, 50, 87.5, 100])
@pytest.mark.parametrize("window", [None, 1, 7])
def test_equals_the_authors(q: float, window: int | None, seen: Any, gradients: Any) -> None:
    steps = gradients(SHAPES, 40)
    run = seen(f"autoclip(percentile={q}, window={window})", SHAPES)
    for got, want in zip(map(run, steps), reference(steps, q, window), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


def test_the_bound_is_the_percentile_of_all_norms_so_far(seen: Any, gradients: Any) -> None:
    run = seen("autoclip(percentile=30)", SHAPES)
    norms: list[float] = []
    for step in gradients(SHAPES, 30):
        run(step)
        norms.append(run.opt.metrics["grad_norm"])
        assert run.opt.metrics["clip_bound"] == float(np.percentile(norms, 30))
    assert run.opt.memory["", "AutoClip"].norms == tuple(sorted(norms))


def test_about_nine_steps_in_ten_are_clipped_at_the_tenth_percentile(seen: Any, gradients: Any) -> None:
    run = seen("autoclip(percentile=10)", [(4,)])
    clipped = []
    for step in gradients([(4,)], 400):
        run(step)
        clipped.append(run.opt.metrics["clip_factor"] < 1)
    assert 0.85 < sum(clipped) / len(clipped) < 0.95


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("guard", ["", "nonfinite('pass') | "])
def test_a_bad_step_leaves_the_history_alone(bad: float, guard: str, seen: Any, gradients: Any) -> None:
    steps = gradients([(4,)], 12)
    spoiled, clean = (seen(f"{guard}autoclip(percentile=40)", [(4,)]) for _ in range(2))
    with contextlib.nullcontext() if guard else pytest.warns(RuntimeWarning, match="step 6 was skipped"):
        for t, step in enumerate(steps):
            if t == 5:
                spoiled([torch.full((4,), bad)])
            got, want = spoiled(step), clean(step)
            assert torch.equal(got[0], want[0])
    assert spoiled.opt.memory == clean.opt.memory
    assert spoiled.opt.skipped_steps == int(not guard)


def test_groups_share_one_history() -> None:
    """Weight decay spares some parameters, which makes two groups of one history."""
    net = torch.nn.Linear(3, 2)
    opt = parse("adamw(lr=0.1) | autoclip(50)").optimizer(net)
    for t in range(1, 4):
        for p in net.parameters():
            p.grad = torch.full_like(p, float(t))
        opt.step()
    assert len(opt.param_groups) == 2
    assert [m.norms for m in opt.memory.values()] == [pytest.approx((8**0.5, 2 * 8**0.5, 3 * 8**0.5))]


@pytest.mark.parametrize(
    "bad", [{"percentile": -1.0}, {"percentile": 101.0}, {"window": 0}, {"window": 2.5}, {"window": True}]
)
def test_bad_arguments(bad: dict[str, Any]) -> None:
    with pytest.raises(HyperparameterError, match=next(iter(bad))):
        autoclip(**bad)
