"""Hypergradients: the derivative of the weights after a few steps is what finite differences say, for every rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steepest.rules
from steepest.core.chain import Chain, chain
from steepest.core.errors import SteepestError
from steepest.core.piece import Kind, kinds
from steepest.core.rule import Bounds, Rule
from steepest.core.unroll import unroll
from steepest.gradients import ClipNorm, NonFinite
from steepest.rules import Adam, HeavyBall, LearningRate, WeightDecay, adamw
from steepest.testing import Descent
from steepest.testing.rules import hyperparameters

ALL = [kind for kind in kinds(steepest.rules).values() if kind.role == "rule"]
KINDS = [kind for kind in ALL if not kind().build().curved]
STEPS = 3


def links_of(kind: Kind[..., Any]) -> Chain:
    built: Chain = kind().build()
    return built


def start(links: Chain) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(1)
    rows = (3, 2) if max(link.ndim_min for link in links) > 1 else (3,)
    return {
        "weight": torch.randn(3, 2, dtype=torch.float64, generator=make),
        "bias": torch.randn(rows, dtype=torch.float64, generator=make),
    }


def loss(p: dict[str, Tensor], t: int) -> Tensor:
    """Smooth, with no symmetry, no zero gradient, and another batch at each step."""
    x = torch.tensor([0.7 + 0.3 * t, -1.1], dtype=torch.float64)
    return (p["weight"] @ x + p["bias"].reshape(3, -1).sum(1) - 0.3).cosh().sum() + 0.1 * p["weight"].pow(4).sum()


def shared(link: Rule, name: str) -> bool:
    """Whether it counts something: how often, how many."""
    return bool(type(link).__dataclass_fields__[name].metadata.get("shared"))  # type: ignore[attr-defined]


def inside(value: float, bounds: Bounds) -> float:
    """A little beside the default, where kinks are; where that is 0, tiny or infinite, one with room on both sides."""
    return next(x for x in (0.97 * value, 0.05, 2.0, -0.5) if x in bounds and 1e-3 <= abs(x) < 1e3)


def moved(links: Chain, names: list[tuple[int, str]], values: tuple[Tensor, ...]) -> Chain:
    """The chain with tensors for hyperparameters."""
    new = list(links)
    for (i, name), value in zip(names, values, strict=True):
        new[i] = dataclasses.replace(new[i], **{name: value})  # type: ignore[type-var]
    return chain(*new)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_hypergradients(kind: Kind[..., Any]) -> None:
    """In every hyperparameter that is a number and in the initial weights, against central differences in float64."""
    links = links_of(kind)
    p0 = start(links)
    names = [(i, name) for i, link in enumerate(links) for name in hyperparameters(link) if not shared(link, name)]
    bounds = [hyperparameters(links.links[i])[name] for i, name in names]
    points = [inside(getattr(links.links[i], name), b) for (i, name), b in zip(names, bounds, strict=True)]
    points = [min(x, 0.05) if name == "lr" else x for (_, name), x in zip(names, points, strict=True)]  # none diverges
    values = tuple(torch.tensor(x, dtype=torch.float64) for x in points)

    def final(weight: Tensor, bias: Tensor, *hyper: Tensor) -> tuple[Tensor, ...]:
        return tuple(unroll(moved(links, names, hyper), {"weight": weight, "bias": bias}, loss, STEPS).values())

    inputs = tuple(x.requires_grad_() for x in (*p0.values(), *values))
    assert torch.autograd.gradcheck(final, inputs, eps=1e-6, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_weights_are_those_of_training(kind: Kind[..., Any]) -> None:
    """With one tensor, as Descent walks it."""
    links = links_of(kind)
    p0 = start(links)["weight"]

    def one(p: Tensor, t: int) -> Tensor:
        return loss({"weight": p, "bias": torch.zeros(3, 2, dtype=torch.float64)}, t)

    walk = Descent(links, p0)
    for t in range(5):
        p = walk.p.detach().requires_grad_()
        cost = one(p, t)
        (g,) = torch.autograd.grad(cost, [p])
        walk.step(g, cost.item())
    torch.testing.assert_close(unroll(links, p0, one, 5).detach(), walk.p, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in KINDS], ids=lambda kind: kind.name)
def test_curvature_is_refused(kind: Kind[..., Any]) -> None:
    with pytest.raises(SteepestError, match="asks for the curvature, and cannot be unrolled"):
        unroll(links_of(kind), start(links_of(kind)), loss, 1)


def test_sums_over_the_model_go_through_the_graph() -> None:
    links = chain(ClipNorm(0.5), *adamw(lr=0.1).build())

    def final(weight: Tensor, bias: Tensor) -> Tensor:
        return unroll(links, [weight, bias], lambda p, t: loss({"weight": p[0], "bias": p[1]}, t), 2)[0]

    inputs = tuple(p.requires_grad_() for p in start(links).values())
    assert torch.autograd.gradcheck(final, inputs)


def test_the_learning_rate_of_every_step() -> None:
    """On half a square the weight after two steps is (1 - a)(1 - b) p0: one hypergradient a step, each from its own."""
    rates = torch.tensor([0.1, 0.3], dtype=torch.float64, requires_grad=True)
    p: Tensor = torch.tensor([2.0], dtype=torch.float64)
    for rate in rates:
        p = unroll(chain(LearningRate(rate)), p, lambda p, t: p.square().sum() / 2, 1)
    p.sum().backward()
    torch.testing.assert_close(rates.grad, torch.tensor([-0.7 * 2, -0.9 * 2], dtype=torch.float64))


def test_first_order_leaves_second_derivatives_out() -> None:
    p0 = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    for first_order, slope in ((False, 0.9**3), (True, 1.0)):
        p = unroll(chain(LearningRate(0.1)), p0, lambda p, t: p.square().sum() / 2, 3, first_order=first_order)
        (g,) = torch.autograd.grad(p.sum(), [p0])
        torch.testing.assert_close(g, torch.tensor([slope], dtype=torch.float64))


def test_a_module_by_functional_call() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    def cost(p: dict[str, Tensor], t: int) -> Tensor:
        return (torch.func.functional_call(net, p, (x,)) - y).square().mean()

    decay = torch.tensor(0.1, requires_grad=True)
    links = chain(HeavyBall(0.9), WeightDecay(decay), LearningRate(0.1))
    trained = unroll(links, dict(net.named_parameters()), cost, 4)
    cost(trained, 0).backward()
    assert decay.grad is not None and decay.grad.abs() > 0
    assert all(p.grad is not None and p.dtype == torch.float32 for p in net.parameters())
    assert set(trained) == {n for n, _ in net.named_parameters()}


def test_a_guard_that_refuses_a_step() -> None:
    p0 = torch.tensor([2.0], requires_grad=True)
    links = chain(NonFinite("skip"), LearningRate(0.1))
    p = unroll(links, p0, lambda p, t: p.sum() * (float("nan") if t == 0 else 1.0), 2)
    torch.testing.assert_close(p, torch.tensor([1.9]))


def test_forms_and_types_of_parameters_stay() -> None:
    def cost(p: Any, t: int) -> Tensor:
        return sum(x.square().sum() for x in p)  # type: ignore[return-value]

    links = chain(Adam(beta1=torch.tensor(0.9, dtype=torch.float64)), LearningRate(torch.tensor(0.1)))  # type: ignore[arg-type]
    params = (torch.ones((), dtype=torch.float32), torch.ones(2, dtype=torch.float64))
    for form in (list, tuple):
        out = unroll(links, form(params), cost, 2)
        assert type(out) is form and [p.dtype for p in out] == [torch.float32, torch.float64]
    assert unroll(links, {"a": params[0]}, lambda p, t: p["a"] ** 2, 1)["a"].shape == ()


def test_a_parameter_that_the_loss_ignores_stays() -> None:
    a, b = unroll(chain(LearningRate(0.1)), [torch.ones(1), torch.ones(1)], lambda p, t: p[0].sum(), 3)
    torch.testing.assert_close((a, b), (torch.tensor([0.7]), torch.ones(1)))
