"""AdaGC against pytorch_optimizer, and against the paper's algorithm."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.gradients import AdaGC
from steepest.strategy import parse

SHAPES = [(3, 4), (5,), ()]


def papers(
    steps: list[list[Tensor]], lambda_rel: float, beta: float, lambda_abs: float, warmup: int
) -> list[list[Tensor]]:
    """Algorithm 1, on one number a tensor."""
    gamma = [math.inf] * len(steps[0])
    out = []
    for t, gs in enumerate(steps, 1):
        whole = math.sqrt(sum(float(g.norm()) ** 2 for g in gs))
        made = []
        for j, g in enumerate(gs):
            if t < warmup:
                u = g * min(1.0, lambda_abs / (whole + 1e-6))
                gamma[j] = min(gamma[j], float(u.norm()))
            else:
                u = g * (min(1.0, lambda_rel * gamma[j] / float(g.norm())) if gamma[j] < math.inf else 1.0)
                past = gamma[j] if gamma[j] < math.inf else float(u.norm())
                gamma[j] = beta * past + (1 - beta) * float(u.norm())
            made.append(u)
        out.append(made)
    return out


@pytest.mark.parametrize("warmup", [0, 1, 5, 100])
@pytest.mark.parametrize(("lambda_rel", "beta", "lambda_abs"), [(1.05, 0.98, 1.0), (2.0, 0.5, 5.0), (0.9, 0.0, 1e9)])
def test_equals_the_paper(
    warmup: int, lambda_rel: float, beta: float, lambda_abs: float, seen: Any, gradients: Any
) -> None:
    steps = gradients(SHAPES, 60)
    run = seen(f"adagc(lambda_rel={lambda_rel}, beta={beta}, lambda_abs={lambda_abs}, warmup_steps={warmup})", SHAPES)
    for got, want in zip(map(run, steps), papers(steps, lambda_rel, beta, lambda_abs, warmup), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("warmup", [2, 10])
def test_with_adam_equals_pytorch_optimizer(warmup: int, gradients: Any) -> None:
    theirs = pytest.importorskip("pytorch_optimizer").AdaGC
    mine, other = ([nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in SHAPES] for _ in range(2))
    ours = parse(f"adam(lr=0.1) | adagc(1.05, 0.98, warmup_steps={warmup})").optimizer(mine)
    peer = theirs(other, lr=0.1, betas=(0.9, 0.999), weight_decay=0.0, warmup_steps=warmup, foreach=False)
    for step in gradients(SHAPES, 40):
        for p, q, g in zip(mine, other, step, strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        ours.step(), peer.step()
    # theirs adds Adam's eps to the global norm of the warm-up, ours 1e-6 as everywhere: a millionth of one factor
    torch.testing.assert_close([p.detach() for p in mine], [q.detach() for q in other], rtol=1e-5, atol=1e-7)


def test_a_zero_gradient_does_not_freeze_a_parameter(seen: Any) -> None:
    run = seen("adagc(warmup_steps=3)", [(4,), (4,)])
    one = torch.ones(4)
    for t in range(5):
        out = run([one, one * (0.0 if t == 0 else 1.0)])
    assert float(out[1].norm()) > 0.5
    assert run.opt.state[run.params[1]]["gamma"] > 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("t", [1, 500])
def test_a_bad_norm_is_not_remembered(bad: float, t: int) -> None:
    assert AdaGC().combine(t, AdaGC.Memory(2.0), [bad])[1] == (2.0,)


def test_each_clipped_norm_is_at_most_the_mean_times_lambda(seen: Any, gradients: Any) -> None:
    run = seen("adagc(lambda_rel=1.1, beta=0.9, warmup_steps=2)", SHAPES)
    for t, step in enumerate(gradients(SHAPES, 50), 1):
        gamma = [run.opt.state[p].get("gamma", math.inf) for p in run.params]
        out = run(step)
        if t >= 2:
            for u, c in zip(out, gamma, strict=True):
                assert float(u.norm()) <= 1.1 * c * (1 + 1e-12)
            assert run.opt.metrics["clipped"] in (0, 1 / 3, 2 / 3, 1)
