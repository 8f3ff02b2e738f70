"""Gradient accumulation against the big batch and optax; checkpoints and schedules between two steps."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.core.errors import HyperparameterError
from steepest.core.optimizer import Optimizer
from steepest.strategy import parse
from steepest.wrappers import accumulate
from steepest.wrappers.behind import WrapperError

torch.set_num_threads(1)
X = torch.randn(48, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(48, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)


def call(net: nn.Module, opt: Optimizer, rows: slice, closure: bool = True) -> Any:
    dtype = next(net.parameters()).dtype

    def evaluate() -> Tensor:
        opt.zero_grad()
        loss: Tensor = (net(X[rows].to(dtype)) - Y[rows].to(dtype)).square().mean()
        loss.backward()
        return loss

    if closure:
        return opt.step(evaluate)
    evaluate()
    return opt.step()


def pieces(n: int, t: int) -> list[slice]:
    """The rows of n small batches, together 12 rows from the t-th place on."""
    size = 12 // n
    begin = 12 * (t % 4)
    return [slice(begin + i * size, begin + (i + 1) * size) for i in range(n)]


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("closure", [True, False], ids=["closure", "bare"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "rule", ["adamw(lr=0.05)", "sgd(lr=0.1, momentum=0.9) | clip_norm(0.1) | cosine", "lion | ema"]
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_equals_the_big_batch(n: int, rule: str, dtype: torch.dtype, closure: bool) -> None:
    a, b = network(dtype), network(dtype)
    small, big = parse(f"{rule} | accumulate({n})").optimizer(a, steps=20 * n), parse(rule).optimizer(b, steps=20)
    for t in range(20):
        for rows in pieces(n, t):
            call(a, small, rows, closure)
        call(b, big, slice(12 * (t % 4), 12 * (t % 4) + 12), closure)
        tolerance = 1e-9 if dtype == torch.float64 else 2e-4
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
        assert small.param_groups[0]["lr"] == big.param_groups[0]["lr"]
    assert (small.steps, big.steps) == (20, 20)
    assert small.evaluations == (20 * n if closure else 0)


def test_equals_optax() -> None:
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    jax.config.update("jax_enable_x64", True)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator, dtype=torch.float64)
    p = nn.Parameter(start.clone())
    opt = parse("adam(lr=0.1) | accumulate(3)").optimizer([p])
    # its running mean divides by a count in float32
    theirs = optax.MultiSteps(optax.adam(0.1), 3)
    params = jax.numpy.asarray(start.numpy())
    state, update = theirs.init(params), jax.jit(theirs.update)
    for _ in range(30):
        p.grad = torch.randn(5, generator=generator, dtype=torch.float64)
        updates, state = update(jax.numpy.asarray(p.grad.numpy().copy()), state, params)
        params = optax.apply_updates(params, updates)
        opt.step()
        torch.testing.assert_close(p.detach(), torch.tensor(params.tolist(), dtype=torch.float64), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("calls", range(1, 7))
@pytest.mark.parametrize("way", ["saved", "copied"])
def test_a_checkpoint_between_two_steps_loses_nothing(calls: int, way: str) -> None:
    strategy = "adamw(lr=0.05) | accumulate(3) | ema | cosine"
    rows = [r for t in range(4) for r in pieces(3, t)]
    a = network()
    opt = parse(strategy).optimizer(a, steps=12)
    for r in rows[:calls]:
        call(a, opt, r)
    if way == "copied":
        b, other = copy.deepcopy((a, opt))
    else:
        b = network()
        b.load_state_dict(a.state_dict())
        other = parse(strategy).optimizer(b, steps=12)
        other.load_state_dict(opt.state_dict())
    for r in rows[calls:]:
        call(a, opt, r)
        call(b, other, r)
    assert opt.steps == other.steps == 4
    assert all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))
    with opt.evaluating(), other.evaluating():
        assert all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


def test_evaluating_before_the_first_step() -> None:
    net = network()
    opt = parse("sgd | ema | accumulate(2)").optimizer(net)
    call(net, opt, slice(0, 6))
    before = weights(net)
    with opt.evaluating():
        assert all(torch.equal(p, q) for p, q in zip(weights(net), before, strict=True))


def test_a_parameter_that_some_batches_do_not_reach() -> None:
    """Its gradient in those is 0, as in the big batch."""
    p, q = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    opt = parse("sgd(lr=1.0) | accumulate(3)").optimizer([p, q])
    for a, b in ((1.0, None), (2.0, 6.0), (3.0, None)):
        p.grad = torch.tensor([a], dtype=torch.float64)
        q.grad = None if b is None else torch.tensor([b], dtype=torch.float64)
        opt.step()
    assert (p.item(), q.item()) == (-2.0, -2.0)


def test_the_gradient_of_the_step_is_the_mean() -> None:
    p = nn.Parameter(torch.zeros(2))
    opt = parse("sgd(lr=1.0) | accumulate(2)").optimizer([p])
    p.grad = torch.tensor([1.0, 2.0])
    opt.step()
    assert opt.metrics == {}
    p.grad = torch.tensor([3.0, 4.0])
    opt.step()
    torch.testing.assert_close(p.grad, torch.tensor([2.0, 3.0]))
    assert opt.metrics["grad_norm"] == pytest.approx(13**0.5)
    assert not any("accumulated" in s or "batches" in s for s in opt.state.values())


def test_one_bad_batch_costs_one_step() -> None:
    net = network()
    opt = parse("adamw | accumulate(2)").optimizer(net)
    before = weights(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for value in (1.0, math.nan):
            for p in net.parameters():
                p.grad = torch.full_like(p, value)
            opt.step()
    assert (opt.steps, opt.skipped_steps) == (0, 1)
    assert all(torch.equal(p, q) for p, q in zip(weights(net), before, strict=True))
    for rows in pieces(2, 0):
        call(net, opt, rows)
    assert opt.steps == 1


def test_a_value_set_by_hand_holds_for_the_whole_step() -> None:
    p = nn.Parameter(torch.zeros(1))
    opt = parse("sgd(lr=0.5) | accumulate(2) | linear").optimizer([p], steps=8)
    opt.param_groups[0]["lr"] = 10.0
    for _ in range(2):
        p.grad = torch.ones(1)
        opt.step()
    assert p.item() == -10.0
    for _ in range(2):
        p.grad = torch.ones(1)
        opt.step()
    assert p.item() == pytest.approx(-10 - 0.5 * 0.75)


def test_each_micro_batch_may_be_climbed() -> None:
    net = network()
    opt = parse("sgd(lr=0.1) | sam(0.1) | accumulate(2)").optimizer(net)
    for rows in pieces(2, 0):
        call(net, opt, rows)
    assert (opt.steps, opt.evaluations) == (1, 4)


def test_moments_of_other_wrappers_count_steps_taken() -> None:
    opt = parse("sgd | accumulate(4) | swa(0.5) | cosine").optimizer(network(), steps=80, steps_per_epoch=8)
    swa = next(arguments for kind, arguments in opt.wrappers if kind.name == "swa")
    assert swa["start"] == 10
    assert opt.scheduler is not None
    assert opt.scheduler.factors(20)["lr"] == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_accumulated() -> None:
    with pytest.raises(HyperparameterError, match="accumulate: n is a whole number of at least 1; got 0"):
        accumulate(0)
    with pytest.raises(WrapperError, match="needs the loss of each step, and under accumulate"):
        parse("polyak | accumulate(2)").optimizer(network())
