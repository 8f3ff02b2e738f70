"""ZClip against the authors' package and against the paper."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.core.errors import HyperparameterError
from steepest.gradients import ZClip, zclip
from steepest.gradients.clip_norm import EPS

SHAPES = [(3, 4), (5,)]
INF = math.inf


class Model(nn.Module):
    """Parameters that the authors' ``step`` walks."""

    def __init__(self) -> None:
        super().__init__()
        self.ps = nn.ParameterList([nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in SHAPES])

    def clipped(self, clip: Any, gradients: list[Tensor]) -> list[Tensor]:
        for p, g in zip(self.ps, gradients, strict=True):
            p.grad = g.clone()
        clip.step(self)
        return [p.grad for p in self.ps]


@pytest.mark.parametrize("to", ["adaptive", "mean", "threshold"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("max_norm", "strength"), [(1.0, 1.0), (INF, 1.0), (9.0, 0.7)])
def test_equals_the_authors(to: str, skip: bool, max_norm: float, strength: float, seen: Any, gradients: Any) -> None:
    theirs = pytest.importorskip("zclip").ZClip(
        warmup_steps=5,
        max_grad_norm=None if max_norm == INF else max_norm,
        mode="percentile" if to == "threshold" else "zscore",
        clip_option="mean" if to == "mean" else "adaptive_scaling",
        clip_factor=strength,
        skip_update_on_spike=skip,
    )
    bound = min(max_norm, 1e300)
    text = f"zclip(warmup_steps=5, max_norm={bound}, to={to!r}, strength={strength}, skip_spikes={skip})"
    run, model, spikes = seen(text, SHAPES), Model(), 0
    for step in gradients(SHAPES, 120):
        got, want = run(step), model.clipped(theirs, step)
        # theirs divides by the norm plus 1e-6 only where it clips: equal but for norms within 1e-6 of the bound
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
        memory = run.opt.memory["", "ZClip"]
        if theirs.mean is not None:
            assert (memory.mean, memory.var) == pytest.approx((theirs.mean, theirs.var), rel=1e-9)
        spikes = memory.spikes
    assert 3 <= spikes <= 60
    assert run.opt.metrics["spike_rate"] == spikes / 120


def papers(norms: list[float], alpha: float, z: float, warmup: int, to: str) -> list[float]:
    """Algorithm 1 of the paper, on norms alone, from its own words."""
    out, seen = [], []
    mean = var = 0.0
    for x in norms:
        if len(seen) < warmup:
            seen.append(x)
            mean = math.fsum(seen) / len(seen)
            var = math.fsum((s - mean) ** 2 for s in seen) / len(seen)
            out.append(x)
            continue
        std = math.sqrt(var)
        score = (x - mean) / (std + EPS)
        y = x
        if to == "threshold" and x > mean + z * std:
            y = mean + z * std
        elif to != "threshold" and score > z:
            y = mean if to == "mean" else mean + z * z / score * std
        mean = alpha * mean + (1 - alpha) * y
        var = alpha * var + (1 - alpha) * (y - mean) ** 2
        out.append(y)
    return out


@pytest.mark.parametrize("to", ["adaptive", "mean", "threshold"])
@pytest.mark.parametrize(("alpha", "z", "warmup"), [(0.97, 2.5, 25), (0.5, 1.0, 1), (0.9, 0.3, 3)])
def test_equals_the_paper(to: Any, alpha: float, z: float, warmup: int, gradients: Any) -> None:
    norms = [float(g[0]) for g in gradients([()], 100, spread=1.5)]
    norms = [abs(x) for x in norms]
    rule = ZClip(alpha, z, warmup, INF, to=to)
    memory, got = rule.start(), []
    for t, x in enumerate(norms, 1):
        k, memory = rule.combine(t, memory, [x * x])
        got.append(min(x, float(k.bound)))
    assert got == pytest.approx(papers(norms, alpha, z, warmup, to), rel=1e-9)
    assert any(a < b for a, b in zip(got, norms, strict=True)) or warmup == 25


def test_the_farther_out_the_harder_it_is_clipped() -> None:
    rule = ZClip(max_norm=INF)
    memory = ZClip.Memory(25.0, 1.0, 0.04, 0.0)
    bounds = [float(rule.combine(26, memory, [x * x])[0].bound) for x in (2.0, 3.0, 10.0)]
    assert bounds == sorted(bounds, reverse=True)
    assert all(1.0 < b < 1.0 + 2.5 * 0.2 for b in bounds)


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_a_bad_norm_is_not_remembered(bad: float) -> None:
    rule = ZClip(warmup_steps=2)
    for past in (ZClip.Memory(1.0, 2.0, 0.0, 0.0), ZClip.Memory(50.0, 2.0, 0.5, 3.0)):
        _, now = rule.combine(9, past, [bad])
        assert now[:3] == past[:3]


def test_bad_arguments() -> None:
    with pytest.raises(HyperparameterError, match="Did you mean 'mean'"):
        zclip(to="maen")  # type: ignore[arg-type]
    with pytest.raises(HyperparameterError, match="z_thresh"):
        zclip(z_thresh=0)
